//! Which addresses this node's pods may have: those of its Node object, with which those of the command line must agree. Pure.

use ipnet::IpNet;
use std::collections::BTreeSet;

/// What is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodRanges {
    /// These, of each family in the order in which they are used up; the first one's family is the primary one.
    Known(Vec<IpNet>),
    /// None yet, or they are disputed; no pod gets an address meanwhile.
    Unknown {
        /// One word, as conditions have it.
        reason: &'static str,
        /// For people: what is missing, and who could mend it.
        message: String,
    },
}

/// What the API says of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Registered {
    /// Nothing was heard yet.
    #[default]
    Unheard,
    /// There is no such Node.
    Absent,
    /// There is, with these `spec.podCIDRs`; perhaps none.
    With(Vec<IpNet>),
}

/// Decides; `given` are those of the command line, perhaps none.
pub fn judge(node: &str, given: &[IpNet], registered: &Registered) -> PodRanges {
    let unknown = |reason, message: String| PodRanges::Unknown { reason, message };
    let missing = |what: &str| {
        let hint =
            "the control plane gives them (node IPAM: `keelson serve --cluster-cidr`), or --pod-cidr does";
        unknown("PodCIDRsMissing", format!("this node's pods have no addresses yet: {what}; {hint}"))
    };
    match registered {
        Registered::With(own) if !own.is_empty() && !given.is_empty() && !same(own, given) => unknown(
            "PodCIDRsDiffer",
            format!(
                "--pod-cidr {} is not what Node {node} has: its spec.podCIDRs are {}, and never change; give these, or none",
                text(given),
                text(own)
            ),
        ),
        Registered::With(own) if !own.is_empty() => PodRanges::Known(own.clone()),
        _ if !given.is_empty() => PodRanges::Known(given.to_vec()),
        Registered::Unheard => missing("the API server has not been heard of"),
        Registered::Absent => missing(&format!("there is no Node {node}")),
        Registered::With(_) => missing(&format!("spec.podCIDRs of Node {node} is empty")),
    }
}

fn same(one: &[IpNet], other: &[IpNet]) -> bool {
    let set = |nets: &[IpNet]| nets.iter().map(IpNet::trunc).collect::<BTreeSet<_>>();
    set(one) == set(other)
}

fn text(nets: &[IpNet]) -> String {
    nets.iter().map(IpNet::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Given, registered, and the ranges or the reason.
    type Row<'a> = (&'a [&'a str], Registered, Result<&'a [&'a str], &'a str>);

    #[test]
    fn the_nodes_own_ranges_win_and_others_are_disputed() {
        let (v4, v6, other) = ("10.244.1.0/24", "fd00:1::/64", "10.244.7.0/24");
        let with = |list: &[&str]| Registered::With(nets(list));
        #[rustfmt::skip]
        let rows: [Row; 9] = [
            (&[], Registered::Unheard, Err("PodCIDRsMissing")),
            (&[], Registered::Absent, Err("PodCIDRsMissing")),
            (&[], with(&[]), Err("PodCIDRsMissing")),
            (&[], with(&[v4, v6]), Ok(&[v4, v6])),
            (&[v4], Registered::Unheard, Ok(&[v4])),
            (&[v4], with(&[]), Ok(&[v4])),
            (&[v6, v4], with(&[v4, v6]), Ok(&[v4, v6])),
            (&[v4], with(&[v4, v6]), Err("PodCIDRsDiffer")),
            (&[other], with(&[v4]), Err("PodCIDRsDiffer")),
        ];
        for (given, registered, expected) in rows {
            let found = match judge("n1", &nets(given), &registered) {
                PodRanges::Known(ranges) => Ok(ranges),
                PodRanges::Unknown { reason, .. } => Err(reason),
            };
            assert_eq!(found, expected.map(nets), "{given:?} {registered:?}");
        }
    }
}

//! A NetworkPolicy as the API has it, to what it says.
//!
//! The API server refuses what is malformed. What reaches a node nevertheless (from a server that knows more) lets nothing
//! pass: a peer or a port that is not understood is left out, a selector of pods that is not selects all.

use std::sync::Arc;

use ipnet::IpNet;
use keelson_semantics::{IntOrString, LabelSelector, label_selector::LabelSelectorSpec};

use super::{
    objects::{BlockSpec, PeerSpec, PolicyObject, PortSpec, protocol_number},
    types::{Namespaces, Peer, PeerKind, Policy, Ports, Rule},
};

impl PolicyObject {
    pub(super) fn compile(&self, namespace: &str) -> Policy {
        let spec = &self.spec;
        let (ingress, egress) = self.directions();
        let rules = |peers: &Option<Vec<PeerSpec>>, ports: &Option<Vec<PortSpec>>| Rule {
            peers: peers.as_deref().filter(|peers| !peers.is_empty()).map(|peers| {
                peers.iter().filter_map(|spec| Some(Arc::new(Peer::new(peer(namespace, spec)?)))).collect()
            }),
            ports: match ports.as_deref() {
                None | Some([]) => vec![Ports::All],
                Some(specs) => specs.iter().filter_map(port).collect(),
            },
        };
        let lets_in = || spec.ingress.iter().flatten().map(|rule| rules(&rule.from, &rule.ports)).collect();
        let lets_out = || spec.egress.iter().flatten().map(|rule| rules(&rule.to, &rule.ports)).collect();
        let selector = spec.pod_selector.as_ref().map(LabelSelector::from_spec);
        Policy {
            selector: selector.and_then(Result::ok).unwrap_or_default(),
            ingress: ingress.then(lets_in),
            egress: egress.then(lets_out),
        }
    }

    /// Whether it has a say about what comes in, and what goes out. Unsaid, it is about what comes in, and about what goes out
    /// if it has a rule for that.
    fn directions(&self) -> (bool, bool) {
        let named = |name: &str| self.spec.policy_types.iter().flatten().any(|own| **own == *name);
        match self.spec.policy_types.as_deref() {
            None | Some([]) => (true, self.spec.egress.as_ref().is_some_and(|rules| !rules.is_empty())),
            Some(_) => (named("Ingress"), named("Egress")),
        }
    }
}

fn peer(namespace: &str, spec: &PeerSpec) -> Option<PeerKind> {
    let selector = |spec: &Option<LabelSelectorSpec>| match spec {
        None => Some(None),
        Some(spec) => LabelSelector::from_spec(spec).ok().map(Some),
    };
    match (&spec.ip_block, selector(&spec.namespace_selector)?, selector(&spec.pod_selector)?) {
        (Some(block), None, None) => block.compile(),
        (None, None, Some(pods)) => {
            Some(PeerKind::Pods { namespaces: Namespaces::Named(namespace.into()), pods })
        }
        (None, Some(namespaces), pods) => {
            let (namespaces, pods) = (Namespaces::Labelled(namespaces), pods.unwrap_or_default());
            Some(PeerKind::Pods { namespaces, pods })
        }
        _ => None,
    }
}

impl BlockSpec {
    fn compile(&self) -> Option<PeerKind> {
        let cidr: IpNet = self.cidr.parse().ok()?;
        let except = self.except.iter().flatten().map(|text| text.parse::<IpNet>().map(|net| net.trunc()));
        Some(PeerKind::Block { cidr: cidr.trunc(), except: except.collect::<Result<_, _>>().ok()? })
    }
}

fn port(spec: &PortSpec) -> Option<Ports> {
    let protocol = protocol_number(spec.protocol.as_deref())?;
    let number = |number: i32| u16::try_from(number).ok().filter(|&number| number > 0);
    match (&spec.port, spec.end_port) {
        (None, None) => Some(Ports::Range { protocol, first: 0, last: u16::MAX }),
        (Some(IntOrString::Int(first)), end) => {
            let (first, last) = (number(*first)?, number(end.unwrap_or(*first))?);
            (first <= last).then_some(Ports::Range { protocol, first, last })
        }
        (Some(IntOrString::String(name)), None) => {
            Some(Ports::Named { protocol, name: name.as_str().into() })
        }
        _ => None,
    }
}

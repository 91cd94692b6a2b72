//! What both nodes say of a way, as lines for people.

use keelson_observer::{PathEnd, PathJudgement, PathReply};

use super::{Answer, End};

/// What happens, a line each.
pub(super) fn explain(from: &End, to: &End, answer: &Answer) -> Vec<String> {
    let Answer { from: from_ip, to: to_ip, protocol, port, nodes } = answer;
    let what = if *port == 0 { format!("{to_ip}, {protocol}") } else { format!("{to_ip}:{port}/{protocol}") };
    let mut lines = vec![format!("From {from_ip} to {what}:")];
    let (Some(first), Some(last)) = (nodes.first(), nodes.last()) else { return lines };
    lines.push(format!("  {}", leaves(from, first)));
    let sent = say(&mut lines, "egress", from, first, first.egress.as_ref());
    if sent {
        lines.push(format!("  {}", goes(to, first)));
    }
    if sent && nodes.len() > 1 {
        lines.push(format!("  {}", arrives(to, last)));
    }
    let passes = sent && say(&mut lines, "ingress", to, last, last.ingress.as_ref());
    if passes {
        lines.push("  Nothing that the nodes enforce stops it.".to_owned());
    }
    lines
}

/// A direction's judgement as a line; whether it lets pass.
fn say(
    lines: &mut Vec<String>,
    direction: &str,
    pod: &End,
    node: &PathReply,
    judged: Option<&PathJudgement>,
) -> bool {
    if node.without_packets {
        return true;
    }
    let (words, passes) = judged.map_or_else(
        || ("is not judged: the node does not know the pod.".to_owned(), true),
        |judged| judgement(judged, direction),
    );
    lines.push(format!("  {direction} of {} on {} {words}", pod.name, node.node));
    passes
}

fn leaves(from: &End, node: &PathReply) -> String {
    if node.without_packets {
        return format!(
            "{} runs --without packets: its stack routes, no policy is enforced there.",
            node.node
        );
    }
    match &node.from {
        Some(PathEnd { is_node: true, .. }) => {
            format!("{} is in the host's network: its packets leave as the node's own.", from.name)
        }
        Some(PathEnd { link, .. }) => {
            format!("leaves {} by the link {} of {}.", from.name, named(link), node.node)
        }
        None => format!(
            "{} does not know the address of {}: the host's stack routes what it sends, or, where there are policies, it is dropped (foreign_source).",
            node.node, from.name
        ),
    }
}

/// From the sender's node.
fn goes(to: &End, node: &PathReply) -> String {
    let inside = |end: &PathEnd| match end {
        PathEnd { is_node: true, .. } => "is for the node itself: its stack takes it.".to_owned(),
        PathEnd { link, shaped: true, .. } => {
            format!("is redirected to the link {} of {}, whose queue bounds its rate.", named(link), to.name)
        }
        PathEnd { link, .. } => {
            format!("is redirected straight into {} (link {}), past the host's stack.", to.name, named(link))
        }
    };
    match (&node.to, &node.route) {
        (Some(end), _) => inside(end),
        (None, Some(route)) => {
            let way = if route.redirected {
                "is redirected past the host's stack"
            } else {
                "goes by the host's stack"
            };
            format!(
                "{way} to {}, next hop {} (route to {}).",
                named(&route.device),
                named(&route.gateway),
                route.destination
            )
        }
        (None, None) if node.without_packets => "goes wherever the host's own routes lead.".to_owned(),
        (None, None) => {
            format!("No route of Keelson leads there from {}: the host's own routes decide.", node.node)
        }
    }
}

/// At the receiver's node.
fn arrives(to: &End, node: &PathReply) -> String {
    if node.without_packets {
        return format!(
            "{} runs --without packets: its stack routes, no policy is enforced there.",
            node.node
        );
    }
    match &node.to {
        Some(PathEnd { is_node: true, .. }) => format!("{} takes it itself.", node.node),
        Some(PathEnd { link, .. }) => {
            format!("{} delivers it to {} by the link {}.", node.node, to.name, named(link))
        }
        None => format!("{} does not know the address of {}: its stack routes.", node.node, to.name),
    }
}

/// In words, and whether it lets pass.
fn judgement(judged: &PathJudgement, direction: &str) -> (String, bool) {
    let list = |names: &[String]| names.join(", ");
    let selecting = match (judged.named, judged.policies.as_slice()) {
        (false, _) => "which policies select it is not known".to_owned(),
        (true, []) => "no policy selects it any more".to_owned(),
        (true, names) => format!("selected by {}", list(names)),
    };
    match judged.verdict.as_str() {
        "open" => ("is open: no policy selects it.".to_owned(), true),
        "exempt" => ("is not judged: a node and its pods, and a pod and itself, always reach each other.".to_owned(), true),
        "closed" => (
            "is closed: its policies are not in the kernel yet, only its node reaches it. See `kubectl keelson status`."
                .to_owned(),
            false,
        ),
        "allowed" => {
            let with = match judged.with.as_str() {
                "anyone" => "with anyone".to_owned(),
                "pods" => format!("with pods like the other one (class {})", judged.class),
                _ => format!("with addresses of its block (class {})", judged.class),
            };
            let letting = match judged.letting.as_slice() {
                [] => String::new(),
                names => format!("; let by {}", list(names)),
            };
            let entry = &judged.entry;
            let group = &judged.group;
            (format!("is allowed: group {group} may have {entry} {with}; {selecting}{letting}."), true)
        }
        "denied" => {
            let classes = match judged.classes.as_slice() {
                [] => "which belongs to no peer that they name".to_owned(),
                classes => format!("class {}", list(classes)),
            };
            let group = &judged.group;
            let soon = match judged.letting.as_slice() {
                [] => String::new(),
                names => format!(" {} would let it: the kernel does not know yet, or there was no room.", list(names)),
            };
            let counted = format!("dropped, counted as policy_{direction}");
            (
                format!("is DENIED: group {group} has no entry for the other one, {classes}; {selecting}; {counted}.{soon}"),
                false,
            )
        }
        other => (format!("has a verdict that this program does not know: {other}."), true),
    }
}

fn named(text: &str) -> &str {
    if text.is_empty() { "(unknown)" } else { text }
}

#[cfg(test)]
mod tests {
    use keelson_observer::PathRoute;

    use super::*;

    fn end(name: &str, node: &str) -> End {
        End { name: name.to_owned(), node: node.to_owned(), addresses: Vec::new() }
    }

    fn link(name: &str) -> Option<PathEnd> {
        Some(PathEnd { link: name.to_owned(), ..PathEnd::default() })
    }

    fn judged(verdict: &str) -> PathJudgement {
        PathJudgement { verdict: verdict.to_owned(), named: true, ..PathJudgement::default() }
    }

    fn lines(nodes: Vec<PathReply>) -> Vec<String> {
        let (from, to) = ([10, 244, 1, 2].into(), [10, 244, 2, 3].into());
        let answer = Answer { from, to, protocol: "TCP", port: 80, nodes };
        explain(&end("a/client", "n1"), &end("b/web", "n2"), &answer)
    }

    /// Both nodes, with these judgements.
    fn over_nodes(egress: PathJudgement, ingress: PathJudgement) -> Vec<PathReply> {
        let route = PathRoute {
            destination: "10.244.2.0/24".into(),
            gateway: "172.30.0.12".into(),
            device: "eth0".into(),
            redirected: true,
        };
        let first = PathReply {
            node: "n1".into(),
            from: link("kl1"),
            route: Some(route),
            egress: Some(egress),
            ..PathReply::default()
        };
        let last =
            PathReply { node: "n2".into(), to: link("kl2"), ingress: Some(ingress), ..PathReply::default() };
        vec![first, last]
    }

    #[test]
    fn an_open_way_names_every_step() {
        let said = lines(over_nodes(judged("open"), judged("open")));
        let expected = [
            "From 10.244.1.2 to 10.244.2.3:80/TCP:",
            "  leaves a/client by the link kl1 of n1.",
            "  egress of a/client on n1 is open: no policy selects it.",
            "  is redirected past the host's stack to eth0, next hop 172.30.0.12 (route to 10.244.2.0/24).",
            "  n2 delivers it to b/web by the link kl2.",
            "  ingress of b/web on n2 is open: no policy selects it.",
            "  Nothing that the nodes enforce stops it.",
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_denial_names_the_policies_and_ends_the_way() {
        let denied = |letting: &[&str]| PathJudgement {
            group: "0a".into(),
            policies: vec!["deny".into(), "web".into()],
            letting: letting.iter().map(ToString::to_string).collect(),
            ..judged("denied")
        };
        let said = lines(over_nodes(denied(&[]), judged("open")));
        assert_eq!(said.len(), 3, "nothing comes after: {said:#?}");
        let last = &said[2];
        assert!(last.contains("DENIED") && last.contains("selected by deny, web"), "{last}");
        assert!(last.ends_with("dropped, counted as policy_egress."), "{last}");
        let said = lines(over_nodes(judged("open"), denied(&["web"]))).join("\n");
        assert!(said.contains("policy_ingress") && said.contains("web would let it"), "{said}");
        assert!(!said.contains("Nothing that the nodes enforce"), "{said}");
    }

    #[test]
    fn an_entry_that_lets_pass_is_named_with_its_policies() {
        let allowed = |with: &str| PathJudgement {
            group: "0a".into(),
            with: with.into(),
            class: "0b".into(),
            entry: "TCP 80".into(),
            policies: vec!["web".into()],
            letting: vec!["web".into()],
            ..judged("allowed")
        };
        for (with, words) in [
            ("anyone", "TCP 80 with anyone;"),
            ("pods", "(class 0b); selected by web; let by web."),
            ("blocks", "its block"),
        ] {
            let said = lines(over_nodes(judged("open"), allowed(with))).join("\n");
            assert!(said.contains(words) && said.contains("Nothing that the nodes enforce"), "{said}");
        }
    }

    #[test]
    fn ends_of_one_node_are_redirected_to() {
        let mut node = PathReply {
            node: "n1".into(),
            from: link("kl1"),
            to: link("kl2"),
            egress: Some(judged("open")),
            ingress: Some(judged("closed")),
            ..PathReply::default()
        };
        let said = lines(vec![node.clone()]).join("\n");
        assert!(
            said.contains("straight into b/web (link kl2)") && said.contains("not in the kernel yet"),
            "{said}"
        );
        node.to = Some(PathEnd { shaped: true, ..node.to.unwrap() });
        assert!(lines(vec![node]).join("\n").contains("whose queue bounds its rate"));
        let without = PathReply { node: "n1".into(), without_packets: true, ..PathReply::default() };
        assert!(lines(vec![without]).join("\n").contains("no policy is enforced"));
    }
}

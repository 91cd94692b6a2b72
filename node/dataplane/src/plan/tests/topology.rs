//! Hints: when they count, and what is left then.

use super::*;

/// An endpoint by its flags, and its hints as `zone=a,b node=here|there`.
fn hinted(address: &str, flags: &str, hints: &str) -> Endpoint {
    let mut endpoint = endpoint(address, flags);
    for hint in hints.split_whitespace() {
        match hint.split_once('=').unwrap() {
            ("zone", zones) => endpoint.zone_hints = zones.split(',').map(Into::into).collect(),
            ("node", "here") => endpoint.node_hint = NodeHint::Here,
            ("node", _) => endpoint.node_hint = NodeHint::Elsewhere,
            other => panic!("{other:?}"),
        }
    }
    endpoint
}

#[test]
fn hints_count_when_every_ready_endpoint_has_one_and_one_is_for_here() {
    type Row = (
        &'static str,
        Option<&'static str>,
        &'static [(&'static str, &'static str)],
        &'static [&'static str],
    );
    let rows: &[Row] = &[
        ("our zone", Some("a"), &[("rs", "zone=a"), ("rs", "zone=b")], &["1"]),
        ("one endpoint for two zones", Some("a"), &[("rs", "zone=a,b"), ("rs", "zone=b")], &["1"]),
        ("one ready endpoint without", Some("a"), &[("rs", "zone=a"), ("rs", "")], &["1", "2"]),
        ("an unready endpoint without", Some("a"), &[("rs", "zone=a"), ("", ""), ("rs", "zone=b")], &["1"]),
        ("none for our zone", Some("c"), &[("rs", "zone=a"), ("rs", "zone=b")], &["1", "2"]),
        ("no zone", None, &[("rs", "zone=a"), ("rs", "zone=b")], &["1", "2"]),
        ("only an unready one for our zone", Some("a"), &[("", "zone=a"), ("rs", "zone=b")], &["2"]),
        ("our node", Some("a"), &[("rs", "node=here zone=a"), ("rs", "node=there zone=a")], &["1"]),
        (
            "other nodes, our zone",
            Some("a"),
            &[("rs", "node=there zone=a"), ("rs", "node=there zone=b")],
            &["1"],
        ),
        ("one without node, our zone", Some("a"), &[("rs", "node=here zone=b"), ("rs", "zone=a")], &["2"]),
        ("other nodes, no zones", Some("a"), &[("rs", "node=there"), ("rs", "node=there")], &["1", "2"]),
        ("our node needs no zone", None, &[("rs", "node=here"), ("rs", "node=there")], &["1"]),
        (
            "draining ones are taken from anywhere",
            Some("a"),
            &[("st", "zone=a"), ("st", "zone=b")],
            &["1", "2"],
        ),
        ("draining beside ready elsewhere", Some("a"), &[("st", "zone=a"), ("rs", "zone=b")], &["2"]),
    ];
    for (name, zone, endpoints, wanted) in rows {
        let endpoint = |(n, (flags, hints)): (usize, &(&str, &str))| {
            hinted(&format!("10.244.0.{}", n + 1), flags, hints)
        };
        let endpoints: Vec<_> = endpoints.iter().enumerate().map(endpoint).collect();
        let slices = [slice(&[("", 80, Protocol::Tcp)], &endpoints)];
        let node = Node { zone: zone.map(Into::into), ..node() };
        let plan = plan(&node, &service(), slices.iter());
        let wanted: Vec<_> = wanted.iter().map(|n| format!("10.244.0.{n}:80")).collect();
        assert_eq!(texts(&plan.frontends[0].frontend.backends), wanted, "{name}");
    }
}

#[test]
fn a_local_policy_does_not_look_at_hints() {
    let endpoints = [hinted("10.244.0.1", "rs", "zone=a"), hinted("10.244.1.1", "rsl", "zone=b node=there")];
    let slices = [slice(&[("", 80, Protocol::Tcp)], &endpoints)];
    let node = Node { zone: Some("a".into()), ..node() };
    let service = ServiceView { internal_local: true, ..service() };
    let plan = plan(&node, &service, slices.iter());
    assert_eq!(texts(&plan.frontends[0].frontend.backends), ["10.244.1.1:80"]);
}

#[test]
fn families_are_judged_apart() {
    let slices = [
        slice(
            &[("", 80, Protocol::Tcp)],
            &[hinted("10.244.0.1", "rs", "zone=a"), hinted("10.244.0.2", "rs", "zone=b")],
        ),
        slice(&[("", 80, Protocol::Tcp)], &[hinted("fd00::1", "rs", "zone=a"), endpoint("fd00::2", "rs")]),
    ];
    let mut service = service();
    service.cluster_ips.push("fd00:96::7".parse().unwrap());
    let node = Node { zone: Some("a".into()), ..node() };
    let plan = plan(&node, &service, slices.iter());
    let found: Vec<_> = plan.frontends.iter().map(|f| texts(&f.frontend.backends)).collect();
    assert_eq!(found, [vec!["10.244.0.1:80"], vec!["[fd00::1]:80", "[fd00::2]:80"]]);
}

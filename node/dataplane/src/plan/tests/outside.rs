//! Node ports, external and load balancer addresses: for sockets of this node, and for packets from outside.

use super::*;

fn exposed() -> ServiceView {
    ServiceView {
        external_ips: vec!["198.51.100.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        load_balancer_ips: vec!["203.0.113.1".parse().unwrap()],
        ports: vec![ServicePort { node_port: Some(30_080), ..port("", 80, Protocol::Tcp) }],
        ..service()
    }
}

fn here_and_there() -> [SliceView; 1] {
    [slice(
        &[("", 8080, Protocol::Tcp)],
        &[endpoint("10.244.0.1", "rs"), endpoint("10.244.1.1", "rsl"), endpoint("10.244.1.2", "stl")],
    )]
}

fn sockets(plan: &Plan) -> Vec<(FrontendKind, String, Vec<String>)> {
    let row = |f: &PlannedFrontend| (f.kind, f.frontend.key.to_string(), texts(&f.frontend.backends));
    plan.frontends.iter().map(row).collect()
}

fn packets(plan: &Plan) -> Vec<(String, Vec<String>, bool)> {
    let row = |e: &ExternalFrontend| (e.key.to_string(), texts(&e.backends), e.local_backends_only);
    plan.external.iter().map(row).collect()
}

#[test]
fn each_address_of_a_family_that_the_service_has_is_a_frontend() {
    let all = vec!["10.244.0.1:8080".to_owned(), "10.244.1.1:8080".to_owned()];
    let plan = planned(&exposed(), &here_and_there());
    assert_eq!(
        sockets(&plan),
        [
            (FrontendKind::ClusterIp, "10.96.0.7:80/Tcp".into(), all.clone()),
            (FrontendKind::LoadBalancer, "203.0.113.1:80/Tcp".into(), all.clone()),
            (FrontendKind::ExternalIp, "198.51.100.1:80/Tcp".into(), all.clone()),
            (FrontendKind::NodePort, "127.0.0.1:30080/Tcp".into(), all.clone()),
            (FrontendKind::NodePort, "192.0.2.1:30080/Tcp".into(), all.clone()),
        ]
    );
    assert_eq!(
        packets(&plan),
        [
            ("203.0.113.1:80/Tcp".into(), all.clone(), false),
            ("198.51.100.1:80/Tcp".into(), all.clone(), false),
            ("192.0.2.1:30080/Tcp".into(), all, false),
        ]
    );
    assert_eq!(plan.node_ports, [(30_080, Protocol::Tcp)]);
}

#[test]
fn both_families_have_their_own_of_everything() {
    let mut service = exposed();
    service.cluster_ips.push("fd00:96::7".parse().unwrap());
    let mut node = node();
    node.port_addresses.extend(["::1", "2001:db8:1::1"].map(|ip| ip.parse::<IpAddr>().unwrap()));
    let slices =
        [here_and_there().to_vec(), vec![slice(&[("", 8080, Protocol::Tcp)], &[endpoint("fd00::1", "rs")])]]
            .concat();
    let plan = plan(&node, &service, slices.iter());
    let six: Vec<_> = sockets(&plan).into_iter().filter(|(_, key, _)| key.starts_with('[')).collect();
    let keys: Vec<_> = six.iter().map(|(_, key, _)| key.as_str()).collect();
    assert_eq!(
        keys,
        ["[fd00:96::7]:80/Tcp", "[2001:db8::1]:80/Tcp", "[::1]:30080/Tcp", "[2001:db8:1::1]:30080/Tcp"]
    );
    assert!(six.iter().all(|(_, _, backends)| *backends == ["[fd00::1]:8080"]));
    assert_eq!(plan.node_ports, [(30_080, Protocol::Tcp)], "one port for both");
}

#[test]
fn external_policy_local_is_for_packets_from_outside_alone() {
    let service = ServiceView { external_local: true, ..exposed() };
    let plan = planned(&service, &here_and_there());
    assert!(sockets(&plan).iter().all(|(_, _, backends)| backends.len() == 2), "pods take the short cut");
    assert!(packets(&plan).iter().all(|(_, backends, local)| *local && *backends == ["10.244.1.1:8080"]));
}

#[test]
fn internal_policy_local_is_for_cluster_addresses_alone() {
    let service = ServiceView { internal_local: true, ..exposed() };
    for (kind, key, backends) in sockets(&planned(&service, &here_and_there())) {
        let wanted = if kind == FrontendKind::ClusterIp { 1 } else { 2 };
        assert_eq!(backends.len(), wanted, "{key}");
    }
}

#[test]
fn an_address_that_is_given_twice_is_one_frontend() {
    let mut service = exposed();
    service.external_ips = service.load_balancer_ips.clone();
    let plan = planned(&service, &[]);
    let kinds: Vec<_> = sockets(&plan).into_iter().filter(|(_, key, _)| key.starts_with("203")).collect();
    assert_eq!(kinds.len(), 1);
    assert_eq!(kinds[0].0, FrontendKind::LoadBalancer);
    assert_eq!(packets(&plan).iter().filter(|(key, ..)| key.starts_with("203")).count(), 1);
}

#[test]
fn source_ranges_that_leave_out_clients_of_the_node_leave_out_all_of_them() {
    for (ranges, programmed) in [
        (&[][..], true),
        (&["0.0.0.0/0"], true),
        (&["10.244.0.0/16", "192.0.2.0/24"], true),
        (&["10.244.0.0/16"], false),
        (&["198.18.0.0/15"], false),
        (&["10.244.1.0/25", "192.0.2.0/24"], false),
        (&["2001:db8::/32"], true),
    ] {
        let source_ranges: Vec<IpNet> = ranges.iter().map(|range| range.parse().unwrap()).collect();
        let service = ServiceView { source_ranges: source_ranges.clone(), ..exposed() };
        let plan = planned(&service, &[]);
        let balanced = sockets(&plan).iter().any(|(kind, ..)| *kind == FrontendKind::LoadBalancer);
        assert_eq!(balanced, programmed, "{ranges:?}");
        let said = plan.unprogrammed == [Unprogrammed::SourceRanges("203.0.113.1".parse().unwrap())];
        assert_eq!(said, !programmed, "{ranges:?}: {:?}", plan.unprogrammed);
        // Packets have a source: there the ranges are asked, and only at load balancer addresses.
        let of_family: Vec<_> = source_ranges.into_iter().filter(|net| net.addr().is_ipv4()).collect();
        for external in &plan.external {
            let wanted = if external.key.address.to_string() == "203.0.113.1" { &of_family[..] } else { &[] };
            assert_eq!(external.source_ranges, wanted, "{}", external.key);
        }
        assert_eq!(sockets(&plan).len(), if programmed { 5 } else { 4 });
    }
}

#[test]
fn a_health_check_counts_ready_pods_of_this_node_once() {
    let mut service = ServiceView { external_local: true, health_check_port: Some(31_000), ..exposed() };
    service.cluster_ips.push("fd00:96::7".parse().unwrap());
    let slices = [
        slice(&[("a", 1, Protocol::Tcp)], &[endpoint("10.244.1.1", "rsl"), endpoint("10.244.1.2", "stl")]),
        slice(&[("b", 2, Protocol::Tcp)], &[endpoint("10.244.1.1", "rsl"), endpoint("10.244.0.1", "rs")]),
        slice(&[("a", 1, Protocol::Tcp)], &[endpoint("fd00::1", "rsl")]),
    ];
    assert_eq!(planned(&service, &slices).health, Some(HealthCheck { port: 31_000, local_endpoints: 1 }));
    assert_eq!(planned(&exposed(), &slices).health, None);
}

//! Which frontends a Service makes inside the cluster.

use super::*;

#[test]
fn ports_are_matched_by_name_and_protocol() {
    let mut service = service();
    service.ports =
        vec![port("web", 80, Protocol::Tcp), port("dns", 53, Protocol::Tcp), port("dns", 53, Protocol::Udp)];
    let slices = [slice(
        &[("web", 8080, Protocol::Tcp), ("dns", 5300, Protocol::Udp), ("other", 9, Protocol::Tcp)],
        &[endpoint("10.244.0.1", "rs")],
    )];
    let found: Vec<_> = planned(&service, &slices)
        .frontends
        .iter()
        .map(|f| (f.frontend.key.to_string(), texts(&f.frontend.backends)))
        .collect();
    assert_eq!(
        found,
        [
            ("10.96.0.7:80/Tcp".into(), vec!["10.244.0.1:8080".to_owned()]),
            ("10.96.0.7:53/Tcp".into(), vec![]),
            ("10.96.0.7:53/Udp".into(), vec!["10.244.0.1:5300".to_owned()])
        ]
    );
}

#[test]
fn families_do_not_mix() {
    let mut service = service();
    service.cluster_ips.push("fd00:96::7".parse().unwrap());
    let slices = [
        slice(&[("", 8080, Protocol::Tcp)], &[endpoint("10.244.0.1", "rs")]),
        slice(&[("", 8080, Protocol::Tcp)], &[endpoint("fd00:244::1", "rs")]),
    ];
    assert_eq!(backends_of(&service, &slices), ["10.244.0.1:8080", "[fd00:244::1]:8080"]);
}

#[test]
fn without_a_cluster_address_nothing_is_planned() {
    let service = ServiceView {
        cluster_ips: vec![],
        external_ips: vec!["198.51.100.1".parse().unwrap()],
        ports: vec![ServicePort { node_port: Some(30_080), ..port("", 80, Protocol::Tcp) }],
        ..service()
    };
    let slices = [slice(&[("", 8080, Protocol::Tcp)], &[endpoint("10.244.0.1", "rs")])];
    assert_eq!(planned(&service, &slices), Plan::default());
}

#[test]
fn affinity_is_every_frontends() {
    let mut service = ServiceView { affinity_s: 600, ..service() };
    service.ports[0].node_port = Some(30_080);
    let plan = planned(&service, &[]);
    assert_eq!(plan.frontends.len(), 3);
    assert!(plan.frontends.iter().all(|f| f.frontend.affinity_s == 600));
    assert!(plan.external.iter().all(|external| external.affinity_s == 600));
}

#[test]
fn what_is_not_programmed_is_named() {
    let mut service = service();
    service.ports.push(ServicePort { name: "s".into(), number: 9, node_port: Some(30_009), protocol: None });
    let plan = planned(&service, &[]);
    assert_eq!(plan.frontends.len(), 1);
    assert_eq!(plan.node_ports, []);
    assert_eq!(plan.unprogrammed, [Unprogrammed::Protocol(9)]);
}

#[test]
fn what_the_node_answers_itself_is_left_alone_until_somebody_else_does() {
    let mut service = service();
    let ready = slice(&[("", 8080, Protocol::Tcp)], &[endpoint("10.244.0.1", "rs")]);
    assert_eq!(planned(&service, &[]).frontends.len(), 1, "others refuse");
    service.node_answers = true;
    assert!(planned(&service, &[]).frontends.is_empty());
    assert_eq!(backends_of(&service, &[ready]), ["10.244.0.1:8080"]);
    // Nobody answers at a node port.
    service.ports[0].node_port = Some(30_053);
    assert_eq!(planned(&service, &[]).frontends.len(), 2);
}

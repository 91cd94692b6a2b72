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
fn sctp_is_programmed_where_its_port_stays() {
    let mut service = service();
    service.ports = vec![ServicePort { node_port: Some(30_009), ..port("", 9, Protocol::Sctp) }];
    let of = |ports: &[u16]| {
        let ports: Vec<_> = ports.iter().map(|&number| ("", number, Protocol::Sctp)).collect();
        slice(&ports, &[endpoint("10.244.0.1", "rs")])
    };
    let differs = |port, target| Unprogrammed::SctpPort { port, target };
    // Endpoints' ports; whether the cluster address is programmed, the node port is; what is told.
    let rows: [(&[u16], bool, bool, &[Unprogrammed]); 4] = [
        (&[], true, true, &[]),
        (&[9], true, false, &[differs(30_009, 9)]),
        (&[30_009], false, true, &[differs(9, 30_009)]),
        (&[9, 10], false, false, &[differs(9, 10), differs(30_009, 9)]),
    ];
    for (ports, inside, outside, told) in rows {
        let plan = planned(&service, &[of(ports)]);
        let has = |port| plan.frontends.iter().any(|p| p.frontend.key.port == port);
        assert_eq!((has(9), has(30_009)), (inside, outside), "{ports:?}");
        assert_eq!(plan.external.len(), usize::from(outside), "{ports:?}");
        assert_eq!((plan.unprogrammed.as_slice(), plan.node_ports.len()), (told, 0), "{ports:?}");
    }
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

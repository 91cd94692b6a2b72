//! Tables of Services and slices against the frontends they make.

use super::*;

fn port(name: &str, number: u16, protocol: Protocol) -> ServicePort {
    ServicePort { name: name.into(), number, protocol: Some(protocol) }
}

fn slice(ports: &[(&str, u16, Protocol)], endpoints: &[Endpoint]) -> SliceView {
    SliceView {
        family: endpoints.first().map_or(Family::V4, |e| family(e.address)),
        ports: ports
            .iter()
            .map(|&(name, number, protocol)| SlicePort {
                name: name.into(),
                number,
                protocol: Some(protocol),
            })
            .collect(),
        endpoints: endpoints.to_vec(),
    }
}

/// An endpoint by its flags: r(eady), s(erving), t(erminating), l(ocal).
fn endpoint(address: &str, flags: &str) -> Endpoint {
    Endpoint {
        address: address.parse().unwrap(),
        ready: flags.contains('r'),
        serving: flags.contains('s'),
        terminating: flags.contains('t'),
        local: flags.contains('l'),
    }
}

fn service() -> ServiceView {
    ServiceView {
        cluster_ips: vec!["10.96.0.7".parse().unwrap()],
        ports: vec![port("", 80, Protocol::Tcp)],
        ..ServiceView::default()
    }
}

fn backends_of(service: &ServiceView, slices: &[SliceView]) -> Vec<String> {
    let plan = plan(service, slices.iter());
    plan.frontends.iter().flat_map(|f| f.backends.iter().map(ToString::to_string)).collect()
}

#[test]
fn readiness_decides_and_terminating_endpoints_serve_only_when_nothing_is_ready() {
    type Row = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);
    let rows: &[Row] = &[
        ("all ready", &[("10.244.0.2", "rs"), ("10.244.0.1", "rs")], &["10.244.0.1:8080", "10.244.0.2:8080"]),
        ("unready is left out", &[("10.244.0.1", "rs"), ("10.244.0.2", "")], &["10.244.0.1:8080"]),
        (
            "draining is left out beside ready",
            &[("10.244.0.1", "rs"), ("10.244.0.2", "st")],
            &["10.244.0.1:8080"],
        ),
        ("draining alone serves", &[("10.244.0.1", ""), ("10.244.0.2", "st")], &["10.244.0.2:8080"]),
        ("serving without terminating is not ready", &[("10.244.0.1", "s")], &[]),
        ("terminating without serving is gone", &[("10.244.0.1", "t")], &[]),
        ("published although terminating", &[("10.244.0.1", "rst")], &["10.244.0.1:8080"]),
        ("nothing", &[], &[]),
    ];
    for (name, endpoints, wanted) in rows {
        let endpoints: Vec<_> = endpoints.iter().map(|(a, f)| endpoint(a, f)).collect();
        let slices = [slice(&[("", 8080, Protocol::Tcp)], &endpoints)];
        assert_eq!(backends_of(&service(), &slices), *wanted, "{name}");
    }
}

#[test]
fn ports_are_matched_by_name_and_protocol() {
    let mut service = service();
    service.ports =
        vec![port("web", 80, Protocol::Tcp), port("dns", 53, Protocol::Tcp), port("dns", 53, Protocol::Udp)];
    let slices = [slice(
        &[("web", 8080, Protocol::Tcp), ("dns", 5300, Protocol::Udp), ("other", 9, Protocol::Tcp)],
        &[endpoint("10.244.0.1", "rs")],
    )];
    let plan = plan(&service, slices.iter());
    let found: Vec<_> = plan.frontends.iter().map(|f| (f.key.to_string(), f.backends.len())).collect();
    assert_eq!(
        found,
        [("10.96.0.7:80/Tcp".into(), 1), ("10.96.0.7:53/Tcp".into(), 0), ("10.96.0.7:53/Udp".into(), 1)]
    );
    assert_eq!(plan.frontends[2].backends, ["10.244.0.1:5300".parse().unwrap()]);
}

#[test]
fn slices_with_different_numbers_for_one_named_port_keep_them_apart() {
    let slices = [
        slice(&[("", 8080, Protocol::Tcp)], &[endpoint("10.244.0.1", "rs")]),
        slice(&[("", 9090, Protocol::Tcp)], &[endpoint("10.244.0.2", "rs")]),
    ];
    assert_eq!(backends_of(&service(), &slices), ["10.244.0.1:8080", "10.244.0.2:9090"]);
}

#[test]
fn an_endpoint_in_two_slices_counts_once() {
    let one = slice(&[("", 8080, Protocol::Tcp)], &[endpoint("10.244.0.1", "rs")]);
    assert_eq!(backends_of(&service(), &[one.clone(), one]), ["10.244.0.1:8080"]);
}

#[test]
fn families_do_not_mix() {
    let mut service = service();
    service.cluster_ips.push("fd00:96::7".parse().unwrap());
    let slices = [
        slice(&[("", 8080, Protocol::Tcp)], &[endpoint("10.244.0.1", "rs")]),
        slice(&[("", 8080, Protocol::Tcp)], &[endpoint("fd00:244::1", "rs")]),
    ];
    let plan = plan(&service, slices.iter());
    assert_eq!(plan.frontends[0].backends, ["10.244.0.1:8080".parse().unwrap()]);
    assert_eq!(plan.frontends[1].backends, ["[fd00:244::1]:8080".parse().unwrap()]);
}

#[test]
fn a_local_policy_keeps_to_this_node_even_when_nothing_is_here() {
    let mut service = service();
    service.local_only = true;
    let here =
        slice(&[("", 8080, Protocol::Tcp)], &[endpoint("10.244.0.1", "rs"), endpoint("10.244.1.1", "rsl")]);
    let away = slice(&[("", 8080, Protocol::Tcp)], &[endpoint("10.244.0.1", "rs")]);
    assert_eq!(backends_of(&service, &[here]), ["10.244.1.1:8080"]);
    assert!(backends_of(&service, &[away]).is_empty());
}

#[test]
fn what_is_not_programmed_is_named() {
    let mut service = service();
    service.unprogrammed = vec![Unprogrammed::NodePort(30_080)];
    service.ports.push(ServicePort { name: "s".into(), number: 9, protocol: None });
    let plan = plan(&service, [].iter());
    assert_eq!(plan.frontends.len(), 1);
    assert_eq!(plan.unprogrammed, [Unprogrammed::NodePort(30_080), Unprogrammed::Protocol(9)]);
}

#[test]
fn what_the_node_answers_itself_is_left_alone_until_somebody_else_does() {
    let mut service = service();
    let ready = slice(&[("", 8080, Protocol::Tcp)], &[endpoint("10.244.0.1", "rs")]);
    assert_eq!(plan(&service, [].iter()).frontends.len(), 1, "others refuse");
    service.node_answers = true;
    assert!(plan(&service, [].iter()).frontends.is_empty());
    assert_eq!(backends_of(&service, &[ready]), ["10.244.0.1:8080"]);
}

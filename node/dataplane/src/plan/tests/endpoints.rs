//! Which endpoints of a slice take connections.

use super::*;

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
        (
            "published although not ready (publishNotReadyAddresses)",
            &[("10.244.0.1", "r")],
            &["10.244.0.1:8080"],
        ),
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
fn a_local_policy_keeps_to_this_node_even_when_nothing_is_here() {
    type Row = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);
    let rows: &[Row] = &[
        ("here and there", &[("10.244.0.1", "rs"), ("10.244.1.1", "rsl")], &["10.244.1.1:8080"]),
        ("only there", &[("10.244.0.1", "rs")], &[]),
        ("draining here, ready there", &[("10.244.0.1", "rs"), ("10.244.1.1", "stl")], &["10.244.1.1:8080"]),
        ("draining beside ready here", &[("10.244.1.2", "rsl"), ("10.244.1.1", "stl")], &["10.244.1.2:8080"]),
        ("gone here", &[("10.244.0.1", "rs"), ("10.244.1.1", "tl")], &[]),
    ];
    for (name, endpoints, wanted) in rows {
        let endpoints: Vec<_> = endpoints.iter().map(|(a, f)| endpoint(a, f)).collect();
        let service = ServiceView { internal_local: true, ..service() };
        let slices = [slice(&[("", 8080, Protocol::Tcp)], &endpoints)];
        assert_eq!(backends_of(&service, &slices), *wanted, "{name}");
    }
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
fn an_endpoint_in_two_slices_counts_once_and_as_the_better_of_them() {
    let with = |flags| slice(&[("", 8080, Protocol::Tcp)], &[endpoint("10.244.0.1", flags)]);
    for pair in [["rs", "rs"], ["rs", ""], ["", "rs"], ["st", "rs"]] {
        assert_eq!(backends_of(&service(), &pair.map(with)), ["10.244.0.1:8080"], "{pair:?}");
    }
}

#[test]
fn udp_backends_serve_until_they_stop_whether_they_are_chosen_or_not() {
    let service = ServiceView { ports: vec![port("", 53, Protocol::Udp)], ..service() };
    let endpoints = [("10.244.0.1", "rs"), ("10.244.0.2", "st"), ("10.244.0.3", "t"), ("10.244.0.4", "s")];
    let endpoints = endpoints.map(|(a, f)| endpoint(a, f));
    let plan = planned(&service, &[slice(&[("", 53, Protocol::Udp)], &endpoints)]);
    let (key, serving) = &plan.serving_udp[0];
    assert_eq!(key.to_string(), "10.96.0.7:53/Udp");
    assert_eq!(texts(serving), ["10.244.0.1:53", "10.244.0.2:53", "10.244.0.4:53"]);
    assert_eq!(texts(&plan.frontends[0].frontend.backends), ["10.244.0.1:53"]);
    assert!(planned(&super::service(), &[]).serving_udp.is_empty(), "TCP tells its clients itself");
}

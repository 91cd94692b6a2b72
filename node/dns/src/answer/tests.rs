//! The specification, row by row.

use super::*;
use crate::index::{Endpoint, EndpointSet, Port, Protocol, Service};

fn port(name: &str, number: u16, protocol: Protocol) -> Port {
    Port { name: name.into(), protocol, number }
}

fn endpoint(address: &str, hostname: Option<&str>) -> Endpoint {
    Endpoint { address: address.parse().unwrap(), hostname: hostname.map(Into::into) }
}

fn set(endpoints: &[Endpoint], ports: &[Port]) -> EndpointSet {
    EndpointSet { endpoints: endpoints.into(), ports: ports.into() }
}

fn own(addresses: &[&str], ports: &[Port]) -> Service {
    let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
    Service::ClusterIp { addresses, ports: ports.into() }
}

fn index() -> Index {
    let mut index = Index::default();
    let http = port("http", 80, Protocol::Tcp);
    let key = |name| Key::new("shop", name);
    index.put_service(&key("web"), own(&["10.96.0.7"], &[http.clone(), port("dns", 53, Protocol::Udp)]));
    index.put_service(&key("plain"), own(&["10.96.0.8"], &[port("", 80, Protocol::Tcp)]));
    index.put_service(&key("dual"), own(&["10.96.0.9", "fd00:96::9"], std::slice::from_ref(&http)));
    index.put_service(&key("six"), own(&["fd00:96::6"], &[]));
    for name in ["db", "twin", "empty"] {
        index.put_service(&key(name), Service::Headless);
    }
    for (name, target) in
        [("alias", "example.com"), ("inside", "web.shop.svc.cluster.local"), ("ip", "1.2.3.4")]
    {
        index.put_service(&key(name), Service::ExternalName(target.into()));
    }
    let db = [endpoint("10.244.1.5", Some("db-0")), endpoint("10.244.1.6", None)];
    index.put_slice(&key("db-x"), "db", set(&db, std::slice::from_ref(&http)));
    let of_web = [endpoint("10.244.1.7", Some("w")), endpoint("10.244.1.8", None)];
    index.put_slice(&key("web-x"), "web", set(&of_web, std::slice::from_ref(&http)));
    let v4 = [endpoint("10.244.1.9", Some("a"))];
    let v6 = [endpoint("fd00:244::9", Some("a")), endpoint("fd00:244::a", None)];
    index.put_slice(&key("twin-4"), "twin", set(&v4, std::slice::from_ref(&http)));
    index.put_slice(&key("twin-6"), "twin", set(&v6, std::slice::from_ref(&http)));
    // Still there for a moment after their Service went.
    index.put_slice(&key("gone-x"), "gone", set(&[endpoint("10.244.1.10", Some("g"))], &[]));
    index
}

fn ask(name: &str, kind: RecordType) -> Outcome {
    let servers = vec!["10.96.0.10".parse().unwrap(), "fd00:96::10".parse().unwrap()];
    let zone = Zone { domain: Name::from_ascii("cluster.local.").unwrap(), servers };
    // As they come: any bytes, whether or not a host may be called so.
    let labels = name.split('.').filter(|label| !label.is_empty()).map(str::as_bytes);
    let mut name = Name::from_labels(labels).unwrap();
    name.set_fqdn(true);
    answer(&index(), &zone, &Query::query(name, kind))
}

/// The data of the answer, or the code if it is an error, or `elsewhere`.
fn said(name: &str, kind: RecordType) -> String {
    match ask(name, kind) {
        Outcome::Elsewhere => "elsewhere".into(),
        Outcome::Ours(answer) if answer.code != ResponseCode::NoError => format!("{:?}", answer.code),
        Outcome::Ours(answer) => {
            answer.answers.iter().map(|record| record.data.to_string()).collect::<Vec<_>>().join(" ")
        }
    }
}

#[test]
fn the_specification_row_by_row() {
    use RecordType::{A, AAAA, ANY, CNAME, NS, PTR, SRV, TXT};
    let rows = [
        // 2.2
        ("dns-version.cluster.local.", TXT, "1.1.0"),
        // 2.3
        ("web.shop.svc.cluster.local.", A, "10.96.0.7"),
        ("WEB.Shop.svc.cluster.LOCAL.", A, "10.96.0.7"),
        ("web.shop.svc.cluster.local.", AAAA, ""),
        ("dual.shop.svc.cluster.local.", A, "10.96.0.9"),
        ("dual.shop.svc.cluster.local.", AAAA, "fd00:96::9"),
        ("dual.shop.svc.cluster.local.", ANY, "10.96.0.9 fd00:96::9"),
        ("six.shop.svc.cluster.local.", A, ""),
        ("_http._tcp.web.shop.svc.cluster.local.", SRV, "0 100 80 web.shop.svc.cluster.local."),
        ("_dns._udp.web.shop.svc.cluster.local.", SRV, "0 100 53 web.shop.svc.cluster.local."),
        ("_http._tcp.web.shop.svc.cluster.local.", A, ""),
        ("_tcp.web.shop.svc.cluster.local.", SRV, ""),
        ("plain.shop.svc.cluster.local.", SRV, "0 100 80 plain.shop.svc.cluster.local."),
        ("7.0.96.10.in-addr.arpa.", PTR, "web.shop.svc.cluster.local."),
        ("7.0.96.10.in-addr.arpa.", A, ""),
        ("9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", PTR, "elsewhere"),
        (
            "9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.D.F.IP6.ARPA.",
            PTR,
            "dual.shop.svc.cluster.local.",
        ),
        // 2.4
        ("db.shop.svc.cluster.local.", A, "10.244.1.5 10.244.1.6"),
        ("db.shop.svc.cluster.local.", AAAA, ""),
        ("twin.shop.svc.cluster.local.", A, "10.244.1.9"),
        ("twin.shop.svc.cluster.local.", AAAA, "fd00:244::9 fd00:244::a"),
        ("db-0.db.shop.svc.cluster.local.", A, "10.244.1.5"),
        ("db-0.db.shop.svc.cluster.local.", AAAA, ""),
        ("a.twin.shop.svc.cluster.local.", AAAA, "fd00:244::9"),
        ("10-244-1-6.db.shop.svc.cluster.local.", A, "10.244.1.6"),
        ("fd00-244--a.twin.shop.svc.cluster.local.", AAAA, "fd00:244::a"),
        ("10-244-1-8.web.shop.svc.cluster.local.", A, "10.244.1.8"),
        (
            "_http._tcp.db.shop.svc.cluster.local.",
            SRV,
            "0 100 80 db-0.db.shop.svc.cluster.local. 0 100 80 10-244-1-6.db.shop.svc.cluster.local.",
        ),
        (
            "_http._tcp.twin.shop.svc.cluster.local.",
            SRV,
            "0 100 80 a.twin.shop.svc.cluster.local. 0 100 80 fd00-244--a.twin.shop.svc.cluster.local.",
        ),
        ("5.1.244.10.in-addr.arpa.", PTR, "db-0.db.shop.svc.cluster.local."),
        ("6.1.244.10.in-addr.arpa.", PTR, "10-244-1-6.db.shop.svc.cluster.local."),
        ("7.1.244.10.in-addr.arpa.", PTR, "w.web.shop.svc.cluster.local."),
        ("8.1.244.10.in-addr.arpa.", PTR, "elsewhere"),
        // 2.5
        ("alias.shop.svc.cluster.local.", A, "example.com."),
        ("alias.shop.svc.cluster.local.", AAAA, "example.com."),
        ("alias.shop.svc.cluster.local.", CNAME, "example.com."),
        // 2.6
        ("10-244-1-9.shop.pod.cluster.local.", A, "10.244.1.9"),
        ("10-244-1-9.shop.pod.cluster.local.", AAAA, ""),
        ("fd00-10--1.shop.pod.cluster.local.", AAAA, "fd00:10::1"),
        ("--1.shop.pod.cluster.local.", AAAA, "::1"),
        // The zone's own
        ("cluster.local.", NS, "ns.dns.cluster.local."),
        ("cluster.local.", A, ""),
        ("ns.dns.cluster.local.", A, "10.96.0.10"),
        ("shop.svc.cluster.local.", A, ""),
        ("shop.pod.cluster.local.", A, ""),
        ("svc.cluster.local.", A, ""),
    ];
    for (name, kind, expected) in rows {
        assert_eq!(said(name, kind), expected, "{name} {kind}");
    }
}

#[test]
fn what_is_not_there_does_not_exist() {
    for name in [
        "nothing.shop.svc.cluster.local.",
        "empty.shop.svc.cluster.local.",
        "web.other.svc.cluster.local.",
        "other.svc.cluster.local.",
        "web.shop.svc.cluster.local.cluster.local.",
        "host.web.shop.svc.cluster.local.",
        "host.alias.shop.svc.cluster.local.",
        "gone.shop.svc.cluster.local.",
        "g.gone.shop.svc.cluster.local.",
        "ip.shop.svc.cluster.local.",
        "_smtp._tcp.web.shop.svc.cluster.local.",
        "_http._udp.web.shop.svc.cluster.local.",
        "_._tcp.plain.shop.svc.cluster.local.",
        "_tcp.plain.shop.svc.cluster.local.",
        "_sctp.web.shop.svc.cluster.local.",
        "http._tcp.web.shop.svc.cluster.local.",
        "a._http._tcp.web.shop.svc.cluster.local.",
        "10-244-1.shop.pod.cluster.local.",
        "10-244-1-999.shop.pod.cluster.local.",
        "x.cluster.local.",
    ] {
        assert_eq!(said(name, RecordType::A), "NXDomain", "{name}");
    }
}

#[test]
fn what_is_not_the_clusters_is_asked_elsewhere() {
    for name in [
        "example.com.",
        "xcluster.local.",
        "local.",
        ".",
        "9.0.96.172.in-addr.arpa.",
        "10.1.244.10.in-addr.arpa.",
        "0.96.10.in-addr.arpa.",
        "007.0.96.10.in-addr.arpa.",
        "+7.0.96.10.in-addr.arpa.",
        "in-addr.arpa.",
        "1.7.0.96.10.in-addr.arpa.",
    ] {
        assert_eq!(said(name, RecordType::PTR), "elsewhere", "{name}");
    }
}

#[test]
fn an_empty_answer_says_for_how_long_and_a_full_one_for_five_seconds() {
    for (name, kind) in [
        ("nothing.shop.svc.cluster.local.", RecordType::A),
        ("web.shop.svc.cluster.local.", RecordType::AAAA),
        ("_http._tcp.web.shop.svc.cluster.local.", RecordType::A),
    ] {
        let Outcome::Ours(answer) = ask(name, kind) else { panic!("{name} is ours") };
        let [record] = answer.authorities.as_slice() else { panic!("{name}: one SOA") };
        let RData::SOA(soa) = &record.data else { panic!("{name}: a SOA") };
        assert_eq!((record.ttl, soa.minimum), (5, 5), "{name}");
        assert_eq!(record.name.to_string(), "cluster.local.");
        assert!(answer.answers.is_empty() && answer.additionals.is_empty(), "{name}");
    }
    let Outcome::Ours(answer) = ask("WEB.shop.svc.cluster.local.", RecordType::A) else { panic!("ours") };
    assert!(answer.authorities.is_empty());
    assert_eq!(answer.answers[0].ttl, 5);
    assert_eq!(answer.answers[0].name.to_ascii(), "WEB.shop.svc.cluster.local.", "as it was asked");
}

#[test]
fn names_in_an_srv_answer_come_with_their_addresses() {
    let Outcome::Ours(answer) = ask("_http._tcp.twin.shop.svc.cluster.local.", RecordType::SRV) else {
        panic!("ours")
    };
    let mut additionals: Vec<_> =
        answer.additionals.iter().map(|record| format!("{} {}", record.name, record.data)).collect();
    additionals.sort();
    assert_eq!(
        additionals,
        [
            "a.twin.shop.svc.cluster.local. 10.244.1.9",
            "a.twin.shop.svc.cluster.local. fd00:244::9",
            "fd00-244--a.twin.shop.svc.cluster.local. fd00:244::a",
        ]
    );
}

#[test]
fn an_alias_is_to_be_followed_unless_it_is_what_was_asked_for() {
    let alias = |kind| match ask("inside.shop.svc.cluster.local.", kind) {
        Outcome::Ours(answer) => answer.alias.map(|name| name.to_string()),
        Outcome::Elsewhere => panic!("ours"),
    };
    assert_eq!(alias(RecordType::A).as_deref(), Some("web.shop.svc.cluster.local."));
    assert_eq!(alias(RecordType::TXT).as_deref(), Some("web.shop.svc.cluster.local."));
    assert_eq!(alias(RecordType::CNAME), None);
}

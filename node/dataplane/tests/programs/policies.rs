//! Network policies: who passes, and that answers, errors and fragments go with what they belong to.
//!
//! `pod1` is policed as a row says, `pod2` is open; both are on this node.

use keelson_dataplane::{
    plan::Protocol::{Tcp, Udp},
    policy::{Changes, EndpointPolicy, PortPrefix, Prefix, Verdict},
};
use keelson_ebpf_common::{
    drop::Reason,
    policy::{
        Classes,
        Direction::{self, Egress, Ingress},
        Id,
    },
};

use crate::{
    altered::{fragments, with_hops},
    lab::{Fate, Lab, external, frontend, pass, redirect},
    packet::{ACK, FIN, RST, SYN, bare, echo, icmp_error, icmp6_error, sctp, tcp, tcp_with, udp},
};

const GROUP: Id = Id([7, 7]);
pub(crate) const FRIENDS: Id = Id([8, 8]);
const BLOCK: Id = Id([9, 9]);

/// Who begins, with whom, and a protocol with a port and how many of its bits count.
pub(crate) type Lets = (Direction, Id, Option<(u8, u16, u8)>);

/// Peers: `10.244.2.9`, `fd00:2::9` and `pod2` are friends, `192.0.2.0/24` and `2001:db8::/32` a block, in which `192.0.2.9` is a
/// friend, too.
pub(crate) fn policies(ingress: bool, egress: bool, lets: &[Lets]) -> Changes {
    let classes = |pods, blocks| Classes { pods, blocks };
    let peer = |range: &str, classes| (Prefix(range.parse().unwrap()), classes);
    let verdict = |(direction, class, ports): &Lets| Verdict {
        group: GROUP,
        class: *class,
        direction: *direction,
        ports: ports.map(|(protocol, port, bits)| PortPrefix { protocol, port, bits }),
    };
    let policed = EndpointPolicy::Policed { group: GROUP, ingress, egress };
    let pod = |name: &str, policy| (("default".into(), name.into()), Some((name.into(), policy)));
    Changes {
        verdicts: lets.iter().map(verdict).collect(),
        peers: vec![
            peer("fd00:2::9/128", classes(FRIENDS, Id::NONE)),
            peer("fd00:1::3/128", classes(FRIENDS, Id::NONE)),
            peer("10.244.2.9/32", classes(FRIENDS, Id::NONE)),
            peer("10.244.1.3/32", classes(FRIENDS, Id::NONE)),
            peer("192.0.2.9/32", classes(FRIENDS, BLOCK)),
            peer("192.0.2.0/24", classes(Id::NONE, BLOCK)),
            peer("2001:db8::/32", classes(Id::NONE, BLOCK)),
        ],
        endpoints: vec![pod("pod1", policed), pod("pod2", EndpointPolicy::Open)],
        ..Changes::default()
    }
}

const FRIENDS_80: Lets = (Ingress, FRIENDS, Some((6, 80, 16)));

fn passes(fate: &Fate) -> bool {
    !matches!(fate, Fate::Drop)
}

#[test]
fn what_comes_in_is_judged_wherever_it_comes_from() {
    let Some(mut lab) = Lab::new("ingress") else { return };
    lab.policies(&policies(true, false, &[FRIENDS_80, (Ingress, BLOCK, Some((17, 8000, 13)))]));
    let rows: Vec<(&str, &str, Vec<u8>, bool)> = vec![
        // Off the wire.
        ("from_uplink", "uplink", tcp("10.244.2.9:4000", "10.244.1.2:80", SYN), true),
        ("from_uplink", "uplink", tcp("10.244.2.9:4000", "10.244.1.2:81", SYN), false),
        ("from_uplink", "uplink", tcp("10.244.2.8:4000", "10.244.1.2:80", SYN), false),
        ("from_uplink", "uplink", udp("10.244.2.9:4000", "10.244.1.2:80", b"x"), false),
        ("from_uplink", "uplink", udp("192.0.2.1:4000", "10.244.1.2:8000", b"x"), true),
        ("from_uplink", "uplink", udp("192.0.2.1:4000", "10.244.1.2:8007", b"x"), true),
        ("from_uplink", "uplink", udp("192.0.2.1:4000", "10.244.1.2:8008", b"x"), false),
        ("from_uplink", "uplink", udp("192.0.2.9:4000", "10.244.1.2:8001", b"x"), true),
        ("from_uplink", "uplink", tcp("192.0.2.9:4000", "10.244.1.2:80", SYN), true),
        ("from_uplink", "uplink", tcp("192.0.2.1:4000", "10.244.1.2:80", SYN), false),
        ("from_uplink", "uplink", tcp("[fd00:2::9]:4000", "[fd00:1::2]:80", SYN), true),
        ("from_uplink", "uplink", tcp("[fd00:2::8]:4000", "[fd00:1::2]:80", SYN), false),
        ("from_uplink", "uplink", udp("[2001:db8::1]:4000", "[fd00:1::2]:8000", b"x"), true),
        // From the other pod, past the programs of this one's link.
        ("from_pod", "pod2", tcp("10.244.1.3:4001", "10.244.1.2:80", SYN), true),
        ("from_pod", "pod2", tcp("10.244.1.3:4001", "10.244.1.2:81", SYN), false),
        ("from_pod", "pod2", tcp("[fd00:1::3]:4001", "[fd00:1::2]:81", SYN), false),
        // To those who are open.
        ("from_uplink", "uplink", tcp("10.244.2.8:4000", "10.244.1.3:81", SYN), true),
    ];
    for (program, link, packet, wanted) in rows {
        let fate = lab.run(program, link, &packet);
        assert_eq!(passes(&fate), wanted, "{program} {fate:?} {}", crate::packet::tell(&packet));
    }
    assert!(lab.dropped(Reason::PolicyIngress) > 0 && lab.dropped(Reason::PolicyEgress) == 0);
}

#[test]
fn what_goes_out_is_judged_as_it_is_sent() {
    let Some(mut lab) = Lab::new("egress") else { return };
    lab.frontends(&[
        frontend(Tcp, "10.96.0.7:80", &["10.244.2.9:8080"]),
        frontend(Tcp, "10.96.0.8:80", &["10.244.2.8:8080"]),
        frontend(Tcp, "10.96.0.9:80", &["10.244.1.2:8080"]),
        frontend(Udp, "10.96.0.7:53", &[]),
    ]);
    lab.policies(&policies(false, true, &[(Egress, FRIENDS, Some((6, 8080, 16)))]));
    let drop = || Fate::Drop;
    let rows = vec![
        (
            tcp("10.244.1.2:4000", "10.244.2.9:8080", SYN),
            redirect("tcp 10.244.1.2:4000 > 10.244.2.9:8080 S hops 63"),
        ),
        (tcp("10.244.1.2:4000", "10.244.2.9:8081", SYN), drop()),
        (tcp("10.244.1.2:4000", "10.244.2.8:8080", SYN), drop()),
        (tcp("10.244.1.2:4000", "198.51.100.7:443", SYN), drop()),
        (
            tcp("10.244.1.2:4000", "10.244.1.3:8080", SYN),
            redirect("tcp 10.244.1.2:4000 > 10.244.1.3:8080 S hops 63"),
        ),
        (tcp("10.244.1.2:4000", "10.244.1.3:80", SYN), drop()),
        // A Service is its backend.
        (
            tcp("10.244.1.2:4001", "10.96.0.7:80", SYN),
            redirect("tcp 10.244.1.2:4001 > 10.244.2.9:8080 S hops 63"),
        ),
        (tcp("10.244.1.2:4001", "10.96.0.8:80", SYN), drop()),
        // Also where that is the pod itself; a refusal is nobody's.
        (
            with_hops(tcp("10.244.1.2:4002", "10.244.1.2:9999", SYN), 2),
            redirect("tcp 10.244.1.2:4002 > 10.244.1.2:9999 S hops 1"),
        ),
        // The node.
        (tcp("10.244.1.2:4000", "172.30.0.11:10250", SYN), pass("tcp 10.244.1.2:4000 > 172.30.0.11:10250 S")),
        // An address of the node that nobody has named: its loopback's.
        (udp("10.244.1.2:4000", "10.96.0.10:53", b"x"), pass("udp 10.244.1.2:4000 > 10.96.0.10:53")),
        // Nowhere.
        (tcp("[fd00:1::2]:4000", "[2001:db8::9]:80", SYN), pass("tcp [fd00:1::2]:4000 > [2001:db8::9]:80 S")),
        (
            tcp("[fd00:1::2]:4000", "[fd00:2::9]:8080", SYN),
            redirect("tcp [fd00:1::2]:4000 > [fd00:2::9]:8080 S hops 63"),
        ),
        (tcp("[fd00:1::2]:4000", "[fd00:2::8]:8080", SYN), drop()),
    ];
    crate::lab::ip("address add 10.96.0.10/32 dev lo");
    for (packet, fate) in rows {
        let text = crate::packet::tell(&packet);
        assert_eq!(lab.run("from_pod", "pod1", &packet), fate, "{text}");
    }
    assert!(
        passes(&lab.run("from_pod", "pod1", &tcp("10.244.1.2:4003", "10.96.0.9:80", SYN))),
        "itself by a Service"
    );
    assert!(passes(&lab.run("from_pod", "pod1", &udp("10.244.1.2:4003", "10.96.0.7:53", b"x"))), "refused");
    assert_eq!((lab.dropped(Reason::PolicyIngress), lab.dropped(Reason::PolicyEgress)), (0, 6));
    // What comes to it is not judged, and so are its answers.
    lab.run("from_uplink", "uplink", &tcp("10.244.2.8:5000", "10.244.1.2:9090", SYN));
    assert!(passes(&lab.run("from_pod", "pod1", &tcp("10.244.1.2:9090", "10.244.2.8:5000", SYN | ACK))));
}

#[test]
fn answers_pass_and_nothing_else_does() {
    let Some(mut lab) = Lab::new("answers") else { return };
    lab.frontends(&[frontend(Tcp, "10.96.0.7:80", &["10.244.2.9:8080"])]);
    lab.policies(&policies(
        true,
        true,
        &[(Egress, FRIENDS, Some((6, 8080, 16))), (Egress, FRIENDS, Some((17, 53, 16)))],
    ));
    let out = |lab: &mut Lab, packet: Vec<u8>| passes(&lab.run("from_pod", "pod1", &packet));
    let into = |lab: &mut Lab, packet: Vec<u8>| passes(&lab.run("from_uplink", "uplink", &packet));
    // Before it was asked for, an answer is a packet like others.
    assert!(!into(&mut lab, udp("10.244.2.9:53", "10.244.1.2:4000", b"early")));
    assert!(out(&mut lab, udp("10.244.1.2:4000", "10.244.2.9:53", b"question")));
    assert!(into(&mut lab, udp("10.244.2.9:53", "10.244.1.2:4000", b"answer")));
    assert!(!into(&mut lab, udp("10.244.2.9:53", "10.244.1.2:4001", b"another")));
    for round in 0..2 {
        assert!(out(&mut lab, tcp("10.244.1.2:4000", "10.244.2.9:8080", SYN)), "{round}");
        assert!(into(&mut lab, tcp("10.244.2.9:8080", "10.244.1.2:4000", SYN | ACK)));
        assert!(out(&mut lab, tcp("10.244.1.2:4000", "10.244.2.9:8080", ACK)));
        assert!(into(&mut lab, tcp_with("10.244.2.9:8080", "10.244.1.2:4000", ACK, b"data")));
        // Who answers may not begin, neither there nor elsewhere.
        assert!(!into(&mut lab, tcp("10.244.2.9:8080", "10.244.1.2:4000", SYN)));
        assert!(!into(&mut lab, tcp("10.244.2.9:8081", "10.244.1.2:4000", ACK)));
        assert!(into(&mut lab, tcp("10.244.2.9:8080", "10.244.1.2:4000", FIN | ACK)));
        assert!(out(&mut lab, tcp("10.244.1.2:4000", "10.244.2.9:8080", FIN | ACK)));
        assert!(into(&mut lab, tcp("10.244.2.9:8080", "10.244.1.2:4000", ACK)));
        assert!(out(&mut lab, tcp("10.244.1.2:4000", "10.244.2.9:8080", RST)));
    }
    // Through a Service, of which the policy knows nothing; through the stack.
    assert!(out(&mut lab, tcp("10.244.1.2:4005", "10.96.0.7:80", SYN)));
    let answer = tcp("10.244.2.9:8080", "10.244.1.2:4005", SYN | ACK);
    assert_eq!(
        lab.run("from_uplink", "uplink", &answer),
        redirect("tcp 10.96.0.7:80 > 10.244.1.2:4005 SA hops 63")
    );
}

#[test]
fn a_connection_from_before_was_begun_by_who_has_a_clients_port() {
    let Some(mut lab) = Lab::new("before") else { return };
    let out = |lab: &mut Lab, own: u16, other: u16| {
        let packet = tcp(&format!("10.244.1.2:{own}"), &format!("10.244.2.9:{other}"), ACK);
        passes(&lab.run("from_pod", "pod1", &packet))
    };
    lab.policies(&policies(true, true, &[FRIENDS_80]));
    assert!(out(&mut lab, 80, 40_000), "it answers");
    assert!(!out(&mut lab, 81, 40_000), "nobody may ask there");
    assert!(!out(&mut lab, 40_000, 80), "it may not ask");
    assert!(!out(&mut lab, 80, 4000), "nobody can tell");
    assert!(!passes(&lab.run("from_pod", "pod1", &tcp("10.244.1.2:80", "10.244.2.9:40001", SYN))));
    // What it may send does not keep alive what it may not be asked.
    lab.policies(&policies(true, false, &[]));
    assert!(!out(&mut lab, 80, 40_000));
    assert!(!out(&mut lab, 81, 40_000));
    assert!(out(&mut lab, 40_000, 443));
    assert!(passes(&lab.run("from_uplink", "uplink", &tcp("10.244.2.9:443", "10.244.1.2:40000", ACK))));
}

#[test]
fn what_is_allowed_no_more_stops() {
    let Some(mut lab) = Lab::new("revoked") else { return };
    lab.policies(&policies(true, true, &[FRIENDS_80]));
    let there = |flags| tcp("10.244.2.9:4000", "10.244.1.2:80", flags);
    let back = |flags| tcp("10.244.1.2:80", "10.244.2.9:4000", flags);
    assert!(passes(&lab.run("from_uplink", "uplink", &there(SYN))));
    assert!(passes(&lab.run("from_pod", "pod1", &back(SYN | ACK))));
    assert!(passes(&lab.run("from_uplink", "uplink", &there(ACK))));
    // Another change leaves it alone.
    lab.policies(&policies(true, true, &[FRIENDS_80, (Egress, BLOCK, None)]));
    assert!(passes(&lab.run("from_pod", "pod1", &back(ACK))));
    lab.policies(&policies(true, true, &[(Egress, BLOCK, None)]));
    assert!(!passes(&lab.run("from_pod", "pod1", &back(ACK))));
    assert!(!passes(&lab.run("from_uplink", "uplink", &there(ACK))));
    // Not even as something that the pod might have begun itself.
    lab.policies(&policies(true, false, &[]));
    assert!(!passes(&lab.run("from_pod", "pod1", &back(ACK))));
    assert!(!passes(&lab.run("from_uplink", "uplink", &there(ACK))));
    lab.policies(&policies(true, true, &[FRIENDS_80]));
    assert!(passes(&lab.run("from_uplink", "uplink", &there(ACK))));
    assert!(passes(&lab.run("from_pod", "pod1", &back(ACK))));
}

#[test]
fn without_ports_only_rules_without_ports_count() {
    let Some(mut lab) = Lab::new("portless") else { return };
    let ports = [(Ingress, Id::ANYONE, Some((6, 0, 0))), (Ingress, Id::ANYONE, Some((132, 7, 16)))];
    let rows = |all: bool| {
        vec![
            (echo("10.244.2.9", "10.244.1.2", 7, false), all),
            (echo("fd00:2::9", "fd00:1::2", 7, false), all),
            (bare("10.244.2.9", "10.244.1.2", 47), all),
            (sctp("10.244.2.9:1", "10.244.1.2:7", "INIT"), true),
            (sctp("10.244.2.9:1", "10.244.1.2:8", "INIT"), all),
            (sctp("[fd00:2::9]:1", "[fd00:1::2]:7", "INIT"), true),
        ]
    };
    for all in [false, true] {
        let mut lets = ports.to_vec();
        lets.extend(all.then_some((Ingress, FRIENDS, None)));
        lab.policies(&policies(true, true, &lets));
        for (packet, wanted) in rows(all) {
            let verdict = lab.bytes("from_uplink", "uplink", &packet).0;
            assert_eq!(verdict != 2, wanted, "{all} {packet:?}");
        }
    }
    assert!(passes(&lab.run("from_pod", "pod1", &echo("10.244.1.2", "10.244.2.9", 7, true))), "its answer");
    assert!(!passes(&lab.run("from_pod", "pod1", &echo("10.244.1.2", "10.244.2.9", 8, true))), "another's");
}

#[test]
fn errors_go_with_what_they_are_about() {
    let Some(mut lab) = Lab::new("errors") else { return };
    lab.frontends(&[frontend(Udp, "10.96.0.7:53", &["10.244.2.9:5353"])]);
    lab.policies(&policies(true, true, &[(Egress, FRIENDS, Some((17, 5353, 16)))]));
    let question = udp("10.244.1.2:4000", "10.244.2.9:5353", b"question");
    let by_service = udp("10.244.1.2:4001", "10.96.0.7:53", b"question");
    let six = udp("[fd00:1::2]:4000", "[fd00:2::9]:5353", b"question");
    assert!(!passes(&lab.run(
        "from_uplink",
        "uplink",
        &icmp_error("172.30.0.12", "10.244.1.2", [3, 4], &question)
    )));
    for packet in [&question, &by_service, &six] {
        assert!(passes(&lab.run("from_pod", "pod1", packet)));
    }
    let sent = udp("10.244.1.2:4001", "10.244.2.9:5353", b"question");
    let rows = [
        (icmp_error("172.30.0.12", "10.244.1.2", [3, 4], &question), true),
        (icmp_error("10.244.2.9", "10.244.1.2", [3, 3], &question), true),
        (icmp_error("10.244.2.9", "10.244.1.2", [3, 3], &sent), true),
        (
            icmp_error(
                "10.244.2.9",
                "10.244.1.2",
                [3, 3],
                &udp("10.244.1.2:4009", "10.244.2.9:5353", b"none"),
            ),
            false,
        ),
        (icmp_error("10.244.2.9", "10.244.1.2", [5, 1], &question), false),
        (icmp6_error("fd00:30::12", "fd00:1::2", [2, 0], &six), true),
        (
            icmp6_error(
                "fd00:30::12",
                "fd00:1::2",
                [1, 4],
                &udp("[fd00:1::2]:4009", "[fd00:2::9]:5353", b"no"),
            ),
            false,
        ),
    ];
    for (packet, wanted) in rows {
        let verdict = lab.bytes("from_uplink", "uplink", &packet).0;
        assert_eq!(verdict != 2, wanted, "{packet:?}");
    }
    // The policed pod's own, about what it was sent.
    lab.policies(&policies(true, true, &[(Ingress, FRIENDS, Some((17, 7, 16)))]));
    let sent = udp("10.244.2.9:4000", "10.244.1.2:7", b"x");
    let error = icmp_error("10.244.1.2", "10.244.2.9", [3, 3], &sent);
    assert!(!passes(&lab.run("from_pod", "pod1", &error)));
    assert!(passes(&lab.run("from_uplink", "uplink", &sent)));
    assert!(passes(&lab.run("from_pod", "pod1", &error)));
}

#[test]
fn fragments_follow_the_first() {
    let Some(mut lab) = Lab::new("policy-fragments") else { return };
    lab.policies(&policies(true, true, &[(Ingress, FRIENDS, Some((17, 7, 16)))]));
    let data = [7; 64];
    let verdict = |lab: &mut Lab, packet: &[u8]| lab.bytes("from_uplink", "uplink", packet).0;
    for (friend, pod) in [("10.244.2.9:4000", "10.244.1.2"), ("[fd00:2::9]:4000", "[fd00:1::2]")] {
        let [first, later] = fragments(&udp(friend, &format!("{pod}:7"), &data), 32, 1);
        // Alone it says nothing of ports.
        assert_eq!(verdict(&mut lab, &later), 2);
        assert_ne!(verdict(&mut lab, &first), 2);
        assert_ne!(verdict(&mut lab, &later), 2);
        let [first, later] = fragments(&udp(friend, &format!("{pod}:8"), &data), 32, 2);
        assert_eq!((verdict(&mut lab, &first), verdict(&mut lab, &later)), (2, 2));
    }
}

#[test]
fn a_pod_that_is_not_known_speaks_with_its_node_alone() {
    let Some(mut lab) = Lab::new("unknown") else { return };
    let nobody = Changes { endpoints: Vec::new(), ..policies(true, true, &[(Ingress, Id::ANYONE, None)]) };
    lab.policies(&nobody);
    assert!(!passes(&lab.run("from_pod", "pod1", &tcp("10.244.1.2:4000", "10.244.2.9:80", SYN))));
    assert!(!passes(&lab.run("from_uplink", "uplink", &tcp("10.244.2.9:4000", "10.244.1.2:80", SYN))));
    assert!(passes(&lab.run("from_pod", "pod1", &tcp("10.244.1.2:4000", "172.30.0.11:80", SYN))));
    // What the node itself sends came in by no link.
    assert!(passes(&lab.run("to_pod", "pod1", &tcp("172.30.0.11:4000", "10.244.1.2:80", SYN))));
    assert!(passes(&lab.run("to_pod", "pod1", &tcp("192.0.2.77:4000", "10.244.1.2:80", SYN))));
}

#[test]
fn addresses_are_not_borrowed_where_there_are_policies() {
    let Some(mut lab) = Lab::new("borrowed") else { return };
    lab.policies(&policies(true, false, &[(Ingress, Id::ANYONE, None)]));
    let borrowed = tcp("10.244.1.3:4000", "10.244.2.9:80", SYN);
    assert!(passes(&lab.run("from_pod", "pod1", &borrowed)));
    lab.dataplane.packets().unwrap().require_own_sources(true).unwrap();
    assert!(!passes(&lab.run("from_pod", "pod1", &borrowed)));
    // Who has no address yet, and who speaks with its neighbour.
    let neighbour = icmp6_error("fe80::1", "ff02::1", [135, 0], &udp("[fe80::1]:1", "[fe80::2]:1", b"x"));
    assert!(passes(&lab.run("from_pod", "pod1", &udp("0.0.0.0:68", "255.255.255.255:67", b"x"))));
    assert_eq!(lab.bytes("from_pod", "pod1", &neighbour).0, -1);
    // Nobody outside has an address of this node.
    for own in ["172.30.0.11:4000", "10.244.1.3:4000"] {
        assert!(!passes(&lab.run("from_uplink", "uplink", &tcp(own, "10.244.1.2:80", SYN))), "{own}");
    }
    assert_eq!(lab.dropped(Reason::ForeignSource), 3);
}

#[test]
fn clients_from_outside_are_judged_by_their_address() {
    let Some(mut lab) = Lab::new("policy-outside") else { return };
    lab.external(&[external(Tcp, "172.30.0.11:30080", &["10.244.1.2:8080"])]);
    lab.policies(&policies(true, false, &[(Ingress, BLOCK, Some((6, 8080, 16)))]));
    let ask = |client: &str| tcp(client, "172.30.0.11:30080", SYN);
    assert_eq!(
        lab.run("from_uplink", "uplink", &ask("192.0.2.1:4000")),
        redirect("tcp 192.0.2.1:4000 > 10.244.1.2:8080 S hops 63")
    );
    assert_eq!(lab.run("from_uplink", "uplink", &ask("198.51.100.1:4000")), Fate::Drop);
}

#[test]
fn a_newer_daemon_takes_over_what_applies() {
    let Some(mut lab) = Lab::new("policy-adopted") else { return };
    lab.policies(&policies(true, false, &[FRIENDS_80]));
    let (friend, stranger) =
        (tcp("10.244.2.9:4000", "10.244.1.2:80", SYN), tcp("10.244.2.8:4000", "10.244.1.2:80", SYN));
    lab.reopen();
    // Not known yet: as it was.
    assert!(passes(&lab.run("from_uplink", "uplink", &friend)));
    assert!(!passes(&lab.run("from_uplink", "uplink", &stranger)));
    assert!(
        passes(&lab.run("from_uplink", "uplink", &tcp("10.244.2.8:4000", "10.244.1.3:80", SYN))),
        "an open one"
    );
    lab.policies(&policies(true, false, &[(Ingress, Id::ANYONE, None)]));
    assert!(passes(&lab.run("from_uplink", "uplink", &stranger)));
}

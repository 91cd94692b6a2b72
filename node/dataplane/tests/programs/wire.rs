//! The program on the uplink's wire.

use keelson_dataplane::plan::{
    ExternalFrontend, Forwarding,
    Protocol::{self, Tcp, Udp},
};
use keelson_ebpf_common::wire::Verdict;

use crate::{
    altered::{dividable, fragments, marked, with_hops},
    lab::{Fate, Lab, external, pass, redirect},
    packet::{ACK, FIN, SYN, echo, tcp, tcp_with, tell, udp, udp_unsummed},
};

const SERVICE: &str = "203.0.113.5:80";
const CLIENT: &str = "198.51.100.7:5000";
const REMOTE: [&str; 3] = ["10.244.2.7:8080", "10.244.2.8:8080", "10.244.2.9:8080"];

fn direct(protocol: Protocol, service: &str, backends: &[&str]) -> ExternalFrontend {
    ExternalFrontend { forwarding: Some(Forwarding::Dsr), ..external(protocol, service, backends) }
}

/// The backend to which the wire sends a packet.
fn sent_to(lab: &mut Lab, packet: &[u8]) -> String {
    let Fate::Redirect(text) = lab.wire(packet) else { panic!("not sent: {}", tell(packet)) };
    text.split(' ').nth(3).unwrap().to_owned()
}

fn client(n: u16) -> String {
    format!("198.51.100.{}:{}", 1 + n % 200, 1_000 + n)
}

#[test]
fn a_connections_first_packet_says_which_service_it_is_for() {
    let Some(mut lab) = Lab::new("wire-tcp") else { return };
    lab.external(&[direct(Tcp, SERVICE, &REMOTE[..1])]);
    let first = redirect(&format!("tcp {CLIENT} > {} S for {SERVICE} hops 63", REMOTE[0]));
    assert_eq!(lab.wire(&tcp(CLIENT, SERVICE, SYN)), first);
    for data in [&b""[..], b"odd", b"even"] {
        let next = redirect(&format!("tcp {CLIENT} > {} A hops 63", REMOTE[0]));
        assert_eq!(lab.wire(&tcp_with(CLIENT, SERVICE, ACK, data)), next);
    }
    assert_eq!((lab.verdicts(Verdict::Chosen), lab.verdicts(Verdict::Known)), (1, 3));
    // Who began elsewhere goes where the table leads.
    let stranger = redirect(&format!("tcp 198.51.100.8:1 > {} A hops 63", REMOTE[0]));
    assert_eq!(lab.wire(&tcp("198.51.100.8:1", SERVICE, ACK)), stranger);
    assert_eq!(lab.verdicts(Verdict::Chosen), 2);
}

#[test]
fn every_datagram_says_which_service_it_is_for() {
    let Some(mut lab) = Lab::new("wire-udp") else { return };
    lab.external(&[direct(Udp, "203.0.113.5:53", &["10.244.2.9:5353"])]);
    let sent = redirect(&format!("udp {CLIENT} > 10.244.2.9:5353 for 203.0.113.5:53 hops 63"));
    for _ in 0..2 {
        assert_eq!(lab.wire(&udp(CLIENT, "203.0.113.5:53", b"question")), sent);
        assert_eq!(lab.wire(&udp_unsummed(CLIENT, "203.0.113.5:53", b"question")), sent);
    }
}

#[test]
fn what_it_does_not_understand_or_cannot_decide_is_left_alone() {
    let Some(mut lab) = Lab::new("wire-left") else { return };
    let mut ranged = direct(Tcp, "203.0.113.5:81", &REMOTE);
    ranged.source_ranges = vec!["198.51.100.0/25".parse().unwrap()];
    lab.external(&[
        direct(Tcp, SERVICE, &REMOTE),
        direct(Udp, "203.0.113.5:53", &REMOTE),
        ranged,
        external(Tcp, "203.0.113.5:83", &REMOTE),
        direct(Tcp, "203.0.113.5:84", &[]),
        direct(Tcp, "203.0.113.5:85", &["192.0.2.1:80"]),
        direct(Tcp, "203.0.113.5:86", &["10.244.3.2:80"]),
    ]);
    let to = |port: u16| format!("203.0.113.5:{port}");
    let [first, later] = fragments(&udp(CLIENT, "203.0.113.5:53", &[7; 64]), 24, 9);
    for (packet, why) in [
        (tcp(CLIENT, "203.0.113.5:8080", SYN), "no Service"),
        (echo("198.51.100.7", "203.0.113.5", 9, false), "ICMP"),
        (first, "a fragment"),
        (later, "a later fragment"),
        (marked(&tcp(CLIENT, SERVICE, SYN), SERVICE), "options"),
        (with_hops(tcp(CLIENT, SERVICE, SYN), 1), "its last hop"),
        (tcp("198.51.100.129:5000", &to(81), SYN), "a client out of range"),
        (tcp(CLIENT, &to(83), SYN), "the node's address as its source"),
        (tcp(CLIENT, &to(84), SYN), "no backend"),
        (tcp(CLIENT, &to(85), SYN), "a backend outside of the cluster"),
        (tcp(CLIENT, &to(86), SYN), "a neighbour that nobody knows yet"),
        (tcp(CLIENT, SERVICE, SYN)[..40].to_vec(), "cut short"),
    ] {
        let ran = lab.dataplane.packets().unwrap().run_on_wire("wire", &packet).unwrap().unwrap();
        assert_eq!((ran.verdict, ran.packet), (2, packet), "{why}");
    }
    assert!(matches!(lab.wire(&tcp(CLIENT, &to(81), SYN)), Fate::Redirect(_)), "a client in range");
    // In the midst of a connection there is nobody who could make it another's.
    lab.external(&[direct(Tcp, SERVICE, &["10.244.3.2:80"])]);
    assert_eq!(lab.wire(&tcp(CLIENT, SERVICE, ACK)), Fate::Drop);
    assert_eq!(lab.verdicts(Verdict::NoHop), 1);
}

#[test]
fn a_backend_of_this_node_is_left_to_tc_for_as_long_as_the_connection_lasts() {
    let Some(mut lab) = Lab::new("wire-local") else { return };
    lab.external(&[direct(Tcp, SERVICE, &["10.244.1.3:8080"])]);
    let (first, next) = (tcp(CLIENT, SERVICE, SYN), tcp(CLIENT, SERVICE, ACK));
    assert_eq!(lab.wire(&first), pass(&tell(&first)));
    let there = redirect(&format!("tcp {CLIENT} > 10.244.1.3:8080 S hops 63"));
    assert_eq!(lab.run("from_uplink", "uplink", &first), there);
    lab.external(&[direct(Tcp, SERVICE, &REMOTE)]);
    assert_eq!(lab.wire(&next), pass(&tell(&next)), "it is not sent elsewhere");
    let there = redirect(&format!("tcp {CLIENT} > 10.244.1.3:8080 A hops 63"));
    assert_eq!(lab.run("from_uplink", "uplink", &next), there);
    assert_eq!(lab.verdicts(Verdict::Local), 2);
}

#[test]
fn a_connection_that_tc_translates_stays_with_it() {
    let Some(mut lab) = Lab::new("wire-tc") else { return };
    lab.external(&[external(Tcp, SERVICE, &REMOTE)]);
    lab.bytes("from_uplink", "uplink", &tcp(CLIENT, SERVICE, SYN));
    lab.external(&[direct(Tcp, SERVICE, &REMOTE)]);
    let next = tcp(CLIENT, SERVICE, ACK);
    assert_eq!(lab.wire(&next), pass(&tell(&next)));
    assert!(matches!(lab.wire(&tcp("198.51.100.8:1", SERVICE, ACK)), Fate::Redirect(_)));
}

#[test]
fn both_programs_send_a_flow_to_the_same_backend() {
    let Some(mut lab) = Lab::new("wire-agree") else { return };
    lab.external(&[direct(Tcp, SERVICE, &REMOTE)]);
    let mut seen = std::collections::BTreeSet::new();
    for n in 0..60 {
        let packet = tcp(&client(n), SERVICE, SYN);
        let Fate::Redirect(at_tc) = lab.run("from_uplink", "uplink", &packet) else { panic!("not sent") };
        let backend = sent_to(&mut lab, &packet);
        assert_eq!(at_tc.split(' ').nth(3).unwrap(), backend);
        seen.insert(backend);
    }
    assert_eq!(seen.len(), 3, "all backends have their share");
}

#[test]
fn connections_stay_at_their_backend_when_others_come_and_when_it_goes() {
    let Some(mut lab) = Lab::new("wire-stay") else { return };
    lab.external(&[direct(Tcp, SERVICE, &REMOTE)]);
    let backends: Vec<_> = (0..300).map(|n| sent_to(&mut lab, &tcp(&client(n), SERVICE, SYN))).collect();
    let kept = |lab: &mut Lab| {
        let mut stay =
            |(n, backend): (u16, &String)| sent_to(lab, &tcp(&client(n), SERVICE, ACK)) == *backend;
        (0..).zip(&backends).filter(|row| stay(*row)).count()
    };
    assert_eq!(kept(&mut lab), 300);
    lab.external(&[direct(Tcp, SERVICE, &["10.244.2.20:8080", "10.244.2.21:8080"])]);
    assert_eq!(kept(&mut lab), 300, "whether they are the Service's or not: they may be draining");
    let new = sent_to(&mut lab, &tcp(&client(0), SERVICE, SYN));
    assert!(new.starts_with("10.244.2.2"), "a new connection from an old port: {new}");
    lab.external(&[direct(Tcp, SERVICE, &[])]);
    assert_eq!(kept(&mut lab), 299, "also without any backend for new ones");
}

#[test]
fn a_later_daemon_knows_them_whatever_size_the_node_has_chosen() {
    let Some(mut lab) = Lab::with("wire-size", |options| options.wire.as_mut().unwrap().known_lines = 64)
    else {
        return;
    };
    lab.external(&[direct(Tcp, SERVICE, &REMOTE[..1])]);
    assert_eq!(sent_to(&mut lab, &tcp(CLIENT, SERVICE, SYN)), REMOTE[0]);
    lab.reopen();
    lab.external(&[direct(Tcp, SERVICE, &["10.244.2.20:8080"])]);
    assert_eq!(sent_to(&mut lab, &tcp(CLIENT, SERVICE, ACK)), REMOTE[0]);
}

#[test]
fn a_flood_displaces_no_connection_in_use_and_one_that_is_over_makes_room() {
    // Two lines: room for six.
    let Some(mut lab) = Lab::with("wire-flood", |options| options.wire.as_mut().unwrap().known_lines = 2)
    else {
        return;
    };
    lab.external(&[direct(Tcp, SERVICE, &REMOTE)]);
    let used: Vec<_> = (0..6).map(|n| sent_to(&mut lab, &tcp(&client(n), SERVICE, SYN))).collect();
    (0..6).for_each(|n| assert_eq!(sent_to(&mut lab, &tcp(&client(n), SERVICE, ACK)), used[usize::from(n)]));
    (100..400).for_each(|n| drop(sent_to(&mut lab, &tcp(&client(n), SERVICE, SYN))));
    assert_eq!(lab.verdicts(Verdict::Unwritten), 300);
    lab.external(&[direct(Tcp, SERVICE, &["10.244.2.20:8080"])]);
    let ask = |lab: &mut Lab, n: u16, flags| sent_to(lab, &tcp(&client(n), SERVICE, flags));
    (0..6).for_each(|n| assert_eq!(ask(&mut lab, n, ACK), used[usize::from(n)]));
    assert_eq!(ask(&mut lab, 100, ACK), "10.244.2.20:8080", "without a way: where the table leads");
    assert_eq!(ask(&mut lab, 3, FIN | ACK), used[3]);
    assert_eq!(ask(&mut lab, 3, ACK), used[3], "until somebody needs the way");
    assert_eq!(ask(&mut lab, 500, SYN), "10.244.2.20:8080");
    assert_eq!(lab.verdicts(Verdict::Unwritten), 300);
    assert_eq!(ask(&mut lab, 3, ACK), "10.244.2.20:8080");
    // What has never been used again goes for the next.
    lab.external(&[direct(Tcp, SERVICE, &["10.244.2.21:8080"])]);
    assert_eq!(ask(&mut lab, 501, SYN), "10.244.2.21:8080");
    assert_eq!(ask(&mut lab, 500, ACK), "10.244.2.21:8080");
}

#[test]
fn what_is_too_long_for_the_way_to_the_backend_is_answered_so() {
    let Some(mut lab) = Lab::new("wire-mtu") else { return };
    lab.external(&[direct(Udp, "203.0.113.5:53", &["10.244.2.9:53"]), direct(Tcp, SERVICE, &REMOTE[..1])]);
    let longest = udp(CLIENT, "203.0.113.5:53", &[7; 1_492 - 28]);
    assert!(matches!(lab.wire(&longest), Fate::Redirect(_)));
    let longer = udp(CLIENT, "203.0.113.5:53", &[7; 1_493 - 28]);
    let answer = |lab: &mut Lab, packet: &[u8]| {
        let ran = lab.dataplane.packets().unwrap().run_on_wire("wire", packet).unwrap().unwrap();
        let mtu = u16::from_be_bytes([ran.packet[40], ran.packet[41]]);
        assert_eq!((&ran.packet[..6], &ran.packet[6..12]), (&packet[6..12], &packet[..6]));
        (ran.verdict, tell(&ran.packet), mtu)
    };
    let told = |about: &str| format!("error 3.4 203.0.113.5 > 198.51.100.7 about [{about}]");
    let about = told(&format!("udp {CLIENT} > 203.0.113.5:53"));
    assert_eq!(answer(&mut lab, &longer), (3, about, 1_492));
    let divided = dividable(longer);
    assert_eq!(lab.wire(&divided), pass(&tell(&divided)), "tc may divide it");
    // In the midst of a connection nothing is added.
    assert!(matches!(lab.wire(&tcp_with(CLIENT, SERVICE, ACK, &[7; 1_460])), Fate::Redirect(_)));
    crate::lab::ip("link set uplink mtu 1400");
    crate::lab::ip("route change 10.244.2.0/24 via 172.30.0.12 mtu 1400");
    let short = tcp_with("198.51.100.9:1", "203.0.113.5:80", ACK, &[7; 1_460]);
    lab.external(&[direct(Tcp, SERVICE, &["10.244.2.77:8080"])]);
    let about = "error 3.4 203.0.113.5 > 198.51.100.9 about [tcp 198.51.100.9:1 > 203.0.113.5:80]";
    assert_eq!(answer(&mut lab, &short), (3, about.into(), 1_400));
    assert_eq!(lab.verdicts(Verdict::TooLong), 2);
}

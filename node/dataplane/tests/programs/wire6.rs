//! The program on the uplink's wire, where backends' nodes answer clients of IPv6 themselves.

use keelson_dataplane::plan::{
    ExternalFrontend, Forwarding,
    Protocol::{self, Tcp, Udp},
};
use keelson_ebpf_common::wire::Verdict;

use crate::{
    altered::{DESTINATION, extended, fragments, marked, with_hops},
    lab::{Fate, Lab, NODE, external, ip, pass, redirect},
    packet::{ACK, FIN, SYN, echo, tcp, tcp_with, tell, udp},
};

const SERVICE: &str = "[fd00:99::5]:80";
const NAMES: &str = "[fd00:99::5]:53";
const CLIENT: &str = "[2001:db8:7::7]:5000";
const REMOTE: [&str; 3] = ["[fd00:2::7]:8080", "[fd00:2::8]:8080", "[fd00:2::9]:8080"];
const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];

fn direct(protocol: Protocol, service: &str, backends: &[&str]) -> ExternalFrontend {
    ExternalFrontend { forwarding: Some(Forwarding::Dsr), ..external(protocol, service, backends) }
}

fn client(n: u16) -> String {
    format!("[2001:db8:7::{:x}]:{}", 1 + n % 200, 1_000 + n)
}

/// The backend to which the wire sends a packet.
fn sent_to(lab: &mut Lab, packet: &[u8]) -> String {
    let Fate::Redirect(text) = lab.wire(packet) else { panic!("not sent: {}", tell(packet)) };
    text.split(' ').nth(3).unwrap().to_owned()
}

#[test]
fn a_connections_first_packet_says_which_service_it_is_for() {
    let Some(mut lab) = Lab::new("wire6-tcp") else { return };
    lab.external(&[direct(Tcp, SERVICE, &REMOTE[..1])]);
    let first = redirect(&format!("tcp {CLIENT} > {} S for {SERVICE} hops 63", REMOTE[0]));
    for _ in 0..2 {
        assert_eq!(lab.wire(&tcp(CLIENT, SERVICE, SYN)), first);
    }
    for data in [&b""[..], b"odd", b"even"] {
        let next = redirect(&format!("tcp {CLIENT} > {} A hops 63", REMOTE[0]));
        assert_eq!(lab.wire(&tcp_with(CLIENT, SERVICE, ACK, data)), next);
    }
    assert_eq!((lab.verdicts(Verdict::Chosen), lab.verdicts(Verdict::Known)), (2, 3));
    // Who began elsewhere goes where the table leads.
    let stranger = redirect(&format!("tcp [2001:db8:7::8]:1 > {} A hops 63", REMOTE[0]));
    assert_eq!(lab.wire(&tcp("[2001:db8:7::8]:1", SERVICE, ACK)), stranger);
    assert_eq!(lab.verdicts(Verdict::Chosen), 3);
}

#[test]
fn every_datagram_says_which_service_it_is_for() {
    let Some(mut lab) = Lab::new("wire6-udp") else { return };
    lab.external(&[direct(Udp, NAMES, &["[fd00:2::9]:5353"])]);
    let sent = redirect(&format!("udp {CLIENT} > [fd00:2::9]:5353 for {NAMES} hops 63"));
    for _ in 0..2 {
        assert_eq!(lab.wire(&udp(CLIENT, NAMES, b"question")), sent);
    }
    assert_eq!(lab.verdicts(Verdict::Chosen), 2);
}

#[test]
fn what_one_node_writes_the_other_reads() {
    let Some(mut lab) = Lab::new("wire6-both") else { return };
    // As if this node's pod were another's: what comes out of the wire is what its node gets.
    lab.external(&[direct(Tcp, SERVICE, &REMOTE[..1])]);
    let ran = lab.dataplane.packets().unwrap().run_on_wire("wire", &tcp(CLIENT, SERVICE, SYN));
    let mut sent = ran.unwrap().unwrap().packet;
    assert_eq!(
        sent,
        [&sent[..14], &with_hops(marked(&tcp(CLIENT, REMOTE[0], SYN), SERVICE), 63)[14..]].concat()
    );
    sent = with_hops(marked(&tcp(CLIENT, "[fd00:1::3]:8080", SYN), SERVICE), 63);
    let there = redirect(&format!("tcp {CLIENT} > [fd00:1::3]:8080 S hops 62"));
    assert_eq!(lab.run("from_uplink", "uplink", &sent), there);
}

#[test]
fn what_it_does_not_understand_or_cannot_decide_is_left_alone() {
    let Some(mut lab) = Lab::new("wire6-left") else { return };
    let to = |port: u16| format!("[fd00:99::5]:{port}");
    let mut ranged = direct(Tcp, &to(81), &REMOTE);
    ranged.source_ranges = vec!["2001:db8:7::/112".parse().unwrap()];
    let mut local_only = direct(Tcp, &to(87), &REMOTE);
    local_only.local_backends_only = true;
    lab.external(&[
        direct(Tcp, SERVICE, &REMOTE),
        direct(Udp, NAMES, &REMOTE),
        ranged,
        local_only,
        external(Tcp, &to(83), &REMOTE),
        direct(Tcp, &to(84), &[]),
        direct(Tcp, &to(85), &["[2001:db8:9::1]:80"]),
        direct(Tcp, &to(86), &["[fd00:3::2]:80"]),
    ]);
    let [first, later] = fragments(&udp(CLIENT, NAMES, &[7; 64]), 24, 9);
    for (packet, why) in [
        (tcp(CLIENT, &to(8080), SYN), "no Service"),
        (echo("2001:db8:7::7", "fd00:99::5", 9, false), "ICMP"),
        (first, "a fragment"),
        (later, "a later fragment"),
        (marked(&tcp(CLIENT, SERVICE, SYN), SERVICE), "our own option"),
        (extended(&tcp(CLIENT, SERVICE, SYN), DESTINATION, &PADDING), "an extension header"),
        (with_hops(tcp(CLIENT, SERVICE, SYN), 1), "its last hop"),
        (tcp("[2001:db8:7::1:7]:5000", &to(81), SYN), "a client out of range"),
        (tcp(CLIENT, &to(83), SYN), "the node's address as its source"),
        (tcp(CLIENT, &to(84), SYN), "no backend"),
        (tcp(CLIENT, &to(85), SYN), "a backend outside of the cluster"),
        (tcp(CLIENT, &to(86), SYN), "a neighbour that nobody knows yet"),
        (tcp(CLIENT, &to(87), SYN), "backends of this node alone"),
        (tcp(CLIENT, SERVICE, SYN)[..60].to_vec(), "cut short"),
    ] {
        let ran = lab.dataplane.packets().unwrap().run_on_wire("wire", &packet).unwrap().unwrap();
        assert_eq!((ran.verdict, ran.packet), (2, packet), "{why}");
    }
    assert!(matches!(lab.wire(&tcp(CLIENT, &to(81), SYN)), Fate::Redirect(_)), "a client in range");
    // In the midst of a connection there is nobody who could make it another's.
    lab.external(&[direct(Tcp, SERVICE, &["[fd00:3::2]:80"])]);
    assert_eq!(lab.wire(&tcp(CLIENT, SERVICE, ACK)), Fate::Drop);
    assert_eq!(lab.verdicts(Verdict::NoHop), 1);
}

#[test]
fn a_node_without_an_address_of_ipv6_leaves_all_of_it_alone() {
    let alone = |options: &mut keelson_dataplane::PacketOptions| {
        options.node_addresses = vec![NODE.parse().unwrap()];
    };
    let Some(mut lab) = Lab::with("wire6-none", alone) else { return };
    lab.external(&[direct(Tcp, SERVICE, &REMOTE)]);
    let first = tcp(CLIENT, SERVICE, SYN);
    assert_eq!(lab.wire(&first), pass(&tell(&first)));
    let bytes = lab.dataplane.status().unwrap().memory_bytes;
    let known = bytes.iter().find(|(name, _)| *name == "KNOWN6").unwrap().1;
    assert!(known < 16_384, "{known} bytes for a table that nobody uses");
}

#[test]
fn a_backend_of_this_node_is_left_to_tc_for_as_long_as_the_connection_lasts() {
    let Some(mut lab) = Lab::new("wire6-local") else { return };
    lab.external(&[direct(Tcp, SERVICE, &["[fd00:1::3]:8080"])]);
    let (first, next) = (tcp(CLIENT, SERVICE, SYN), tcp(CLIENT, SERVICE, ACK));
    for (packet, flags) in [(&first, "S"), (&next, "A")] {
        assert_eq!(lab.wire(packet), pass(&tell(packet)), "it is not sent elsewhere");
        let there = redirect(&format!("tcp {CLIENT} > [fd00:1::3]:8080 {flags} hops 63"));
        assert_eq!(lab.run("from_uplink", "uplink", packet), there);
        lab.external(&[direct(Tcp, SERVICE, &REMOTE)]);
    }
    assert_eq!(lab.verdicts(Verdict::Local), 2);
}

#[test]
fn a_connection_that_tc_translates_stays_with_it() {
    let Some(mut lab) = Lab::new("wire6-tc") else { return };
    lab.external(&[external(Tcp, SERVICE, &REMOTE)]);
    lab.bytes("from_uplink", "uplink", &tcp(CLIENT, SERVICE, SYN));
    lab.external(&[direct(Tcp, SERVICE, &REMOTE)]);
    let next = tcp(CLIENT, SERVICE, ACK);
    assert_eq!(lab.wire(&next), pass(&tell(&next)));
    assert!(matches!(lab.wire(&tcp("[2001:db8:7::8]:1", SERVICE, ACK)), Fate::Redirect(_)));
}

#[test]
fn both_programs_send_a_flow_to_the_same_backend() {
    let Some(mut lab) = Lab::new("wire6-agree") else { return };
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
    let Some(mut lab) = Lab::new("wire6-stay") else { return };
    lab.external(&[direct(Tcp, SERVICE, &REMOTE)]);
    let backends: Vec<_> = (0..300).map(|n| sent_to(&mut lab, &tcp(&client(n), SERVICE, SYN))).collect();
    let kept = |lab: &mut Lab| {
        let mut stay =
            |(n, backend): (u16, &String)| sent_to(lab, &tcp(&client(n), SERVICE, ACK)) == *backend;
        (0..).zip(&backends).filter(|row| stay(*row)).count()
    };
    assert_eq!(kept(&mut lab), 300);
    lab.external(&[direct(Tcp, SERVICE, &["[fd00:2::20]:8080", "[fd00:2::21]:8080"])]);
    assert_eq!(kept(&mut lab), 300, "whether they are the Service's or not: they may be draining");
    lab.reopen();
    lab.external(&[direct(Tcp, SERVICE, &["[fd00:2::20]:8080", "[fd00:2::21]:8080"])]);
    assert_eq!(kept(&mut lab), 300, "another daemon takes over");
    let new = sent_to(&mut lab, &tcp(&client(0), SERVICE, SYN));
    assert!(new.starts_with("[fd00:2::2"), "a new connection from an old port: {new}");
    lab.external(&[direct(Tcp, SERVICE, &[])]);
    assert_eq!(kept(&mut lab), 299, "also without any backend for new ones");
}

#[test]
fn a_later_daemon_knows_them_whatever_size_the_node_has_chosen() {
    let Some(mut lab) = Lab::with("wire6-size", |options| options.wire.as_mut().unwrap().known_lines = 64)
    else {
        return;
    };
    lab.external(&[direct(Tcp, SERVICE, &REMOTE[..1])]);
    assert_eq!(sent_to(&mut lab, &tcp(CLIENT, SERVICE, SYN)), REMOTE[0]);
    lab.reopen();
    lab.external(&[direct(Tcp, SERVICE, &["[fd00:2::20]:8080"])]);
    assert_eq!(sent_to(&mut lab, &tcp(CLIENT, SERVICE, ACK)), REMOTE[0]);
}

#[test]
fn a_flood_displaces_no_connection_in_use_and_one_that_is_over_makes_room() {
    // Four lines: room for four.
    let Some(mut lab) = Lab::with("wire6-flood", |options| options.wire.as_mut().unwrap().known_lines = 2)
    else {
        return;
    };
    lab.external(&[direct(Tcp, SERVICE, &REMOTE)]);
    let used: Vec<_> = (0..4).map(|n| sent_to(&mut lab, &tcp(&client(n), SERVICE, SYN))).collect();
    (0..4).for_each(|n| assert_eq!(sent_to(&mut lab, &tcp(&client(n), SERVICE, ACK)), used[usize::from(n)]));
    (100..400).for_each(|n| drop(sent_to(&mut lab, &tcp(&client(n), SERVICE, SYN))));
    assert_eq!(lab.verdicts(Verdict::Unwritten), 300);
    lab.external(&[direct(Tcp, SERVICE, &["[fd00:2::20]:8080"])]);
    let ask = |lab: &mut Lab, n: u16, flags| sent_to(lab, &tcp(&client(n), SERVICE, flags));
    (0..4).for_each(|n| assert_eq!(ask(&mut lab, n, ACK), used[usize::from(n)]));
    assert_eq!(ask(&mut lab, 100, ACK), "[fd00:2::20]:8080", "without a way: where the table leads");
    assert_eq!(ask(&mut lab, 3, FIN | ACK), used[3]);
    assert_eq!(ask(&mut lab, 3, ACK), used[3], "until somebody needs the way");
    assert_eq!(ask(&mut lab, 500, SYN), "[fd00:2::20]:8080");
    assert_eq!(lab.verdicts(Verdict::Unwritten), 300);
    assert_eq!(ask(&mut lab, 3, ACK), "[fd00:2::20]:8080");
    // What has never been used again goes for the next.
    lab.external(&[direct(Tcp, SERVICE, &["[fd00:2::21]:8080"])]);
    assert_eq!(ask(&mut lab, 501, SYN), "[fd00:2::21]:8080");
    assert_eq!(ask(&mut lab, 500, ACK), "[fd00:2::21]:8080");
}

#[test]
fn what_is_too_long_for_the_way_to_the_backend_is_answered_so() {
    let Some(mut lab) = Lab::new("wire6-mtu") else { return };
    lab.external(&[direct(Udp, NAMES, &["[fd00:2::9]:53"]), direct(Tcp, SERVICE, &REMOTE[..1])]);
    let datagram = |bytes: usize| udp(CLIENT, NAMES, &vec![7; bytes - 48]);
    assert!(matches!(lab.wire(&datagram(1_476)), Fate::Redirect(_)));
    let answer = |lab: &mut Lab, packet: &[u8]| {
        let ran = lab.dataplane.packets().unwrap().run_on_wire("wire", packet).unwrap().unwrap();
        let mtu = u16::from_be_bytes([ran.packet[60], ran.packet[61]]);
        assert_eq!((&ran.packet[..6], &ran.packet[6..12]), (&packet[6..12], &packet[..6]));
        (ran.verdict, tell(&ran.packet), mtu)
    };
    let told = |about: &str| format!("error 2.0 fd00:99::5 > 2001:db8:7::7 about [{about}]");
    let about = told(&format!("udp {CLIENT} > {NAMES}"));
    assert_eq!(answer(&mut lab, &datagram(1_477)), (3, about.clone(), 1_476));
    // In the midst of a connection nothing is added.
    assert!(matches!(lab.wire(&tcp_with(CLIENT, SERVICE, ACK, &[7; 1_440])), Fate::Redirect(_)));
    ip("-6 route change fd00:2::/64 via fd00:30::12 mtu lock 1304");
    lab.external(&[direct(Udp, NAMES, &["[fd00:2::19]:53"]), direct(Tcp, SERVICE, &["[fd00:2::77]:8080"])]);
    let long = tcp_with(CLIENT, SERVICE, ACK, &[7; 1_304 - 59]);
    assert_eq!(answer(&mut lab, &long), (3, told(&format!("tcp {CLIENT} > {SERVICE}")), 1_304));
    assert_eq!(answer(&mut lab, &datagram(1_281)), (3, about, 1_280));
    assert_eq!(lab.verdicts(Verdict::TooLong), 3);
    // Every link takes so much, which nobody is told to stay below: tc needs no room for an option.
    ip("-6 route change fd00:2::/64 via fd00:30::12 mtu lock 1303");
    lab.external(&[direct(Udp, NAMES, &["[fd00:2::29]:53"])]);
    let packet = datagram(1_280);
    assert_eq!(lab.wire(&packet), pass(&tell(&packet)));
}

//! The program on the uplink's wire, where backends on other nodes answer to the node: flows that it shares with tc.

use keelson_dataplane::{
    Translation,
    plan::Protocol::{Tcp, Udp},
};
use keelson_ebpf_common::wire::Verdict;

use crate::{
    altered::{dividable, fragments, marked, with_hops},
    lab::{Fate, Lab, NODE, NODE6, PODS, external, ip, pass},
    packet::{ACK, FIN, RST, SYN, icmp_error, port_of, tcp, tcp_with, tell, udp, udp_unsummed},
};

const SERVICE: &str = "203.0.113.5:80";
const CLIENT: &str = "198.51.100.7:5000";
const REMOTE: &str = "10.244.2.9:8080";
const SERVICE6: &str = "[fd00:99::5]:80";
const CLIENT6: &str = "[2001:db8::7]:5000";
const REMOTE6: &str = "[fd00:2::9]:8080";

fn lab(name: &str) -> Option<Lab> {
    let lab = Lab::with(name, |options| {
        options.wire.as_mut().unwrap().translation = Translation::Wire;
    })?;
    ip("neigh add 172.30.0.1 dev uplink lladdr 02:00:00:00:00:12");
    ip("-6 neigh add fd00:30::1 dev uplink lladdr 02:00:00:00:00:12");
    ip("-6 route add default via fd00:30::1");
    Some(lab)
}

/// What the wire makes of a packet, and the bytes.
fn sent(lab: &mut Lab, packet: &[u8]) -> (String, Vec<u8>) {
    let ran = lab.dataplane.packets().unwrap().run_on_wire("wire", packet).unwrap().unwrap();
    assert_eq!(ran.verdict, 3, "{} is left", tell(packet));
    assert_eq!(ran.packet[..6], [2, 0, 0, 0, 0, 0x12], "to the neighbour");
    (tell(&ran.packet), ran.packet)
}

/// Whether the wire leaves a packet to tc as it is.
fn is_left(lab: &mut Lab, packet: &[u8]) -> bool {
    lab.wire(packet) == pass(&tell(packet))
}

#[test]
fn a_connection_gets_the_nodes_address_and_its_answers_the_services() {
    let Some(mut lab) = lab("translate-tcp") else { return };
    for (client, service, remote, node) in
        [(CLIENT, SERVICE, REMOTE, NODE.to_owned()), (CLIENT6, SERVICE6, REMOTE6, format!("[{NODE6}]"))]
    {
        lab.external(&[external(Tcp, service, &[remote])]);
        let (first, bytes) = sent(&mut lab, &tcp(client, service, SYN));
        let ours = format!("{node}:{}", port_of(&bytes));
        assert!((1_024..30_000).contains(&port_of(&bytes)), "{ours} is no socket's and no node port");
        assert_eq!(first, format!("tcp {ours} > {remote} S hops 63"));
        assert_eq!(sent(&mut lab, &tcp(client, service, SYN)).0, first, "once more the same");
        let answer = sent(&mut lab, &tcp(remote, &ours, SYN | ACK)).0;
        assert_eq!(answer, format!("tcp {service} > {client} SA hops 63"));
        for data in [&b""[..], b"odd", b"even"] {
            let next = sent(&mut lab, &tcp_with(client, service, ACK, data)).0;
            assert_eq!(next, format!("tcp {ours} > {remote} A hops 63"));
            let back = sent(&mut lab, &tcp_with(remote, &ours, ACK, data)).0;
            assert_eq!(back, format!("tcp {service} > {client} A hops 63"));
        }
        // A new connection from a port whose last is not over is the same flow, one after its end is not.
        assert_eq!(sent(&mut lab, &tcp(client, service, SYN)).0, first);
        sent(&mut lab, &tcp(remote, &ours, FIN | ACK));
        lab.external(&[external(Tcp, service, &[&remote.replace("8080", "9090")])]);
        let again = sent(&mut lab, &tcp(client, service, SYN)).0;
        assert!(again.contains(&remote.replace("8080", "9090")), "{again}");
    }
    assert_eq!((lab.verdicts(Verdict::Opened), lab.verdicts(Verdict::Translated)), (4, 20));
}

#[test]
fn datagrams_are_translated_and_none_gets_a_checksum_that_had_none() {
    let Some(mut lab) = lab("translate-udp") else { return };
    lab.external(&[
        external(Udp, "203.0.113.5:53", &["10.244.2.9:5353"]),
        external(Udp, "[fd00:99::5]:53", &["[fd00:2::9]:5353"]),
    ]);
    let (question, bytes) = sent(&mut lab, &udp(CLIENT, "203.0.113.5:53", b"question"));
    let ours = format!("{NODE}:{}", port_of(&bytes));
    assert_eq!(question, format!("udp {ours} > 10.244.2.9:5353 hops 63"));
    let (_, bytes) = sent(&mut lab, &udp_unsummed(CLIENT, "203.0.113.5:53", b"question"));
    assert_eq!(bytes[40..42], [0, 0]);
    let answer = sent(&mut lab, &udp("10.244.2.9:5353", &ours, b"answer")).0;
    assert_eq!(answer, format!("udp 203.0.113.5:53 > {CLIENT} hops 63"));
    let (question, bytes) = sent(&mut lab, &udp(CLIENT6, "[fd00:99::5]:53", b"question"));
    let ours = format!("[{NODE6}]:{}", port_of(&bytes));
    assert_eq!(question, format!("udp {ours} > [fd00:2::9]:5353 hops 63"));
    let answer = sent(&mut lab, &udp("[fd00:2::9]:5353", &ours, b"answer")).0;
    assert_eq!(answer, format!("udp [fd00:99::5]:53 > {CLIENT6} hops 63"));
}

#[test]
fn a_flow_is_the_same_to_both_programs_whichever_saw_its_packets() {
    let Some(mut lab) = lab("translate-shared") else { return };
    lab.external(&[external(Tcp, SERVICE, &[REMOTE, "10.244.2.8:8080"])]);
    let at_tc = |lab: &mut Lab, packet: &[u8]| {
        let (verdict, bytes) = lab.bytes("from_uplink", "uplink", packet);
        assert_eq!(verdict, 7, "{}", tell(packet));
        tell(&bytes)
    };
    for (n, by_wire_first) in (0..20).map(|n| (n, n % 2 == 0)) {
        let client = format!("198.51.100.7:{}", 6_000 + n);
        let syn = tcp(&client, SERVICE, SYN);
        let first = if by_wire_first { sent(&mut lab, &syn).0 } else { at_tc(&mut lab, &syn) };
        let words: Vec<&str> = first.split(' ').collect();
        let (ours, backend) = (words[1], words[3]);
        let answer = format!("tcp {SERVICE} > {client} SA hops 63");
        assert_eq!(at_tc(&mut lab, &tcp(backend, ours, SYN | ACK)), answer);
        assert_eq!(sent(&mut lab, &tcp(backend, ours, SYN | ACK)).0, answer);
        let next = format!("tcp {ours} > {backend} A hops 63");
        // The acknowledgement establishes it, whoever sees it.
        let ack = tcp(&client, SERVICE, ACK);
        let (one, other) = if by_wire_first {
            (sent(&mut lab, &ack).0, at_tc(&mut lab, &ack))
        } else {
            (at_tc(&mut lab, &ack), sent(&mut lab, &ack).0)
        };
        assert_eq!((one, other), (next.clone(), next));
    }
    // It outlives its Service at tc, and a new one that has nothing to do with it.
    lab.external(&[]);
    let ack = tcp("198.51.100.7:6000", SERVICE, ACK);
    assert!(is_left(&mut lab, &ack));
    assert!(at_tc(&mut lab, &ack).starts_with(&format!("tcp {NODE}:")));
    // What a pod of this node has with the world is tc's, though it comes to a port of the range.
    let (_, bytes) = lab.bytes("to_uplink", "uplink", &tcp("10.244.1.2:4000", "198.51.100.9:443", SYN));
    let ours = format!("{NODE}:{}", port_of(&bytes));
    assert!(is_left(&mut lab, &tcp("198.51.100.9:443", &ours, SYN | ACK)));
    assert_eq!(lab.verdicts(Verdict::Local), 1);
}

#[test]
fn no_two_flows_get_the_same_source() {
    let Some(mut lab) = lab("translate-unique") else { return };
    lab.external(&[external(Udp, "203.0.113.5:53", &["10.244.2.9:5353"])]);
    let mut seen = std::collections::BTreeSet::new();
    for n in 0..3_000 {
        let client = format!("198.51.100.{}:{}", 1 + n % 250, 1_000 + n);
        let packet = udp(&client, "203.0.113.5:53", b"question");
        let bytes = if n % 2 == 0 {
            sent(&mut lab, &packet).1
        } else {
            lab.bytes("from_uplink", "uplink", &packet).1
        };
        assert!(seen.insert(port_of(&bytes)), "{client} has another's source");
    }
}

#[test]
fn what_does_not_lead_back_to_the_wire_or_is_to_be_decided_is_left_to_tc() {
    let Some(mut lab) = lab("translate-left") else { return };
    let mut ranged = external(Tcp, "203.0.113.5:81", &[REMOTE]);
    ranged.source_ranges = vec!["198.51.100.0/25".parse().unwrap()];
    let mut affine = external(Tcp, "203.0.113.5:82", &[REMOTE]);
    affine.affinity_s = 60;
    let mut local_only = external(Tcp, "[fd00:99::5]:87", &[REMOTE6]);
    local_only.local_backends_only = true;
    let (local, local6) = (format!("{}:8080", PODS[1].0), format!("[{}]:8080", PODS[3].0));
    lab.external(&[
        external(Tcp, SERVICE, &[REMOTE]),
        external(Udp, "203.0.113.5:53", &[REMOTE]),
        ranged,
        affine,
        local_only,
        external(Tcp, "203.0.113.5:83", &[&local]),
        external(Tcp, "203.0.113.5:84", &[]),
        external(Tcp, "203.0.113.5:85", &["10.244.3.2:80"]),
        external(Tcp, "[fd00:99::5]:83", &[&local6]),
        external(Tcp, SERVICE6, &[REMOTE6]),
    ]);
    let to = |port: u16| format!("203.0.113.5:{port}");
    let [first, later] = fragments(&udp(CLIENT, "203.0.113.5:53", &[7; 64]), 24, 9);
    let error = icmp_error("10.244.2.1", NODE, [3, 1], &tcp(&format!("{NODE}:2000"), REMOTE, SYN));
    for (packet, why) in [
        (tcp(CLIENT, "203.0.113.5:8080", SYN), "no Service"),
        (tcp(CLIENT, &format!("{NODE}:2000"), ACK), "an answer to nobody"),
        (tcp(CLIENT, &format!("{NODE}:22"), SYN), "the node's own"),
        (tcp(CLIENT6, &format!("[{NODE6}]:2000"), ACK), "an answer to nobody"),
        (error, "ICMP"),
        (first, "a fragment"),
        (later, "a later fragment"),
        (marked(&tcp(CLIENT, SERVICE, SYN), SERVICE), "options"),
        (with_hops(tcp(CLIENT, SERVICE, SYN), 1), "its last hop"),
        (with_hops(tcp(CLIENT6, SERVICE6, SYN), 1), "its last hop"),
        (tcp("198.51.100.129:5000", &to(81), SYN), "a client out of range"),
        (tcp(CLIENT, &to(82), SYN), "session affinity"),
        (tcp(CLIENT, &to(83), SYN), "a backend of this node"),
        (tcp(CLIENT6, "[fd00:99::5]:83", SYN), "a backend of this node"),
        (tcp(CLIENT6, "[fd00:99::5]:87", SYN), "only backends of this node"),
        (tcp(CLIENT, &to(84), SYN), "no backend"),
        (tcp(CLIENT, &to(85), SYN), "a neighbour that nobody knows yet"),
        (tcp(CLIENT, SERVICE, ACK), "in the midst of a connection"),
        (tcp(CLIENT, SERVICE, RST), "its end"),
        (tcp(CLIENT, SERVICE, SYN)[..40].to_vec(), "cut short"),
        (tcp(CLIENT6, SERVICE6, SYN)[..60].to_vec(), "cut short"),
    ] {
        let ran = lab.dataplane.packets().unwrap().run_on_wire("wire", &packet).unwrap().unwrap();
        assert_eq!((ran.verdict, ran.packet), (2, packet), "{why}");
    }
    assert_eq!(lab.verdicts(Verdict::Opened) + lab.verdicts(Verdict::Translated), 0);
    sent(&mut lab, &tcp(CLIENT, &to(81), SYN));
    // Whom tc has chosen a backend for, by affinity, is known from then on.
    lab.bytes("from_uplink", "uplink", &tcp(CLIENT, &to(82), SYN));
    sent(&mut lab, &tcp(CLIENT, &to(82), SYN));
}

#[test]
fn without_a_port_to_give_tc_says_what_is_missing() {
    let Some(mut lab) = Lab::with("translate-full", |options| {
        options.wire.as_mut().unwrap().translation = Translation::Wire;
        options.node_ports = 1024..=65_535;
    }) else {
        return;
    };
    lab.external(&[external(Tcp, SERVICE, &[REMOTE])]);
    let first = tcp(CLIENT, SERVICE, SYN);
    assert!(is_left(&mut lab, &first));
    assert_eq!(lab.verdicts(Verdict::Left), 1);
    assert_eq!(lab.run("from_uplink", "uplink", &first), Fate::Drop);
}

#[test]
fn what_is_too_long_for_its_way_is_answered_in_both_directions() {
    let Some(mut lab) = lab("translate-mtu") else { return };
    ip("route change 10.244.2.0/24 via 172.30.0.12 mtu lock 1400");
    ip("-6 route change fd00:2::/64 via fd00:30::12 mtu lock 1400");
    lab.external(&[external(Tcp, SERVICE, &[REMOTE]), external(Tcp, SERVICE6, &[REMOTE6])]);
    let told = |lab: &mut Lab, packet: &[u8], at: usize| {
        let ran = lab.dataplane.packets().unwrap().run_on_wire("wire", packet).unwrap().unwrap();
        assert_eq!((&ran.packet[..6], &ran.packet[6..12]), (&packet[6..12], &packet[..6]));
        let mtu = u16::from_be_bytes([ran.packet[at], ran.packet[at + 1]]);
        (ran.verdict, tell(&ran.packet), mtu)
    };
    sent(&mut lab, &tcp(CLIENT, SERVICE, SYN));
    sent(&mut lab, &tcp_with(CLIENT, SERVICE, ACK, &[7; 1_360]));
    let long = tcp_with(CLIENT, SERVICE, ACK, &[7; 1_361]);
    let about = format!("error 3.4 203.0.113.5 > 198.51.100.7 about [tcp {CLIENT} > {SERVICE}]");
    assert_eq!(told(&mut lab, &long, 40), (3, about, 1_400));
    assert!(is_left(&mut lab, &dividable(long)), "tc may divide it");
    sent(&mut lab, &tcp(CLIENT6, SERVICE6, SYN));
    sent(&mut lab, &tcp_with(CLIENT6, SERVICE6, ACK, &[7; 1_340]));
    let long = tcp_with(CLIENT6, SERVICE6, ACK, &[7; 1_341]);
    let about = format!("error 2.0 fd00:99::5 > 2001:db8::7 about [tcp {CLIENT6} > {SERVICE6}]");
    assert_eq!(told(&mut lab, &long, 60), (3, about, 1_400));
    ip("route add 198.51.100.0/24 via 172.30.0.1 mtu lock 1300");
    let (_, bytes) = sent(&mut lab, &tcp("198.51.100.8:1", SERVICE, SYN));
    let ours = format!("{NODE}:{}", port_of(&bytes));
    let long = tcp_with(REMOTE, &ours, ACK, &[7; 1_300]);
    let about = format!("error 3.4 {NODE} > 10.244.2.9 about [tcp {REMOTE} > {ours}]");
    assert_eq!(told(&mut lab, &long, 40), (3, about, 1_300));
    assert_eq!(lab.verdicts(Verdict::TooLong), 3);
}

#[test]
fn a_daemon_that_takes_over_finds_the_flows_and_one_that_leaves_it_to_tc_leaves_them_too() {
    let Some(mut lab) = lab("translate-again") else { return };
    let frontends = [external(Tcp, SERVICE, &[REMOTE])];
    lab.external(&frontends);
    let (first, bytes) = sent(&mut lab, &tcp(CLIENT, SERVICE, SYN));
    let ours = format!("{NODE}:{}", port_of(&bytes));
    lab.reopen();
    lab.external(&frontends);
    assert_eq!(sent(&mut lab, &tcp(CLIENT, SERVICE, SYN)).0, first);
    let answer = sent(&mut lab, &tcp(REMOTE, &ours, SYN | ACK)).0;
    assert_eq!(answer, format!("tcp {SERVICE} > {CLIENT} SA hops 63"));
    let Some(mut other) = Lab::new("translate-auto") else { return };
    other.external(&frontends);
    let first = tcp(CLIENT, SERVICE, SYN);
    assert!(is_left(&mut other, &first), "a veth's packets may lack their checksums");
}

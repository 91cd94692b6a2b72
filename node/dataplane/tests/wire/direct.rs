//! Direct server return, end to end: node1 is asked, node2 answers.

use std::io::{Read, Write};

use keelson_dataplane::plan::{
    ExternalFrontend, Forwarding,
    Protocol::{self, Tcp, Udp},
};
use keelson_ebpf_common::wire::Verdict;

use crate::lab::{Lab, NODE1, NODE1_6, OUTSIDE, OUTSIDE_6, POD2, POD3, POD3_6, external};

const SERVICE: &str = "203.0.113.5";

fn direct(protocol: Protocol, service: &str, backends: &[&str]) -> ExternalFrontend {
    ExternalFrontend { forwarding: Some(Forwarding::Dsr), ..external(protocol, service, backends) }
}

fn count(lab: &mut Lab, verdict: Verdict) -> u64 {
    lab.wire().verdicts.iter().find(|(v, _)| *v == verdict).unwrap().1
}

/// Both nodes, whose neighbours know each other.
fn lab(name: &str, without_native: bool) -> Option<Lab> {
    let lab = Lab::with(name, |options| options.wire.as_mut().unwrap().without_native = without_native)?;
    let lab = lab.with_second();
    let there = lab.serve("pod3", POD3, 7070);
    assert_eq!(lab.ask("node1", POD3, 7070).unwrap(), NODE1);
    drop(there);
    Some(lab)
}

fn all_is_answered_directly(lab: &mut Lab, mode: &str) {
    assert_eq!(lab.wire().mode, "idle", "nobody asks for it");
    let there = lab.serve("pod3", POD3, 8080);
    let datagrams = lab.serve_datagrams("pod3", POD3, 5353);
    lab.external(&[
        direct(Tcp, &format!("{SERVICE}:80"), &[&format!("{POD3}:8080")]),
        direct(Tcp, &format!("{NODE1}:30080"), &[&format!("{POD3}:8080")]),
        direct(Udp, &format!("{SERVICE}:53"), &[&format!("{POD3}:5353")]),
    ]);
    assert_eq!(lab.wire().mode, mode);
    assert_eq!(lab.ask("outside", SERVICE, 80).unwrap(), OUTSIDE, "the pod sees the client");
    assert_eq!(lab.ask_datagram("outside", SERVICE, 53, 9).unwrap(), OUTSIDE);
    let (known, chosen) = (count(lab, Verdict::Known), count(lab, Verdict::Chosen));
    assert!(known >= 2 && chosen == 2, "{known} {chosen}");
    // A datagram too long for the option: the client is told, and its next one is divided.
    let refused = lab.ask_datagram("outside", SERVICE, 53, 1_472);
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(count(lab, Verdict::TooLong), 1);
    assert!(lab.ask_datagram("outside", SERVICE, 53, 1_464).is_ok());
    let _ = lab.ask_datagram("outside", SERVICE, 53, 0);
    datagrams.join().unwrap();
    drop(there);
}

#[test]
fn the_backends_node_answers_clients_itself() {
    let Some(mut lab) = lab("direct", false) else { return };
    all_is_answered_directly(&mut lab, "native");
}

#[test]
fn in_the_kernels_generic_path_it_is_the_same() {
    let Some(mut lab) = lab("direct-generic", true) else { return };
    all_is_answered_directly(&mut lab, "generic");
}

/// Nodes that have IPv6, too.
fn lab6(name: &str) -> Option<Lab> {
    let lab = Lab::with(name, |options| options.node_addresses.push(NODE1_6.parse().unwrap()))?;
    let lab = lab.with_second().with_ipv6();
    let there = lab.serve("pod3", POD3_6, 7070);
    assert_eq!(lab.ask("node1", POD3_6, 7070).unwrap(), NODE1_6);
    drop(there);
    Some(lab)
}

#[test]
fn clients_of_ipv6_are_answered_directly_too() {
    /// The longest datagram that is one packet, and the longest with the extension header.
    const LONGEST: usize = 1_500 - 48;
    const LONGEST_MARKED: usize = LONGEST - 24;
    const SERVICE6: &str = "fd00:99::5";
    let Some(mut lab) = lab6("direct-six") else { return };
    let there = lab.serve("pod3", POD3_6, 8080);
    let datagrams = lab.serve_datagrams("pod3", POD3_6, 5353);
    lab.external(&[
        direct(Tcp, &format!("[{SERVICE6}]:80"), &[&format!("[{POD3_6}]:8080")]),
        direct(Tcp, &format!("[{NODE1_6}]:30080"), &[&format!("[{POD3_6}]:8080")]),
        direct(Udp, &format!("[{SERVICE6}]:53"), &[&format!("[{POD3_6}]:5353")]),
    ]);
    assert_eq!(lab.wire().mode, "native");
    assert_eq!(lab.ask("outside", SERVICE6, 80).unwrap(), OUTSIDE_6, "the pod sees the client");
    assert_eq!(lab.ask("outside", NODE1_6, 30_080).unwrap(), OUTSIDE_6, "on a node port, too");
    assert_eq!(lab.ask_datagram("outside", SERVICE6, 53, 9).unwrap(), OUTSIDE_6);
    assert_eq!(lab.ask_datagram("outside", SERVICE6, 53, LONGEST_MARKED).unwrap(), OUTSIDE_6);
    let (known, chosen) = (count(&mut lab, Verdict::Known), count(&mut lab, Verdict::Chosen));
    // A SYN is sent again where a neighbour had to be asked for first.
    assert!(known >= 4 && chosen >= 4, "{known} {chosen}");
    // Too long for the option: the client is told, and sends its next one in pieces, which tc translates.
    let lost = lab.ask_datagram("outside", SERVICE6, 53, LONGEST);
    assert!(lost.is_err(), "{lost:?}");
    assert_eq!(count(&mut lab, Verdict::TooLong), 1);
    for bytes in [LONGEST, 4_000] {
        assert_eq!(lab.ask_datagram("outside", SERVICE6, 53, bytes).unwrap(), NODE1_6);
    }
    let _ = lab.ask_datagram("outside", SERVICE6, 53, 0);
    datagrams.join().unwrap();
    drop(there);
}

#[test]
fn a_connection_of_ipv6_outlives_its_backends_membership_and_the_daemon() {
    let Some(mut lab) = lab6("direct-six-stay") else { return };
    let there = lab.echo("pod3", POD3_6, 8080);
    lab.external(&[direct(Tcp, "[fd00:99::5]:80", &[&format!("[{POD3_6}]:8080")])]);
    let mut stream = lab.connect("outside", "fd00:99::5", 80).unwrap();
    let mut ask = |byte: u8, when: &str| {
        let mut answer = [0];
        stream.write_all(&[byte]).unwrap();
        stream.read_exact(&mut answer).unwrap_or_else(|e| panic!("{when}: {e}"));
        assert_eq!(answer, [byte], "{when}");
    };
    ask(1, "at first");
    let without = [direct(Tcp, "[fd00:99::5]:80", &[])];
    lab.external(&without);
    ask(2, "without any backend");
    lab.restart(|_| {}, &without);
    ask(3, "after a new daemon has taken over");
    drop(there);
}

#[test]
fn answers_do_not_pass_the_node_that_was_asked() {
    const BYTES: usize = 5_000_000;
    let Some(mut lab) = lab("direct-return", false) else { return };
    let there = lab.talk("pod3", POD3, 8080, BYTES);
    lab.external(&[direct(Tcp, &format!("{SERVICE}:80"), &[&format!("{POD3}:8080")])]);
    let before = lab.received();
    assert_eq!(lab.ask("outside", SERVICE, 80).unwrap().len(), BYTES);
    let passed = lab.received() - before;
    assert!(passed < BYTES as u64 / 4, "{passed} bytes of acknowledgements");
    drop(there);
}

#[test]
fn a_connection_outlives_its_backends_membership_and_the_daemon() {
    let Some(mut lab) = lab("direct-stay", false) else { return };
    let there = lab.echo("pod3", POD3, 8080);
    let here = lab.serve("pod2", POD2, 8080);
    let service = format!("{SERVICE}:80");
    lab.external(&[direct(Tcp, &service, &[&format!("{POD3}:8080")])]);
    let mut stream = lab.connect("outside", SERVICE, 80).unwrap();
    let mut ask = |byte: u8, when: &str| {
        let mut answer = [0];
        stream.write_all(&[byte]).unwrap();
        stream.read_exact(&mut answer).unwrap_or_else(|e| panic!("{when}: {e}"));
        assert_eq!(answer, [byte], "{when}");
    };
    ask(1, "at first");
    let elsewhere = [direct(Tcp, &service, &[&format!("{POD2}:8080")])];
    lab.external(&elsewhere);
    ask(2, "with another backend");
    assert_eq!(lab.ask("outside", SERVICE, 80).unwrap(), OUTSIDE, "new ones go to the pod of this node");
    lab.restart(|_| {}, &elsewhere);
    assert_eq!(lab.wire().mode, "native");
    ask(3, "after a new daemon has taken over");
    lab.restart(|options| options.wire.as_mut().unwrap().without_native = true, &elsewhere);
    assert_eq!(lab.wire().mode, "generic");
    ask(4, "in the generic path");
    lab.external(&[direct(Tcp, &service, &[])]);
    ask(5, "without any backend");
    drop((there, here));
}

#[test]
fn without_xdp_tc_does_it_with_the_nodes_address() {
    let Some(mut lab) = lab("direct-without", false) else { return };
    let there = lab.serve("pod3", POD3, 8080);
    let frontends = [direct(Tcp, &format!("{SERVICE}:80"), &[&format!("{POD3}:8080")])];
    lab.external(&frontends);
    assert_eq!(lab.ask("outside", SERVICE, 80).unwrap(), OUTSIDE);
    lab.restart(|options| options.wire = None, &frontends);
    assert_eq!(lab.ask("outside", SERVICE, 80).unwrap(), NODE1);
    drop(there);
}

#[test]
fn a_device_with_somebody_elses_program_is_left_to_tc() {
    let Some(mut lab) = lab("direct-refused", false) else { return };
    let there = lab.serve("pod3", POD3, 8080);
    let theirs = lab.attach_pass("node1", "eth0");
    let frontends = [direct(Tcp, &format!("{SERVICE}:80"), &[&format!("{POD3}:8080")])];
    lab.external(&frontends);
    assert_eq!(lab.wire().mode, "refused");
    assert_eq!(lab.ask("outside", SERVICE, 80).unwrap(), NODE1);
    drop(theirs);
    lab.external(&[]);
    lab.external(&frontends);
    assert_eq!(lab.wire().mode, "native");
    drop(there);
}

//! Services whose backends answer to the node that was asked, translated on its wire: node1 is asked, a pod of node2 answers.

use std::io::{Read, Write};

use keelson_dataplane::{
    Translation,
    plan::Protocol::{Tcp, Udp},
};
use keelson_ebpf_common::wire::Verdict;

use crate::lab::{Lab, NODE1, NODE1_6, OUTSIDE, POD2, POD3, POD3_6, external};

const SERVICE: &str = "203.0.113.5";

/// Both nodes, whose neighbours know each other; all who are asked make their checksums themselves.
fn lab(name: &str, without_native: bool) -> Option<Lab> {
    let lab = Lab::with(name, |options| {
        let wire = options.wire.as_mut().unwrap();
        (wire.without_native, wire.translation) = (without_native, Translation::Wire);
        options.node_addresses.push(NODE1_6.parse().unwrap());
    })?;
    let lab = lab.with_second();
    lab.make_checksums("pod3");
    let there = lab.serve("pod3", POD3, 7070);
    assert_eq!(lab.ask("node1", POD3, 7070).unwrap(), NODE1);
    drop(there);
    Some(lab)
}

fn count(lab: &mut Lab, verdict: Verdict) -> u64 {
    lab.wire().verdicts.iter().find(|(v, _)| *v == verdict).unwrap().1
}

fn all_is_translated(lab: &mut Lab, mode: &str) {
    const BYTES: usize = 5_000_000;
    assert_eq!(lab.wire().mode, "idle", "nobody asks for it");
    let there = lab.serve("pod3", POD3, 8080);
    let much = lab.talk("pod3", POD3, 9090, BYTES);
    let here = lab.serve("pod2", POD2, 8080);
    let datagrams = lab.serve_datagrams("pod3", POD3, 5353);
    lab.external(&[
        external(Tcp, &format!("{SERVICE}:80"), &[&format!("{POD3}:8080")]),
        external(Tcp, &format!("{SERVICE}:81"), &[&format!("{POD3}:9090")]),
        external(Tcp, &format!("{SERVICE}:82"), &[&format!("{POD2}:8080")]),
        external(Tcp, &format!("{NODE1}:30080"), &[&format!("{POD3}:8080")]),
        external(Udp, &format!("{SERVICE}:53"), &[&format!("{POD3}:5353")]),
    ]);
    assert_eq!(lab.wire().mode, mode);
    // The first may be tc's, which asks for the client's hardware address.
    assert_eq!(lab.ask("outside", SERVICE, 80).unwrap(), NODE1);
    let opened = count(lab, Verdict::Opened);
    for _ in 0..5 {
        assert_eq!(lab.ask("outside", SERVICE, 80).unwrap(), NODE1, "the pod sees the node");
        assert_eq!(lab.ask("outside", NODE1, 30_080).unwrap(), NODE1);
        assert_eq!(lab.ask_datagram("outside", SERVICE, 53, 9).unwrap(), NODE1);
    }
    assert_eq!(count(lab, Verdict::Opened) - opened, 15);
    assert_eq!(lab.ask("outside", SERVICE, 82).unwrap(), OUTSIDE, "a pod of the node sees the client");
    let before = count(lab, Verdict::Translated);
    assert_eq!(lab.ask("outside", SERVICE, 81).unwrap().len(), BYTES);
    // A link's segments are of 1,448 bytes or, where nothing divides them, of up to 64 KiB.
    let passed = count(lab, Verdict::Translated) - before;
    assert!(passed as usize > BYTES / 65_536, "{passed} packets");
    let _ = lab.ask_datagram("outside", SERVICE, 53, 0);
    datagrams.join().unwrap();
    drop((there, much, here));
}

#[test]
fn connections_and_datagrams_go_there_and_back_by_the_wire() {
    let Some(mut lab) = lab("translated", false) else { return };
    all_is_translated(&mut lab, "native");
}

#[test]
fn ipv6_goes_there_and_back_by_the_wire() {
    let Some(lab) = lab("translated-six", false) else { return };
    let mut lab = lab.with_ipv6();
    let there = lab.serve("pod3", POD3_6, 8080);
    lab.external(&[
        external(Tcp, "[fd00:99::5]:80", &[&format!("[{POD3_6}]:8080")]),
        external(Tcp, &format!("[{NODE1_6}]:30080"), &[&format!("[{POD3_6}]:8080")]),
    ]);
    assert_eq!(lab.ask("outside", "fd00:99::5", 80).unwrap(), NODE1_6, "the first may be tc's");
    let (opened, translated) = (count(&mut lab, Verdict::Opened), count(&mut lab, Verdict::Translated));
    for _ in 0..5 {
        assert_eq!(lab.ask("outside", "fd00:99::5", 80).unwrap(), NODE1_6);
        assert_eq!(lab.ask("outside", NODE1_6, 30_080).unwrap(), NODE1_6);
    }
    assert_eq!(count(&mut lab, Verdict::Opened) - opened, 10);
    let passed = count(&mut lab, Verdict::Translated) - translated;
    assert!(passed >= 10 * 6, "{passed} packets");
    drop(there);
}

#[test]
fn in_the_kernels_generic_path_too() {
    let Some(mut lab) = lab("translated-generic", true) else { return };
    all_is_translated(&mut lab, "generic");
}

#[test]
fn a_connection_goes_on_at_tc_and_comes_back() {
    let Some(mut lab) = lab("translated-stay", false) else { return };
    let there = lab.echo("pod3", POD3, 8080);
    let frontends = [external(Tcp, &format!("{SERVICE}:80"), &[&format!("{POD3}:8080")])];
    lab.external(&frontends);
    let mut stream = lab.connect("outside", SERVICE, 80).unwrap();
    let mut ask = |byte: u8, when: &str| {
        let mut answer = [0];
        stream.write_all(&[byte]).unwrap();
        stream.read_exact(&mut answer).unwrap_or_else(|e| panic!("{when}: {e}"));
        assert_eq!(answer, [byte], "{when}");
    };
    ask(1, "by the wire");
    lab.restart(|options| options.wire.as_mut().unwrap().translation = Translation::Tc, &frontends);
    assert_eq!(lab.wire().mode, "idle");
    ask(2, "by tc");
    lab.restart(|options| options.wire.as_mut().unwrap().translation = Translation::Wire, &frontends);
    assert_eq!(lab.wire().mode, "native");
    let before = count(&mut lab, Verdict::Translated);
    ask(3, "by the wire again");
    assert!(count(&mut lab, Verdict::Translated) > before);
    lab.external(&[]);
    ask(4, "without its Service");
    drop(there);
}

//! Extension headers of IPv6: what is behind them is translated and judged, as far as it is looked at.

use keelson_dataplane::plan::Protocol::{Tcp, Udp};
use keelson_ebpf_common::{
    drop::Reason,
    policy::{
        Direction::{Egress, Ingress},
        Id,
    },
};

use crate::{
    altered::{DESTINATION, FRAGMENT, HOP_BY_HOP, ROUTING, extended, fragments},
    lab::{Lab, NODE6, external, frontend, pass, redirect},
    packet::{SYN, echo, port_of, tcp, tell, udp},
    policies::{FRIENDS, policies},
};

const POD: &str = "[fd00:1::2]:4000";
const SERVICE: &str = "[fd00:96::7]:80";
const BACKEND: &str = "[fd00:1::3]:8080";
/// Options that are padding.
const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];
/// A way that is gone to its end.
const GONE: [u8; 6] = [4, 0, 0, 0, 0, 0];
/// A datagram in one piece, nevertheless (RFC 6946).
const ATOMIC: [u8; 6] = [0, 0, 0, 0, 0, 9];

/// With these headers, the last of them first in the packet.
fn behind(packet: &[u8], headers: &[(u8, &[u8])]) -> Vec<u8> {
    headers.iter().fold(packet.to_vec(), |packet, (kind, body)| extended(&packet, *kind, body))
}

/// With these headers the transport is found.
fn known() -> Vec<Vec<(u8, &'static [u8])>> {
    let one = |kind, body: &'static [u8]| (kind, body);
    let (options, every) = (one(DESTINATION, &PADDING), one(HOP_BY_HOP, &PADDING));
    vec![
        vec![options],
        vec![every],
        vec![one(ROUTING, &GONE)],
        vec![one(FRAGMENT, &ATOMIC)],
        vec![options, one(FRAGMENT, &ATOMIC), one(ROUTING, &GONE), options, every],
        vec![one(DESTINATION, &[1, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])],
    ]
}

/// With these it is not.
fn unknown() -> Vec<Vec<(u8, &'static [u8])>> {
    vec![
        // Authentication, whose length is counted otherwise; mobility; a way that is not at its end; one header too many.
        vec![(51, &PADDING)],
        vec![(135, &PADDING)],
        vec![(ROUTING, &[4, 1, 0, 0, 0, 0])],
        vec![(DESTINATION, &PADDING); 6],
    ]
}

#[test]
fn what_is_behind_them_is_translated_and_they_stay() {
    let Some(mut lab) = Lab::new("extensions") else { return };
    lab.frontends(&[frontend(Tcp, SERVICE, &[BACKEND]), frontend(Udp, SERVICE, &[BACKEND])]);
    for headers in known() {
        for packet in [tcp(POD, SERVICE, SYN), udp(POD, SERVICE, b"question")] {
            let asked = behind(&packet, &headers);
            let (verdict, sent) = lab.bytes("from_pod", "pod1", &asked);
            let [plain, there] = [tell(&packet), tell(&sent)];
            assert_eq!(there, format!("{} hops 63", plain.replace(SERVICE, BACKEND)), "{headers:?}");
            assert_eq!((verdict, sent[20]), (7, headers.last().unwrap().0));
            assert_eq!(sent[54..sent.len() - packet.len() + 54], asked[54..asked.len() - packet.len() + 54]);
        }
        let back = behind(&udp(BACKEND, POD, b"answer"), &headers);
        let fate = lab.run("from_pod", "pod2", &back);
        assert_eq!(fate, redirect(&format!("udp {SERVICE} > {POD} hops 63")));
    }
}

#[test]
fn what_is_not_looked_behind_goes_on_as_it_is() {
    let Some(mut lab) = Lab::new("extensions-unknown") else { return };
    lab.frontends(&[frontend(Udp, SERVICE, &[BACKEND])]);
    let question = udp(POD, SERVICE, b"question");
    let cut = behind(&question, &[(DESTINATION, &PADDING)])[..60].to_vec();
    let packets = unknown().into_iter().map(|headers| behind(&question, &headers)).chain([cut]);
    for packet in packets {
        let (_, sent) = lab.bytes("from_pod", "pod1", &packet);
        assert_eq!(sent[22..], packet[22..], "all but the hardware addresses and the hops");
    }
}

#[test]
fn a_service_answers_behind_them_what_it_can() {
    let Some(mut lab) = Lab::new("extensions-answers") else { return };
    lab.frontends(&[frontend(Tcp, SERVICE, &[]), frontend(Udp, SERVICE, &[])]);
    let headers: [(u8, &[u8]); 1] = [(DESTINATION, &PADDING)];
    let refused = lab.run("from_pod", "pod1", &behind(&tcp(POD, SERVICE, SYN), &headers));
    assert_eq!(refused, redirect(&format!("tcp {SERVICE} > {POD} AR")));
    let answer = lab.run("from_pod", "pod1", &behind(&echo("fd00:1::2", "fd00:96::7", 9, false), &headers));
    assert_eq!(answer, redirect("answer fd00:96::7 > fd00:1::2 id 9"));
    // An error would not hold the ports of what it is about.
    let (verdict, _) = lab.bytes("from_pod", "pod1", &behind(&udp(POD, SERVICE, b"x"), &headers));
    assert_eq!((verdict, lab.dropped(Reason::Unanswered)), (2, 1));
}

#[test]
fn policies_look_behind_them() {
    let Some(mut lab) = Lab::new("extensions-policies") else { return };
    let friend = "[fd00:2::9]:4000";
    let ask = |lab: &mut Lab, packet: &[u8]| lab.bytes("from_uplink", "uplink", packet).0 != 2;
    lab.policies(&policies(true, false, &[(Ingress, FRIENDS, Some((17, 7, 16)))]));
    for headers in known() {
        assert!(ask(&mut lab, &behind(&udp(friend, "[fd00:1::2]:7", b"x"), &headers)), "{headers:?}");
        assert!(!ask(&mut lab, &behind(&udp(friend, "[fd00:1::2]:8", b"x"), &headers)), "{headers:?}");
    }
    let unseen = |headers: &[(u8, &[u8])]| behind(&udp(friend, "[fd00:1::2]:7", b"x"), headers);
    for headers in unknown() {
        assert!(!ask(&mut lab, &unseen(&headers)), "{headers:?}");
    }
    // What names no protocol lets pass what nobody understands.
    lab.policies(&policies(true, false, &[(Ingress, FRIENDS, None)]));
    for headers in unknown() {
        assert!(ask(&mut lab, &unseen(&headers)), "{headers:?}");
    }
    lab.policies(&policies(false, true, &[(Egress, Id::ANYONE, Some((17, 7, 16)))]));
    for (port, wanted) in [(7, true), (8, false)] {
        let packet = extended(&udp(POD, &format!("[fd00:1::3]:{port}"), b"x"), HOP_BY_HOP, &PADDING);
        assert_eq!(lab.bytes("from_pod", "pod1", &packet).0 != 2, wanted, "port {port}");
    }
}

#[test]
fn a_datagram_in_pieces_is_of_the_protocol_that_its_first_one_says() {
    let Some(mut lab) = Lab::new("extensions-pieces") else { return };
    lab.frontends(&[frontend(Udp, SERVICE, &[BACKEND])]);
    // Options behind the header of pieces: the later one says that they come next.
    let question = extended(&udp(POD, SERVICE, &[7; 100]), DESTINATION, &PADDING);
    let [first, later] = fragments(&question, 64, 5);
    let (_, one) = lab.bytes("from_pod", "pod1", &first);
    let (_, two) = lab.bytes("from_pod", "pod1", &later);
    let expected = extended(&udp(POD, BACKEND, &[7; 100]), DESTINATION, &PADDING);
    assert_eq!([&one[62..], &two[62..]].concat(), expected[54..], "put together");
    assert_eq!(two[38..54], expected[38..54]);
    // The same number from another, or to another, is another's.
    let [_, stranger] = fragments(&udp("[fd00:1::2]:4000", "[fd00:96::8]:80", &[7; 100]), 64, 5);
    assert_eq!(lab.run("from_pod", "pod1", &stranger), pass("later fd00:1::2 > fd00:96::8"));
}

#[test]
fn pieces_from_outside_go_by_the_nodes_address_and_back() {
    let Some(mut lab) = Lab::new("extensions-outside") else { return };
    let (client, service, remote) = ("[2001:db8:7::7]:5000", "[fd00:99::5]:53", "[fd00:2::9]:5353");
    lab.external(&[external(Udp, service, &[remote])]);
    let [first, later] = fragments(&udp(client, service, &[7; 100]), 64, 1);
    let (_, one) = lab.bytes("from_uplink", "uplink", &first);
    let there = redirect(&format!("later {NODE6} > fd00:2::9 hops 63"));
    assert_eq!(lab.run("from_uplink", "uplink", &later), there);
    let ours = format!("[{NODE6}]:{}", u16::from_be_bytes([one[62], one[63]]));
    assert_eq!(port_of(&one), 0x1100, "the header of pieces is there yet");
    let [first, later] = fragments(&udp(remote, &ours, &[9; 100]), 64, 2);
    lab.bytes("from_uplink", "uplink", &first);
    let back = redirect("later fd00:99::5 > 2001:db8:7::7 hops 63");
    assert_eq!(lab.run("from_uplink", "uplink", &later), back);
}

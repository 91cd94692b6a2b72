//! The backend's side of direct server return: what another node sends here as the client sent it.

use keelson_dataplane::plan::{
    ExternalFrontend, Forwarding,
    Protocol::{Tcp, Udp},
};
use keelson_ebpf_common::{
    layout::CONNTRACK,
    packet::{Flow, mark},
};
use keelson_sys::bpf::Map;
use zerocopy::FromBytes;

use crate::{
    altered::{DESTINATION, HOP_BY_HOP, extended, fragments, marked},
    lab::{Fate, Lab, NODE, NODE6, external, pass, redirect},
    packet::{ACK, FIN, RST, SYN, tcp, tcp_with, udp},
};

const SERVICE: &str = "203.0.113.5:80";
const CLIENT: &str = "198.51.100.7:5000";
const POD: &str = "10.244.1.3:8080";
const SERVICE6: &str = "[fd00:99::5]:80";
const CLIENT6: &str = "[2001:db8:7::7]:5000";
const POD6: &str = "[fd00:1::3]:8080";
/// Service, client, pod, and a backend on another node.
const FAMILIES: [(&str, &str, &str, &str); 2] =
    [(SERVICE, CLIENT, POD, "10.244.2.9:8080"), (SERVICE6, CLIENT6, POD6, "[fd00:2::9]:8080")];

fn direct(frontend: ExternalFrontend) -> ExternalFrontend {
    ExternalFrontend { forwarding: Some(Forwarding::Dsr), ..frontend }
}

/// Marks of the flows that are established.
fn established(lab: &Lab) -> Vec<u32> {
    let options = lab.options();
    let path = options.bpffs.join("keelson").join(&options.node).join("state").join("CONNTRACK-1");
    let map = Map::open_pinned(&path).unwrap().expect(CONNTRACK.name);
    let values = map.entries().unwrap().values;
    let flows = values.chunks_exact(size_of::<Flow>()).map(|bytes| Flow::read_from_bytes(bytes).unwrap());
    let mut marks: Vec<_> = flows.map(|flow| flow.marks & !mark::DIRECT).collect();
    marks.sort_unstable();
    marks
}

#[test]
fn the_pod_sees_the_client_and_answers_as_the_service() {
    for (service, client, pod, elsewhere) in FAMILIES {
        let Some(mut lab) = Lab::new("direct") else { return };
        // This node does not choose its own pod for anybody: another has.
        lab.external(&[direct(external(Tcp, service, &[elsewhere]))]);
        is_answered_as_the_service(&mut lab, service, client, pod);
    }
}

fn is_answered_as_the_service(lab: &mut Lab, service: &str, client: &str, pod: &str) {
    let first = marked(&tcp(client, pod, SYN), service);
    for _ in 0..2 {
        let there = redirect(&format!("tcp {client} > {pod} S hops 63"));
        assert_eq!(lab.run("from_uplink", "uplink", &first), there);
        let back = redirect(&format!("tcp {service} > {client} SA hops 63"));
        assert_eq!(lab.run("from_pod", "pod2", &tcp(pod, client, SYN | ACK)), back);
    }
    assert!(established(lab).is_empty(), "nobody has acknowledged");
    let there = redirect(&format!("tcp {client} > {pod} A hops 63"));
    assert_eq!(lab.run("from_uplink", "uplink", &tcp_with(client, pod, ACK, b"question")), there);
    let back = redirect(&format!("tcp {service} > {client} A hops 63"));
    assert_eq!(lab.run("from_pod", "pod2", &tcp_with(pod, client, ACK, b"answer")), back);
    assert_eq!(established(lab), [0, mark::REVERSE]);
    lab.run("from_uplink", "uplink", &tcp(client, pod, FIN | ACK));
    lab.run("from_pod", "pod2", &tcp(pod, client, FIN | ACK));
    assert_eq!(established(lab), [mark::FIN, mark::FIN | mark::REVERSE], "both ends are seen");
    // The client's next connection from that port.
    let there = redirect(&format!("tcp {client} > {pod} S hops 63"));
    assert_eq!(lab.run("from_uplink", "uplink", &first), there);
    assert!(established(lab).is_empty());
    lab.run("from_pod", "pod2", &tcp(pod, client, ACK));
    lab.run("from_uplink", "uplink", &tcp(client, pod, RST));
    assert_eq!(established(lab), [mark::REVERSE, mark::RESET]);
}

#[test]
fn datagrams_are_answered_as_the_service_from_the_first_on() {
    let Some(mut lab) = Lab::new("direct-udp") else { return };
    lab.external(&[
        direct(external(Udp, "203.0.113.5:53", &["10.244.2.9:53"])),
        direct(external(Udp, "[fd00:99::5]:53", &["[fd00:2::9]:53"])),
    ]);
    for (pod, service, client) in
        [("10.244.1.3:53", "203.0.113.5:53", CLIENT), ("[fd00:1::3]:53", "[fd00:99::5]:53", CLIENT6)]
    {
        for _ in 0..2 {
            let there = redirect(&format!("udp {client} > {pod} hops 63"));
            let question = marked(&udp(client, pod, b"question"), service);
            assert_eq!(lab.run("from_uplink", "uplink", &question), there);
            let back = redirect(&format!("udp {service} > {client} hops 63"));
            assert_eq!(lab.run("from_pod", "pod2", &udp(pod, client, b"answer")), back);
        }
    }
    assert_eq!(established(&lab), [0, 0, mark::REVERSE, mark::REVERSE]);
    let count = (0..8).map(|_| lab.dataplane.packets().unwrap().collect().unwrap()).last().unwrap();
    assert_eq!(count.established, 2, "whose backend it is the other node knows");
}

#[test]
fn a_node_port_of_another_node_is_this_ones_too() {
    let Some(mut lab) = Lab::new("direct-port") else { return };
    lab.external(&[
        direct(external(Tcp, &format!("{NODE}:30080"), &[POD])),
        direct(external(Tcp, &format!("[{NODE6}]:30080"), &[POD6])),
    ]);
    for (asked, client, pod) in [("172.30.0.12:30080", CLIENT, POD), ("[fd00:30::12]:30080", CLIENT6, POD6)] {
        lab.run("from_uplink", "uplink", &marked(&tcp(client, pod, SYN), asked));
        let back = redirect(&format!("tcp {asked} > {client} SA hops 63"));
        assert_eq!(lab.run("from_pod", "pod2", &tcp(pod, client, SYN | ACK)), back);
    }
}

#[test]
fn a_process_of_the_node_answers_as_the_service() {
    let Some(mut lab) = Lab::new("direct-host") else { return };
    lab.external(&[
        direct(external(Tcp, SERVICE, &["172.30.0.12:8443"])),
        direct(external(Tcp, SERVICE6, &["[fd00:30::12]:8443"])),
    ]);
    for (service, client, node) in
        [(SERVICE, CLIENT, format!("{NODE}:8443")), (SERVICE6, CLIENT6, format!("[{NODE6}]:8443"))]
    {
        let there = pass(&format!("tcp {client} > {node} S"));
        let first = marked(&tcp(client, &node, SYN), service);
        assert_eq!(lab.run("from_uplink", "uplink", &first), there);
        let back = pass(&format!("tcp {service} > {client} SA"));
        assert_eq!(lab.run("to_uplink", "uplink", &tcp(&node, client, SYN | ACK)), back);
    }
}

#[test]
fn the_option_is_believed_only_of_a_service_that_is_answered_directly() {
    let Some(mut lab) = Lab::new("direct-doubt") else { return };
    lab.external(&[external(Tcp, SERVICE, &[POD]), external(Tcp, SERVICE6, &[POD6])]);
    for (service, client, pod) in [
        (SERVICE, CLIENT, POD),
        ("203.0.113.99:80", CLIENT, POD),
        (SERVICE6, CLIENT6, POD6),
        ("[fd00:99::99]:80", CLIENT6, POD6),
    ] {
        let first = marked(&tcp(client, pod, SYN), service);
        let there = redirect(&format!("tcp {client} > {pod} S for {service} hops 63"));
        assert_eq!(lab.run("from_uplink", "uplink", &first), there);
        let back = redirect(&format!("tcp {pod} > {client} SA hops 63"));
        assert_eq!(lab.run("from_pod", "pod2", &tcp(pod, client, SYN | ACK)), back);
    }
}

#[test]
fn other_extension_headers_are_no_option_of_ours() {
    let Some(mut lab) = Lab::new("direct-others") else { return };
    lab.external(&[direct(external(Tcp, SERVICE6, &[POD6])), direct(external(Udp, SERVICE6, &[POD6]))]);
    let first = marked(&tcp(CLIENT6, POD6, SYN), SERVICE6);
    let change = |at: usize, byte: u8| {
        let mut packet = first.clone();
        packet[at] = byte;
        packet
    };
    let unknown = [&[1, 4, 0, 0, 0, 0][..], &[0; 16]].concat();
    let plain = tcp(CLIENT6, POD6, SYN);
    for (packet, why) in [
        (change(20, HOP_BY_HOP), "options for every router"),
        (change(56, 0x1e), "another type"),
        (change(57, 12), "another length"),
        (extended(&plain, DESTINATION, &unknown), "padding"),
        (extended(&first, HOP_BY_HOP, &[1, 4, 0, 0, 0, 0]), "options before it"),
        (marked(&extended(&plain, DESTINATION, &[1, 4, 0, 0, 0, 0]), SERVICE6), "options behind it"),
    ] {
        let Fate::Redirect(text) = lab.run("from_uplink", "uplink", &packet) else { panic!("{why}") };
        assert!(text.starts_with(&format!("tcp {CLIENT6} > {POD6} S")), "{why}: {text}");
        let back = redirect(&format!("tcp {POD6} > {CLIENT6} SA hops 63"));
        assert_eq!(lab.run("from_pod", "pod2", &tcp(POD6, CLIENT6, SYN | ACK)), back, "{why}");
    }
    // A part of a datagram, too.
    let [piece, _] = fragments(&udp(CLIENT6, POD6, &[7; 64]), 24, 9);
    lab.bytes("from_uplink", "uplink", &marked(&piece, SERVICE6));
    let answer = redirect(&format!("udp {POD6} > {CLIENT6} hops 63"));
    assert_eq!(lab.run("from_pod", "pod2", &udp(POD6, CLIENT6, b"answer")), answer);
}

#[test]
fn a_client_that_opens_the_same_port_again_elsewhere_is_followed() {
    let Some(mut lab) = Lab::new("direct-again") else { return };
    lab.external(&[direct(external(Tcp, SERVICE, &[POD]))]);
    for (pod, link) in [("10.244.1.3:8080", "pod2"), ("10.244.1.2:8080", "pod1")] {
        lab.run("from_uplink", "uplink", &marked(&tcp(CLIENT, pod, SYN), SERVICE));
        lab.run("from_pod", link, &tcp(pod, CLIENT, SYN | ACK));
        let back = redirect(&format!("tcp {SERVICE} > {CLIENT} A hops 63"));
        assert_eq!(lab.run("from_pod", link, &tcp(pod, CLIENT, ACK)), back);
    }
    assert_eq!(established(&lab), [0, mark::REVERSE]);
}

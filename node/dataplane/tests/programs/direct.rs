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
    lab::{Lab, NODE, external, pass, redirect},
    packet::{ACK, FIN, RST, SYN, marked, tcp, tcp_with, tell, udp},
};

const SERVICE: &str = "203.0.113.5:80";
const CLIENT: &str = "198.51.100.7:5000";
const POD: &str = "10.244.1.3:8080";

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
    let Some(mut lab) = Lab::new("direct") else { return };
    // This node does not choose its own pod for anybody: another has.
    lab.external(&[direct(external(Tcp, SERVICE, &["10.244.2.9:8080"]))]);
    let first = marked(&tcp(CLIENT, POD, SYN), SERVICE);
    for _ in 0..2 {
        let there = redirect(&format!("tcp {CLIENT} > {POD} S hops 63"));
        assert_eq!(lab.run("from_uplink", "uplink", &first), there);
        let back = redirect(&format!("tcp {SERVICE} > {CLIENT} SA hops 63"));
        assert_eq!(lab.run("from_pod", "pod2", &tcp(POD, CLIENT, SYN | ACK)), back);
    }
    assert!(established(&lab).is_empty(), "nobody has acknowledged");
    let there = redirect(&format!("tcp {CLIENT} > {POD} A hops 63"));
    assert_eq!(lab.run("from_uplink", "uplink", &tcp_with(CLIENT, POD, ACK, b"question")), there);
    let back = redirect(&format!("tcp {SERVICE} > {CLIENT} A hops 63"));
    assert_eq!(lab.run("from_pod", "pod2", &tcp_with(POD, CLIENT, ACK, b"answer")), back);
    assert_eq!(established(&lab), [0, mark::REVERSE]);
    lab.run("from_uplink", "uplink", &tcp(CLIENT, POD, FIN | ACK));
    lab.run("from_pod", "pod2", &tcp(POD, CLIENT, FIN | ACK));
    assert_eq!(established(&lab), [mark::FIN, mark::FIN | mark::REVERSE], "both ends are seen");
    // The client's next connection from that port.
    let there = redirect(&format!("tcp {CLIENT} > {POD} S hops 63"));
    assert_eq!(lab.run("from_uplink", "uplink", &first), there);
    assert!(established(&lab).is_empty());
    lab.run("from_pod", "pod2", &tcp(POD, CLIENT, ACK));
    lab.run("from_uplink", "uplink", &tcp(CLIENT, POD, RST));
    assert_eq!(established(&lab), [mark::REVERSE, mark::RESET]);
}

#[test]
fn datagrams_are_answered_as_the_service_from_the_first_on() {
    let Some(mut lab) = Lab::new("direct-udp") else { return };
    lab.external(&[direct(external(Udp, "203.0.113.5:53", &["10.244.2.9:53"]))]);
    let (pod, service) = ("10.244.1.3:53", "203.0.113.5:53");
    for _ in 0..2 {
        let there = redirect(&format!("udp {CLIENT} > {pod} hops 63"));
        let question = marked(&udp(CLIENT, pod, b"question"), service);
        assert_eq!(lab.run("from_uplink", "uplink", &question), there);
        let back = redirect(&format!("udp {service} > {CLIENT} hops 63"));
        assert_eq!(lab.run("from_pod", "pod2", &udp(pod, CLIENT, b"answer")), back);
    }
    assert_eq!(established(&lab), [0, mark::REVERSE]);
    let count = (0..8).map(|_| lab.dataplane.packets().unwrap().collect().unwrap()).last().unwrap();
    assert_eq!(count.established, 1, "whose backend it is the other node knows");
}

#[test]
fn a_node_port_of_another_node_is_this_ones_too() {
    let Some(mut lab) = Lab::new("direct-port") else { return };
    lab.external(&[direct(external(Tcp, &format!("{NODE}:30080"), &["10.244.1.3:8080"]))]);
    let asked = "172.30.0.12:30080";
    lab.run("from_uplink", "uplink", &marked(&tcp(CLIENT, POD, SYN), asked));
    let back = redirect(&format!("tcp {asked} > {CLIENT} SA hops 63"));
    assert_eq!(lab.run("from_pod", "pod2", &tcp(POD, CLIENT, SYN | ACK)), back);
}

#[test]
fn a_process_of_the_node_answers_as_the_service() {
    let Some(mut lab) = Lab::new("direct-host") else { return };
    lab.external(&[direct(external(Tcp, SERVICE, &["172.30.0.12:8443"]))]);
    let there = pass(&format!("tcp {CLIENT} > {NODE}:8443 S"));
    let first = marked(&tcp(CLIENT, &format!("{NODE}:8443"), SYN), SERVICE);
    assert_eq!(lab.run("from_uplink", "uplink", &first), there);
    let back = pass(&format!("tcp {SERVICE} > {CLIENT} SA"));
    let answer = tcp(&format!("{NODE}:8443"), CLIENT, SYN | ACK);
    assert_eq!(lab.run("to_uplink", "uplink", &answer), back);
}

#[test]
fn the_option_is_believed_only_of_a_service_that_is_answered_directly() {
    let Some(mut lab) = Lab::new("direct-doubt") else { return };
    lab.external(&[external(Tcp, SERVICE, &[POD])]);
    for service in [SERVICE, "203.0.113.99:80"] {
        let first = marked(&tcp(CLIENT, POD, SYN), service);
        let text = tell(&first).replace(" for", " S for").replace(" S S", " S");
        assert_eq!(lab.run("from_uplink", "uplink", &first), redirect(&format!("{text} hops 63")));
        let back = redirect(&format!("tcp {POD} > {CLIENT} SA hops 63"));
        assert_eq!(lab.run("from_pod", "pod2", &tcp(POD, CLIENT, SYN | ACK)), back);
    }
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

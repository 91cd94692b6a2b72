//! ICMP errors about translated packets.

use keelson_dataplane::plan::Protocol::{Tcp, Udp};

use crate::{
    lab::{Lab, frontend, pass, redirect},
    packet::{SYN, icmp_error, tcp, udp},
};

/// Fragmentation needed; port unreachable; time exceeded.
const TOO_BIG: [u8; 2] = [3, 4];
const CLOSED: [u8; 2] = [3, 3];
const EXCEEDED: [u8; 2] = [11, 0];

#[test]
fn an_error_is_about_the_packet_that_was_sent() {
    let Some(mut lab) = Lab::new("errors") else { return };
    lab.frontends(&[
        frontend(Tcp, "10.96.0.7:80", &["10.244.2.9:8080"]),
        frontend(Udp, "10.96.0.7:53", &["10.244.1.3:5353"]),
    ]);
    let (_, there) = lab.bytes("from_pod", "pod1", &tcp("10.244.1.2:4000", "10.96.0.7:80", SYN));
    let (_, asked) = lab.bytes("from_pod", "pod1", &udp("10.244.1.2:4000", "10.96.0.7:53", b"question"));
    // From a router, off the wire and through the stack.
    let about = "[tcp 10.244.1.2:4000 > 10.96.0.7:80]";
    for (kind, name) in [(TOO_BIG, "3.4"), (EXCEEDED, "11.0")] {
        let error = icmp_error("172.30.0.1", "10.244.1.2", kind, &there);
        let text = format!("error {name} 172.30.0.1 > 10.244.1.2 about {about}");
        assert_eq!(lab.run("from_uplink", "uplink", &error), redirect(&format!("{text} hops 63")));
        assert_eq!(lab.run("to_pod", "pod1", &error), pass(&text));
    }
    // From the backend, whom nobody knows.
    let error = icmp_error("10.244.1.3", "10.244.1.2", CLOSED, &asked);
    assert_eq!(
        lab.run("from_pod", "pod2", &error),
        redirect("error 3.3 10.96.0.7 > 10.244.1.2 about [udp 10.244.1.2:4000 > 10.96.0.7:53] hops 63")
    );
    // About another packet.
    let other = udp("10.244.1.2:9", "10.244.1.3:5353", b"question");
    let error = icmp_error("10.244.1.3", "10.244.1.2", CLOSED, &other);
    assert_eq!(
        lab.run("from_pod", "pod2", &error),
        redirect("error 3.3 10.244.1.3 > 10.244.1.2 about [udp 10.244.1.2:9 > 10.244.1.3:5353] hops 63")
    );
}

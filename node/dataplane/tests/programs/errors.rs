//! ICMP errors about translated packets.

use keelson_dataplane::plan::Protocol::{Tcp, Udp};

use crate::{
    lab::{Lab, frontend, pass, redirect},
    packet::{SYN, echo, icmp_error, icmp6_error, tcp, udp},
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

#[test]
fn an_error_of_ipv6_is_about_the_packet_that_was_sent() {
    let Some(mut lab) = Lab::new("errors6") else { return };
    lab.frontends(&[
        frontend(Tcp, "[fd00:96::7]:80", &["[fd00:2::9]:8080"]),
        frontend(Udp, "[fd00:96::7]:53", &["[fd00:1::3]:5353"]),
    ]);
    let (_, there) = lab.bytes("from_pod", "pod1", &tcp("[fd00:1::2]:4000", "[fd00:96::7]:80", SYN));
    let (_, asked) = lab.bytes("from_pod", "pod1", &udp("[fd00:1::2]:4000", "[fd00:96::7]:53", b"question"));
    // Too big; time exceeded.
    for (kind, name) in [([2, 0], "2.0"), ([3, 0], "3.0")] {
        let error = icmp6_error("fd00:30::1", "fd00:1::2", kind, &there);
        let about = "[tcp [fd00:1::2]:4000 > [fd00:96::7]:80]";
        let text = format!("error {name} fd00:30::1 > fd00:1::2 about {about}");
        assert_eq!(lab.run("from_uplink", "uplink", &error), redirect(&format!("{text} hops 63")));
        assert_eq!(lab.run("to_pod", "pod1", &error), pass(&text));
    }
    // Port unreachable, from the backend, whom nobody knows.
    let error = icmp6_error("fd00:1::3", "fd00:1::2", [1, 4], &asked);
    assert_eq!(
        lab.run("from_pod", "pod2", &error),
        redirect("error 1.4 fd00:96::7 > fd00:1::2 about [udp [fd00:1::2]:4000 > [fd00:96::7]:53] hops 63")
    );
    // About another packet.
    let other = udp("[fd00:1::2]:9", "[fd00:1::3]:5353", b"question");
    let error = icmp6_error("fd00:1::3", "fd00:1::2", [1, 4], &other);
    assert_eq!(
        lab.run("from_pod", "pod2", &error),
        redirect("error 1.4 fd00:1::3 > fd00:1::2 about [udp [fd00:1::2]:9 > [fd00:1::3]:5353] hops 63")
    );
    // Of a pod that is out in the world by the node's address.
    let (_, out) = lab.bytes("to_uplink", "uplink", &echo("fd00:1::2", "2001:db8::9", 9, false));
    let error = icmp6_error("fd00:30::1", "fd00:30::11", [3, 0], &out);
    assert_eq!(
        lab.run("from_uplink", "uplink", &error),
        redirect("error 3.0 fd00:30::1 > fd00:1::2 about [echo fd00:1::2 > 2001:db8::9 id 9] hops 63")
    );
}

#[test]
fn an_error_about_a_packet_that_was_translated_twice_is_translated_back_twice() {
    let Some(mut lab) = Lab::new("errors-twice") else { return };
    // The backend is outside of the cluster: first the packet is the Service's, then it gets the node's address.
    for (pod, service, backend, node, router) in [
        ("10.244.1.2:4000", "10.96.0.7:80", "198.51.100.9:8080", "172.30.0.11", "172.30.0.1"),
        ("[fd00:1::2]:4000", "[fd00:96::7]:80", "[2001:db8::9]:8080", "fd00:30::11", "fd00:30::1"),
    ] {
        lab.frontends(&[frontend(Tcp, service, &[backend])]);
        let (_, between) = lab.bytes("from_pod", "pod1", &tcp(pod, service, SYN));
        let (_, out) = lab.bytes("to_uplink", "uplink", &between);
        let ip = pod.rsplit_once(':').unwrap().0.trim_matches(['[', ']']);
        let (error, name) = match ip.contains(':') {
            true => (icmp6_error(router, node, [2, 0], &out), "2.0"),
            false => (icmp_error(router, node, TOO_BIG, &out), "3.4"),
        };
        let text = format!("error {name} {router} > {ip} about [tcp {pod} > {service}] hops 63");
        assert_eq!(lab.run("from_uplink", "uplink", &error), redirect(&text));
    }
}

//! Packets that nobody translates: straight to the other pod or the uplink, or left to the stack.

use crate::{
    altered::with_hops,
    lab::{Fate, Lab, pass, redirect},
    packet::{ACK, HOST_MAC, POD_MAC, SYN, echo, tcp, tcp_with, udp},
};

#[test]
fn a_pods_packets_go_the_shortest_way() {
    let Some(mut lab) = Lab::new("shortest") else { return };
    let rows: Vec<(&str, &str, Vec<u8>, Fate)> = vec![
        // To a pod of the node.
        (
            "from_pod",
            "pod1",
            tcp("10.244.1.2:4000", "10.244.1.3:80", SYN),
            redirect("tcp 10.244.1.2:4000 > 10.244.1.3:80 S hops 63"),
        ),
        (
            "from_pod",
            "pod1",
            echo("10.244.1.2", "10.244.1.3", 7, false),
            redirect("echo 10.244.1.2 > 10.244.1.3 id 7 hops 63"),
        ),
        (
            "from_pod",
            "pod1",
            tcp("[fd00:1::2]:4000", "[fd00:1::3]:80", SYN),
            redirect("tcp [fd00:1::2]:4000 > [fd00:1::3]:80 S hops 63"),
        ),
        // To a pod of another node, and to the world.
        (
            "from_pod",
            "pod1",
            udp("10.244.1.2:4000", "10.244.2.9:53", b"x"),
            redirect("udp 10.244.1.2:4000 > 10.244.2.9:53 hops 63"),
        ),
        (
            "from_pod",
            "pod1",
            tcp("[fd00:1::2]:4000", "[fd00:2::9]:80", SYN),
            redirect("tcp [fd00:1::2]:4000 > [fd00:2::9]:80 S hops 63"),
        ),
        (
            "from_pod",
            "pod1",
            tcp("10.244.1.2:4000", "198.51.100.7:443", SYN),
            redirect("tcp 10.244.1.2:4000 > 198.51.100.7:443 S hops 63"),
        ),
        // To the node itself; at the end of its hops; from an address that is another pod's, or nobody's.
        (
            "from_pod",
            "pod1",
            tcp("10.244.1.2:4000", "172.30.0.11:10250", SYN),
            pass("tcp 10.244.1.2:4000 > 172.30.0.11:10250 S"),
        ),
        (
            "from_pod",
            "pod1",
            with_hops(tcp("10.244.1.2:4000", "10.244.1.3:80", ACK), 1),
            pass("tcp 10.244.1.2:4000 > 10.244.1.3:80 A hops 1"),
        ),
        (
            "from_pod",
            "pod1",
            with_hops(tcp("10.244.1.2:4000", "10.244.2.3:80", ACK), 1),
            pass("tcp 10.244.1.2:4000 > 10.244.2.3:80 A hops 1"),
        ),
        (
            "from_pod",
            "pod1",
            tcp("10.244.1.3:4000", "10.244.2.9:80", SYN),
            pass("tcp 10.244.1.3:4000 > 10.244.2.9:80 S"),
        ),
        (
            "from_pod",
            "pod1",
            tcp("192.0.2.1:4000", "10.244.1.3:80", SYN),
            pass("tcp 192.0.2.1:4000 > 10.244.1.3:80 S"),
        ),
        // No route leads there.
        (
            "from_pod",
            "pod1",
            tcp("[fd00:1::2]:4000", "[2001:db8::9]:80", SYN),
            pass("tcp [fd00:1::2]:4000 > [2001:db8::9]:80 S"),
        ),
        // Off the wire.
        (
            "from_uplink",
            "uplink",
            tcp("10.244.2.9:4000", "10.244.1.3:80", SYN),
            redirect("tcp 10.244.2.9:4000 > 10.244.1.3:80 S hops 63"),
        ),
        (
            "from_uplink",
            "uplink",
            tcp("172.30.0.12:4000", "172.30.0.11:10250", SYN),
            pass("tcp 172.30.0.12:4000 > 172.30.0.11:10250 S"),
        ),
        (
            "from_uplink",
            "uplink",
            tcp("10.244.2.9:4000", "10.244.3.3:80", SYN),
            pass("tcp 10.244.2.9:4000 > 10.244.3.3:80 S"),
        ),
        // From the stack.
        (
            "to_pod",
            "pod1",
            tcp("172.30.0.11:4000", "10.244.1.2:80", SYN),
            pass("tcp 172.30.0.11:4000 > 10.244.1.2:80 S"),
        ),
        (
            "to_uplink",
            "uplink",
            tcp("10.244.1.2:4000", "10.244.2.9:80", SYN),
            pass("tcp 10.244.1.2:4000 > 10.244.2.9:80 S"),
        ),
        (
            "to_uplink",
            "uplink",
            tcp("172.30.0.11:4000", "198.51.100.7:80", SYN),
            pass("tcp 172.30.0.11:4000 > 198.51.100.7:80 S"),
        ),
    ];
    for (program, link, packet, fate) in rows {
        assert_eq!(lab.run(program, link, &packet), fate, "{program}");
    }
}

#[test]
fn what_is_not_ip_passes_as_it_is() {
    let Some(mut lab) = Lab::new("strange") else { return };
    let arp = [vec![0xff; 6], vec![2; 6], vec![8, 6, 0, 1, 8, 0, 6, 4, 0, 1], vec![0; 20]].concat();
    // A version that is none, and a packet that ends within its header.
    let mut version = udp("10.244.1.2:4000", "10.244.1.3:53", b"x");
    version[14] = 0x35;
    let short = udp("10.244.1.2:4000", "10.244.1.3:53", b"x")[..36].to_vec();
    for program in ["from_pod", "to_pod", "from_uplink", "to_uplink"] {
        for packet in [&arp, &version] {
            assert_eq!(lab.bytes(program, "pod1", packet), (-1, packet.clone()), "{program}");
        }
    }
    // Without ports there are still addresses.
    let (verdict, bytes) = lab.bytes("from_pod", "pod1", &short);
    assert_eq!((verdict, bytes[22]), (7, 63));
}

#[test]
fn a_pod_is_sent_frames_of_its_own() {
    let Some(mut lab) = Lab::new("frames") else { return };
    let mut packet = tcp_with("10.244.2.9:4000", "10.244.1.3:80", ACK, b"hello");
    packet[..12].copy_from_slice(&[1; 12]);
    let (verdict, bytes) = lab.bytes("from_uplink", "uplink", &packet);
    assert_eq!(verdict, 7);
    assert_eq!((&bytes[..6], &bytes[6..12]), (&POD_MAC[..], &HOST_MAC[..]));
    assert_eq!(&bytes[54..], b"hello");
}

#[test]
fn without_an_uplink_what_goes_elsewhere_is_the_stacks() {
    let Some(mut lab) = Lab::with("no-uplink", |options| options.uplink = None) else { return };
    let packet = tcp("10.244.1.2:4000", "10.244.2.9:80", SYN);
    assert_eq!(lab.bytes("from_pod", "pod1", &packet), (-1, packet));
}

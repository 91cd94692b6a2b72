//! Nodes that are not adjacent: packets to and from their pods go by the tunnel's device, for which a pair of links stands here.

use keelson_dataplane::{
    TunnelDevice,
    plan::Protocol::{Tcp, Udp},
};
use keelson_ebpf_common::drop::Reason;

use crate::{
    altered::dividable,
    lab::{Fate, Lab, external, ip, pass, redirect},
    packet::{ACK, SYN, port_of, tcp, tcp_with, tell, udp},
};

const LINK: &str = "keelson-vxlan";
/// The node's own addresses there.
const OWN: [&str; 2] = ["10.244.1.0", "fd00:1::"];
const CLIENT: &str = "198.51.100.7:5000";

fn lab(name: &str) -> Option<Lab> {
    let mut lab = Lab::new(name)?;
    for words in [
        "link add keelson-vxlan type veth peer name far",
        "link set keelson-vxlan mtu 1450",
        "link set far up",
        "link set keelson-vxlan up",
        "address add 10.244.1.0/32 dev keelson-vxlan",
        "-6 address add fd00:1::/128 dev keelson-vxlan nodad",
        "neigh add 10.244.7.0 dev keelson-vxlan lladdr 0a:4b:00:00:00:07",
        "route add 10.244.7.0/24 via 10.244.7.0 dev keelson-vxlan onlink",
        "neigh add fe80::7 dev keelson-vxlan lladdr 0a:4b:00:00:00:07",
        "-6 route add fd00:7::/64 via fe80::7 dev keelson-vxlan",
    ] {
        ip(words);
    }
    set(&mut lab, true);
    Some(lab)
}

fn set(lab: &mut Lab, there: bool) {
    let addresses = OWN.map(|address| address.parse().unwrap()).into();
    let device = TunnelDevice { name: LINK.into(), addresses };
    let devices = if there { vec![device] } else { vec![] };
    lab.dataplane.packets().unwrap().set_tunnels(&devices).unwrap();
}

#[test]
fn a_pods_packets_take_it_as_long_as_they_fit() {
    let Some(mut lab) = lab("tunnel-pods") else { return };
    let (fits, long) = ([0; 1410], [0; 1411]);
    let rows: [(Vec<u8>, Fate); 7] = [
        (
            tcp("10.244.1.2:4000", "10.244.7.9:80", SYN),
            redirect("tcp 10.244.1.2:4000 > 10.244.7.9:80 S hops 63"),
        ),
        (
            tcp("[fd00:1::2]:4000", "[fd00:7::9]:80", SYN),
            redirect("tcp [fd00:1::2]:4000 > [fd00:7::9]:80 S hops 63"),
        ),
        (
            tcp_with("10.244.1.2:4000", "10.244.7.9:80", ACK, &fits),
            redirect("tcp 10.244.1.2:4000 > 10.244.7.9:80 A hops 63"),
        ),
        // The stack tells the pod how long they may be, or divides them.
        (
            tcp_with("10.244.1.2:4000", "10.244.7.9:80", ACK, &long),
            pass("tcp 10.244.1.2:4000 > 10.244.7.9:80 A"),
        ),
        (
            tcp_with("[fd00:1::2]:4000", "[fd00:7::9]:80", ACK, &long),
            pass("tcp [fd00:1::2]:4000 > [fd00:7::9]:80 A"),
        ),
        // To adjacent nodes they may be longer. The node's own address inside is the node's.
        (
            tcp_with("10.244.1.2:4000", "10.244.2.9:80", ACK, &long),
            redirect("tcp 10.244.1.2:4000 > 10.244.2.9:80 A hops 63"),
        ),
        (tcp("10.244.1.2:4000", "10.244.1.0:10250", SYN), pass("tcp 10.244.1.2:4000 > 10.244.1.0:10250 S")),
    ];
    for (packet, fate) in rows {
        assert_eq!(lab.run("from_pod", "pod1", &packet), fate);
    }
    // What comes by it goes straight to its pod.
    let there = redirect("tcp 10.244.7.9:80 > 10.244.1.2:4000 SA hops 63");
    assert_eq!(lab.run("from_uplink", LINK, &tcp("10.244.7.9:80", "10.244.1.2:4000", SYN | ACK)), there);
    set(&mut lab, false);
    let packet = tcp("10.244.1.2:4000", "10.244.7.9:80", SYN);
    assert_eq!(lab.bytes("from_pod", "pod1", &packet), (-1, packet), "nothing is known of it any more");
}

#[test]
fn a_backend_behind_it_answers_to_the_nodes_address_there() {
    let Some(mut lab) = lab("tunnel-outside") else { return };
    lab.external(&[
        external(Tcp, "172.30.0.11:30080", &["10.244.7.9:8080"]),
        external(Tcp, "[fd00:30::11]:30080", &["[fd00:7::9]:8080"]),
    ]);
    ip("-6 route add 2001:db8::/32 via fd00:30::1");
    let rows = [
        (CLIENT, "172.30.0.11:30080", "10.244.7.9:8080", "10.244.1.0"),
        ("[2001:db8::7]:5000", "[fd00:30::11]:30080", "[fd00:7::9]:8080", "[fd00:1::]"),
    ];
    for (client, asked, backend, own) in rows {
        let (verdict, there) = lab.bytes("from_uplink", "uplink", &tcp(client, asked, SYN));
        let own = format!("{own}:{}", port_of(&there));
        assert_eq!((verdict, tell(&there)), (7, format!("tcp {own} > {backend} S hops 63")));
        let back = redirect(&format!("tcp {asked} > {client} SA hops 63"));
        assert_eq!(lab.run("from_uplink", LINK, &tcp(backend, &own, SYN | ACK)), back);
    }
}

#[test]
fn who_is_outside_is_told_how_long_packets_may_be() {
    let Some(mut lab) = lab("tunnel-long") else { return };
    lab.external(&[
        external(Udp, "203.0.113.5:53", &["10.244.7.9:53"]),
        external(Udp, "[2001:db8:5::5]:53", &["[fd00:7::9]:53"]),
    ]);
    ip("-6 route add 2001:db8::/32 via fd00:30::1");
    let rows = [
        (CLIENT, "203.0.113.5:53", 1422, "3.4", 40),
        ("[2001:db8::7]:5000", "[2001:db8:5::5]:53", 1402, "2.0", 60),
    ];
    for (client, asked, longest, kind, mtu_at) in rows {
        let (verdict, there) = lab.bytes("from_uplink", "uplink", &udp(client, asked, &vec![0; longest]));
        assert!(verdict == 7 && tell(&there).starts_with("udp "), "{verdict} {}", tell(&there));
        let (verdict, error) = lab.bytes("from_uplink", "uplink", &udp(client, asked, &vec![0; longest + 1]));
        let host = |socket: &str| socket.parse::<std::net::SocketAddr>().unwrap().ip();
        let (from, to) = (host(asked), host(client));
        let text = format!("error {kind} {from} > {to} about [udp {client} > {asked}]");
        assert_eq!((verdict, tell(&error)), (7, text));
        assert_eq!(error[mtu_at..mtu_at + 2], 1450_u16.to_be_bytes());
    }
    // One that may be divided is, around what it is wrapped in.
    let packet = dividable(udp(CLIENT, "203.0.113.5:53", &[0; 1423]));
    let (verdict, there) = lab.bytes("from_uplink", "uplink", &packet);
    assert!(verdict == 7 && tell(&there).starts_with("udp 10.244.1.0:"), "{verdict} {}", tell(&there));
    // Without the tunnel there is no way.
    set(&mut lab, false);
    let packet = tcp(CLIENT, "203.0.113.5:53", SYN);
    assert_eq!(lab.run("from_uplink", "uplink", &packet), pass(&tell(&packet)));
    assert_eq!(lab.run("from_uplink", "uplink", &udp(CLIENT, "203.0.113.5:53", &[0; 9])), Fate::Drop);
    assert_eq!(lab.dropped(Reason::NoRoute), 1);
}

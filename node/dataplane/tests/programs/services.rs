//! Services asked for packet by packet: there and back, established, refused, echoed, in fragments.

use keelson_dataplane::plan::Protocol::{Tcp, Udp};
use keelson_ebpf_common::{drop::Reason, layout, limits};

use crate::{
    altered::fragments,
    lab::{Fate, Lab, frontend, pass, redirect},
    packet::{ACK, FIN, RST, SYN, echo, port_of, tcp, tcp_with, tell, udp, udp_unsummed},
};

#[test]
fn a_flow_is_translated_both_ways() {
    let Some(mut lab) = Lab::new("both-ways") else { return };
    lab.frontends(&[
        frontend(Tcp, "10.96.0.7:80", &["10.244.1.3:8080"]),
        frontend(Tcp, "10.96.0.8:80", &["10.244.2.9:8080"]),
        frontend(Udp, "10.96.0.9:53", &["10.244.1.3:5353"]),
        frontend(Tcp, "[fd00:96::7]:80", &["[fd00:1::3]:8080"]),
        frontend(Udp, "[fd00:96::7]:53", &["[fd00:2::9]:5353"]),
    ]);
    let rows: Vec<(&str, &str, Vec<u8>, Fate)> = vec![
        // The backend is a pod of the node.
        (
            "from_pod",
            "pod1",
            tcp("10.244.1.2:4000", "10.96.0.7:80", SYN),
            redirect("tcp 10.244.1.2:4000 > 10.244.1.3:8080 S hops 63"),
        ),
        (
            "from_pod",
            "pod2",
            tcp("10.244.1.3:8080", "10.244.1.2:4000", SYN | ACK),
            redirect("tcp 10.96.0.7:80 > 10.244.1.2:4000 SA hops 63"),
        ),
        (
            "from_pod",
            "pod1",
            tcp_with("10.244.1.2:4000", "10.96.0.7:80", ACK, b"odd"),
            redirect("tcp 10.244.1.2:4000 > 10.244.1.3:8080 A hops 63"),
        ),
        (
            "from_pod",
            "pod2",
            tcp_with("10.244.1.3:8080", "10.244.1.2:4000", ACK, b"even"),
            redirect("tcp 10.96.0.7:80 > 10.244.1.2:4000 A hops 63"),
        ),
        // What only looks like it is nobody's.
        (
            "from_pod",
            "pod2",
            tcp("10.244.1.3:8080", "10.244.1.2:4001", ACK),
            redirect("tcp 10.244.1.3:8080 > 10.244.1.2:4001 A hops 63"),
        ),
        // Elsewhere; the answer comes off the wire, or through the stack.
        (
            "from_pod",
            "pod1",
            tcp("10.244.1.2:4000", "10.96.0.8:80", SYN),
            redirect("tcp 10.244.1.2:4000 > 10.244.2.9:8080 S hops 63"),
        ),
        (
            "from_uplink",
            "uplink",
            tcp("10.244.2.9:8080", "10.244.1.2:4000", SYN | ACK),
            redirect("tcp 10.96.0.8:80 > 10.244.1.2:4000 SA hops 63"),
        ),
        (
            "to_pod",
            "pod1",
            tcp("10.244.2.9:8080", "10.244.1.2:4000", ACK),
            pass("tcp 10.96.0.8:80 > 10.244.1.2:4000 A"),
        ),
        (
            "from_pod",
            "pod1",
            udp("10.244.1.2:4000", "10.96.0.9:53", b"question"),
            redirect("udp 10.244.1.2:4000 > 10.244.1.3:5353 hops 63"),
        ),
        (
            "from_pod",
            "pod2",
            udp_unsummed("10.244.1.3:5353", "10.244.1.2:4000", b"answer"),
            redirect("udp 10.96.0.9:53 > 10.244.1.2:4000 hops 63"),
        ),
        (
            "from_pod",
            "pod1",
            tcp("[fd00:1::2]:4000", "[fd00:96::7]:80", SYN),
            redirect("tcp [fd00:1::2]:4000 > [fd00:1::3]:8080 S hops 63"),
        ),
        (
            "from_pod",
            "pod2",
            tcp("[fd00:1::3]:8080", "[fd00:1::2]:4000", SYN | ACK),
            redirect("tcp [fd00:96::7]:80 > [fd00:1::2]:4000 SA hops 63"),
        ),
        (
            "from_pod",
            "pod1",
            udp("[fd00:1::2]:4000", "[fd00:96::7]:53", b"q"),
            redirect("udp [fd00:1::2]:4000 > [fd00:2::9]:5353 hops 63"),
        ),
        (
            "from_uplink",
            "uplink",
            udp("[fd00:2::9]:5353", "[fd00:1::2]:4000", b"a"),
            redirect("udp [fd00:96::7]:53 > [fd00:1::2]:4000 hops 63"),
        ),
    ];
    for (program, link, packet, fate) in rows {
        assert_eq!(lab.run(program, link, &packet), fate, "{program}");
    }
}

#[test]
fn a_flow_stays_with_its_backend_while_the_service_changes() {
    let Some(mut lab) = Lab::new("stays") else { return };
    lab.frontends(&[frontend(Tcp, "10.96.0.7:80", &["10.244.1.3:8080"])]);
    let open = |lab: &mut Lab, port: u16, flags| {
        lab.run("from_pod", "pod1", &tcp(&format!("10.244.1.2:{port}"), "10.96.0.7:80", flags))
    };
    assert_eq!(open(&mut lab, 1, SYN), redirect("tcp 10.244.1.2:1 > 10.244.1.3:8080 S hops 63"));
    lab.frontends(&[frontend(Tcp, "10.96.0.7:80", &["10.244.2.9:8080"])]);
    assert_eq!(open(&mut lab, 1, ACK), redirect("tcp 10.244.1.2:1 > 10.244.1.3:8080 A hops 63"));
    assert_eq!(open(&mut lab, 2, SYN), redirect("tcp 10.244.1.2:2 > 10.244.2.9:8080 S hops 63"));
}

#[test]
fn a_port_is_taken_anew_after_its_connection_is_over() {
    let Some(mut lab) = Lab::new("anew") else { return };
    lab.frontends(&[frontend(Tcp, "10.96.0.7:80", &["10.244.1.3:8080"])]);
    let ask = |lab: &mut Lab, flags| lab.run("from_pod", "pod1", &tcp("10.244.1.2:1", "10.96.0.7:80", flags));
    let answer =
        |lab: &mut Lab, flags| lab.run("from_pod", "pod2", &tcp("10.244.1.3:8080", "10.244.1.2:1", flags));
    ask(&mut lab, SYN);
    answer(&mut lab, SYN | ACK);
    ask(&mut lab, ACK);
    lab.frontends(&[frontend(Tcp, "10.96.0.7:80", &["10.244.2.9:8080"])]);
    // A SYN on a connection that goes on belongs to it.
    assert_eq!(ask(&mut lab, SYN), redirect("tcp 10.244.1.2:1 > 10.244.1.3:8080 S hops 63"));
    answer(&mut lab, FIN | ACK);
    assert_eq!(ask(&mut lab, SYN), redirect("tcp 10.244.1.2:1 > 10.244.2.9:8080 S hops 63"));
}

#[test]
fn a_flood_of_new_flows_displaces_no_established_one() {
    let Some(mut lab) = Lab::new("flood") else { return };
    lab.frontends(&[frontend(Tcp, "10.96.0.7:80", &["10.244.1.3:8080"])]);
    let ask = |lab: &mut Lab, port: u32, flags| {
        let from = format!("10.244.1.2:{}", port + 1);
        lab.run("from_pod", "pod1", &tcp(&from, "10.96.0.7:80", flags))
    };
    ask(&mut lab, 0, SYN);
    lab.run("from_pod", "pod2", &tcp("10.244.1.3:8080", "10.244.1.2:1", SYN | ACK));
    ask(&mut lab, 0, ACK);
    // Nobody answers this one.
    ask(&mut lab, 1, SYN);
    for port in 2..limits::CONNTRACK_NEW_MAX * 2 {
        ask(&mut lab, port, SYN);
    }
    lab.frontends(&[frontend(Tcp, "10.96.0.7:80", &["10.244.2.9:8080"])]);
    assert_eq!(ask(&mut lab, 0, ACK), redirect("tcp 10.244.1.2:1 > 10.244.1.3:8080 A hops 63"));
    assert_eq!(ask(&mut lab, 1, ACK), redirect("tcp 10.244.1.2:2 > 10.244.2.9:8080 A hops 63"));
}

#[test]
fn two_services_with_one_backend_can_be_told_apart() {
    let Some(mut lab) = Lab::new("apart") else { return };
    lab.frontends(&[
        frontend(Tcp, "10.96.0.7:80", &["10.244.1.3:8080"]),
        frontend(Tcp, "10.96.0.8:80", &["10.244.1.3:8080"]),
    ]);
    for service in ["10.96.0.7:80", "10.96.0.8:80"] {
        let (_, there) = lab.bytes("from_pod", "pod1", &tcp("10.244.1.2:4000", service, SYN));
        let port = port_of(&there);
        assert_eq!(port == 4000, service == "10.96.0.7:80", "the second is given another port");
        let back = tcp("10.244.1.3:8080", &format!("10.244.1.2:{port}"), SYN | ACK);
        let fate = redirect(&format!("tcp {service} > 10.244.1.2:4000 SA hops 63"));
        assert_eq!(lab.run("from_pod", "pod2", &back), fate);
    }
}

#[test]
fn a_pod_reaches_itself_by_the_nodes_address() {
    let Some(mut lab) = Lab::new("hairpin") else { return };
    lab.frontends(&[
        frontend(Tcp, "10.96.0.7:80", &["10.244.1.2:8080"]),
        frontend(Tcp, "[fd00:96::7]:80", &["[fd00:1::2]:8080"]),
    ]);
    for (pod, service, node, backend) in [
        ("10.244.1.2:4000", "10.96.0.7:80", "172.30.0.11", "10.244.1.2:8080"),
        ("[fd00:1::2]:4000", "[fd00:96::7]:80", "[fd00:30::11]", "[fd00:1::2]:8080"),
    ] {
        let (verdict, there) = lab.bytes("from_pod", "pod1", &tcp(pod, service, SYN));
        let seen = format!("{node}:{}", port_of(&there));
        assert_eq!((verdict, tell(&there)), (7, format!("tcp {seen} > {backend} S hops 63")));
        let fate = redirect(&format!("tcp {service} > {pod} SA hops 63"));
        assert_eq!(lab.run("from_pod", "pod1", &tcp(backend, &seen, SYN | ACK)), fate);
    }
}

#[test]
fn a_service_without_backends_refuses_as_a_closed_port_does() {
    let Some(mut lab) = Lab::new("refuse") else { return };
    lab.frontends(&[
        frontend(Tcp, "10.96.0.7:80", &[]),
        frontend(Udp, "10.96.0.7:53", &[]),
        frontend(Tcp, "[fd00:96::7]:80", &[]),
        frontend(Udp, "[fd00:96::7]:53", &[]),
    ]);
    let rows: Vec<(Vec<u8>, Fate)> = vec![
        (tcp("10.244.1.2:4000", "10.96.0.7:80", SYN), redirect("tcp 10.96.0.7:80 > 10.244.1.2:4000 AR")),
        (tcp("10.244.1.2:4000", "10.96.0.7:80", ACK), redirect("tcp 10.96.0.7:80 > 10.244.1.2:4000 R")),
        (
            tcp("[fd00:1::2]:4000", "[fd00:96::7]:80", SYN),
            redirect("tcp [fd00:96::7]:80 > [fd00:1::2]:4000 AR"),
        ),
        (
            udp("10.244.1.2:4000", "10.96.0.7:53", b"a question"),
            redirect("error 3.3 10.96.0.7 > 10.244.1.2 about [udp 10.244.1.2:4000 > 10.96.0.7:53]"),
        ),
        (
            udp("10.244.1.2:4000", "10.96.0.7:53", b""),
            redirect("error 3.3 10.96.0.7 > 10.244.1.2 about [udp 10.244.1.2:4000 > 10.96.0.7:53]"),
        ),
        (
            udp("[fd00:1::2]:4000", "[fd00:96::7]:53", b"a question"),
            redirect("error 1.4 fd00:96::7 > fd00:1::2 about [udp [fd00:1::2]:4000 > [fd00:96::7]:53]"),
        ),
        // Nobody answers a reset; data of an unknown flow is dropped.
        (tcp("10.244.1.2:4000", "10.96.0.7:80", RST), Fate::Drop),
        (tcp_with("10.244.1.2:4000", "10.96.0.7:80", ACK, b"data"), Fate::Drop),
    ];
    for (packet, fate) in rows {
        assert_eq!(lab.run("from_pod", "pod1", &packet), fate, "{}", tell(&packet));
    }
    assert_eq!((lab.dropped(Reason::Refused), lab.dropped(Reason::Unanswered)), (6, 2));
}

#[test]
fn a_reset_acknowledges_what_it_refuses() {
    let Some(mut lab) = Lab::new("reset") else { return };
    lab.frontends(&[frontend(Tcp, "10.96.0.7:80", &[])]);
    let numbers = |bytes: &[u8]| (bytes[38..42].to_vec(), bytes[42..46].to_vec());
    // Sequence 0xffffffff, acknowledged 7: see `packet`.
    let (_, to_syn) = lab.bytes("from_pod", "pod1", &tcp("10.244.1.2:1", "10.96.0.7:80", SYN));
    assert_eq!(numbers(&to_syn), (vec![0; 4], vec![0; 4]), "the next number, which wraps around");
    let (_, to_ack) = lab.bytes("from_pod", "pod1", &tcp("10.244.1.2:1", "10.96.0.7:80", ACK));
    assert_eq!(numbers(&to_ack), (vec![0, 0, 0, 7], vec![0; 4]));
    assert_eq!(to_syn.len(), 54, "options are gone");
}

#[test]
fn the_address_of_a_service_answers_to_echo() {
    let Some(mut lab) = Lab::new("echo") else { return };
    lab.frontends(&[
        frontend(Tcp, "10.96.0.7:80", &["10.244.1.3:8080"]),
        frontend(Tcp, "10.96.0.7:81", &[]),
        frontend(Tcp, "[fd00:96::7]:80", &[]),
    ]);
    let ask = echo("10.244.1.2", "10.96.0.7", 9, false);
    let answered = redirect("answer 10.96.0.7 > 10.244.1.2 id 9");
    assert_eq!(lab.run("from_pod", "pod1", &ask), answered);
    assert_eq!(
        lab.run("from_pod", "pod1", &echo("fd00:1::2", "fd00:96::7", 9, false)),
        redirect("answer fd00:96::7 > fd00:1::2 id 9")
    );
    // As long as a frontend has it, and no longer.
    let [one, other] = ["10.96.0.7:80", "10.96.0.7:81"].map(|service| crate::lab::key(Tcp, service));
    lab.dataplane.change(&[one], &[]).unwrap();
    assert_eq!(lab.run("from_pod", "pod1", &ask), answered);
    lab.dataplane.change(&[other], &[]).unwrap();
    assert_eq!(lab.run("from_pod", "pod1", &ask), redirect("echo 10.244.1.2 > 10.96.0.7 id 9 hops 63"));
}

#[test]
fn a_node_port_of_the_pods_own_node_is_a_service_and_the_node_itself_is_not() {
    let Some(mut lab) = Lab::new("own-node") else { return };
    lab.frontends(&[
        frontend(Tcp, "172.30.0.11:30080", &["10.244.1.3:8080"]),
        frontend(Tcp, "[fd00:30::11]:30080", &["[fd00:1::3]:8080"]),
    ]);
    for (pod, node, backend) in [
        ("10.244.1.2:4000", "172.30.0.11", "10.244.1.3:8080"),
        ("[fd00:1::2]:4000", "[fd00:30::11]", "[fd00:1::3]:8080"),
    ] {
        let asked = format!("{node}:30080");
        let fate = redirect(&format!("tcp {pod} > {backend} S hops 63"));
        assert_eq!(lab.run("from_pod", "pod1", &tcp(pod, &asked, SYN)), fate);
        let fate = redirect(&format!("tcp {asked} > {pod} SA hops 63"));
        assert_eq!(lab.run("from_pod", "pod2", &tcp(backend, pod, SYN | ACK)), fate);
        let own = format!("{node}:10250");
        assert_eq!(lab.run("from_pod", "pod1", &tcp(pod, &own, SYN)), pass(&format!("tcp {pod} > {own} S")));
    }
    // The node answers for itself.
    let ask = echo("10.244.1.2", "172.30.0.11", 9, false);
    assert_eq!(lab.run("from_pod", "pod1", &ask), pass("echo 10.244.1.2 > 172.30.0.11 id 9"));
}

#[test]
fn later_fragments_follow_the_first() {
    let Some(mut lab) = Lab::new("fragments") else { return };
    lab.frontends(&[
        frontend(Udp, "10.96.0.7:53", &["10.244.1.3:5353"]),
        frontend(Udp, "[fd00:96::7]:53", &["[fd00:1::3]:5353"]),
    ]);
    for (pod, service, other, head) in
        [("10.244.1.2", "10.96.0.7", "10.244.1.3", 34), ("fd00:1::2", "fd00:96::7", "fd00:1::3", 54)]
    {
        let at =
            |address: &str, port: u16| std::net::SocketAddr::new(address.parse().unwrap(), port).to_string();
        let (from, asked, backend) = (at(pod, 4000), at(service, 53), at(other, 5353));
        let [first, later] = fragments(&udp(&from, &asked, &[7; 100]), 64, 1);
        let (_, one) = lab.bytes("from_pod", "pod1", &first);
        let (_, two) = lab.bytes("from_pod", "pod1", &later);
        assert_eq!(tell(&two), format!("later {pod} > {other} hops 63"));
        // Put together they are a datagram whose checksum is right.
        let expected = udp(&from, &backend, &[7; 100]);
        let whole = [&expected[..head], &one[one.len() - 64..], &two[two.len() - 44..]].concat();
        assert_eq!(tell(&whole), format!("udp {from} > {backend}"));
        // The answer's, too.
        let [first, later] = fragments(&udp(&backend, &from, &[9; 100]), 64, 3);
        lab.bytes("from_pod", "pod2", &first);
        let back = redirect(&format!("later {service} > {pod} hops 63"));
        assert_eq!(lab.run("from_pod", "pod2", &later), back);
        // Without its first a fragment means nothing to us.
        let [_, orphan] = fragments(&udp(&from, &asked, &[7; 100]), 64, 2);
        let (_, left) = lab.bytes("from_pod", "pod1", &orphan);
        assert!(tell(&left).starts_with(&format!("later {pod} > {service}")), "{}", tell(&left));
    }
}

#[test]
fn a_client_is_held_to_its_backend_by_its_address() {
    let Some(mut lab) = Lab::new("affinity") else { return };
    let backends: Vec<String> = (1..=20).map(|n| format!("10.244.2.{n}:80")).collect();
    let backends: Vec<&str> = backends.iter().map(String::as_str).collect();
    let mut service = frontend(Tcp, "10.96.0.7:80", &backends);
    service.backends.sort_unstable();
    service.affinity_s = 600;
    lab.frontends(&[service.clone()]);
    let target = |lab: &mut Lab, port: u16| {
        let from = format!("10.244.1.2:{port}");
        let Fate::Redirect(text) = lab.run("from_pod", "pod1", &tcp(&from, "10.96.0.7:80", SYN)) else {
            panic!("not redirected")
        };
        text.split(' ').nth(3).unwrap().to_owned()
    };
    let held = target(&mut lab, 1);
    assert!((2..30).all(|port| target(&mut lab, port) == held));
    // Its backend goes, and with it what held the client.
    service.backends.retain(|backend| backend.to_string() != held);
    lab.frontends(&[service]);
    let next = target(&mut lab, 40);
    assert_ne!(next, held);
    assert_eq!(target(&mut lab, 41), next);
}

#[test]
fn a_datagrams_flow_does_not_outlive_its_backend() {
    let Some(mut lab) = Lab::new("stale") else { return };
    let service = |backend: &str| frontend(Udp, "10.96.0.9:53", &[backend]);
    let ask = |lab: &mut Lab| lab.run("from_pod", "pod1", &udp("10.244.1.2:4000", "10.96.0.9:53", b"x"));
    let masqueraded = udp("10.244.1.2:4000", "198.51.100.7:53", b"x");
    lab.frontends(&[service("10.244.1.3:5353")]);
    ask(&mut lab);
    let (_, out) = lab.bytes("to_uplink", "uplink", &masqueraded);
    // Answered, so that it is established.
    let answer = udp("10.244.1.3:5353", "10.244.1.2:4000", b"y");
    assert_eq!(lab.run("from_pod", "pod2", &answer), redirect("udp 10.96.0.9:53 > 10.244.1.2:4000 hops 63"));
    let collect = |lab: &mut Lab| {
        for _ in 0..2 {
            lab.dataplane.packets().unwrap().collect().unwrap();
        }
    };
    collect(&mut lab);
    assert_eq!(ask(&mut lab), redirect("udp 10.244.1.2:4000 > 10.244.1.3:5353 hops 63"));
    lab.frontends(&[service("10.244.2.9:5353")]);
    collect(&mut lab);
    assert_eq!(ask(&mut lab), redirect("udp 10.244.1.2:4000 > 10.244.2.9:5353 hops 63"));
    assert_eq!(lab.bytes("to_uplink", "uplink", &masqueraded).1, out, "what leads to no Service stays");
}

#[test]
fn idle_flows_are_collected_and_the_gate_is_shut() {
    let Some(mut lab) = Lab::new("collect") else { return };
    lab.frontends(&[frontend(Tcp, "10.96.0.7:80", &["10.244.1.3:8080"])]);
    let count = |lab: &mut Lab| {
        // One slice of each table is a whole round here.
        lab.dataplane.packets().unwrap().collect().unwrap();
        lab.dataplane.packets().unwrap().collect().unwrap()
    };
    let state = |lab: &Lab, shape: &layout::Shape| {
        let pin = format!("/sys/fs/bpf/keelson/{}/state/{}-1", lab.options().node, shape.name);
        keelson_sys::bpf::Map::open_pinned(std::path::Path::new(&pin)).unwrap().unwrap()
    };
    lab.run("from_pod", "pod1", &tcp("10.244.1.2:1", "10.96.0.7:80", SYN));
    let counted = count(&mut lab);
    assert_eq!((counted.established, counted.half_open), (0, 1));
    lab.run("from_pod", "pod2", &tcp("10.244.1.3:8080", "10.244.1.2:1", SYN | ACK));
    lab.run("from_pod", "pod1", &tcp("10.244.1.2:1", "10.96.0.7:80", ACK));
    let counted = count(&mut lab);
    assert_eq!((counted.established, counted.half_open), (1, 0));
    let gate = |lab: &Lab| state(lab, &layout::CONNTRACK_GATE).lookup(&[0; 4]).unwrap().unwrap()[0];
    assert_eq!(gate(&lab), 1);
    // As if nothing had been seen of it for longer than anything may be silent.
    let flows = state(&lab, &layout::CONNTRACK);
    let mut entries = flows.entries().unwrap();
    for value in entries.values.chunks_exact_mut(48) {
        value[40..44].copy_from_slice(&0_u32.to_ne_bytes());
        value[44..48].copy_from_slice(&keelson_ebpf_common::packet::mark::RESET.to_ne_bytes());
    }
    flows.update_batch(&entries.keys, &entries.values).unwrap();
    let counted = count(&mut lab);
    assert_eq!((counted.established, counted.half_open), (0, 0));
    assert!(flows.entries().unwrap().keys.is_empty());
    assert_eq!(gate(&lab), 0);
    // The next flow opens it again.
    lab.run("from_pod", "pod1", &tcp("10.244.1.2:1", "10.96.0.7:80", SYN));
    assert_eq!(gate(&lab), 1);
}

#[test]
fn new_flows_spread_over_the_backends() {
    const FLOWS: u16 = 3000;
    let Some(mut lab) = Lab::new("spread") else { return };
    let backends = ["10.244.2.1:80", "10.244.2.2:80", "10.244.2.3:80", "10.244.2.4:80", "10.244.2.5:80"];
    lab.frontends(&[frontend(Tcp, "10.96.0.7:80", &backends)]);
    let mut counts = [0_u32; 5];
    for port in 1..=FLOWS {
        let (_, bytes) =
            lab.bytes("from_pod", "pod1", &tcp(&format!("10.244.1.2:{port}"), "10.96.0.7:80", SYN));
        counts[usize::from(bytes[33]) - 1] += 1;
    }
    // Five standard deviations of a fair choice.
    let fair = u32::from(FLOWS) / 5;
    assert!(counts.iter().all(|count| count.abs_diff(fair) < 110), "{counts:?}");
}

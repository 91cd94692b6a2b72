//! Services asked for from outside: by node port, external address, load balancer's address.

use keelson_dataplane::{
    PacketOptions,
    plan::Protocol::{Tcp, Udp},
};
use keelson_ebpf_common::drop::Reason;

use crate::{
    lab::{Fate, Lab, external, ip, pass, redirect},
    packet::{ACK, SYN, icmp_error, port_of, tcp, tell, udp},
};

#[test]
fn a_backend_of_the_node_sees_the_client() {
    let Some(mut lab) = Lab::new("local") else { return };
    lab.external(&[
        external(Tcp, "172.30.0.11:30080", &["10.244.1.3:8080"]),
        external(Tcp, "[fd00:30::11]:30080", &["[fd00:1::3]:8080"]),
    ]);
    for (client, asked, backend) in [
        ("198.51.100.7:5000", "172.30.0.11:30080", "10.244.1.3:8080"),
        ("[fd00:30::99]:5000", "[fd00:30::11]:30080", "[fd00:1::3]:8080"),
    ] {
        let there = redirect(&format!("tcp {client} > {backend} S hops 63"));
        assert_eq!(lab.run("from_uplink", "uplink", &tcp(client, asked, SYN)), there);
        let back = redirect(&format!("tcp {asked} > {client} SA hops 63"));
        assert_eq!(lab.run("from_pod", "pod2", &tcp(backend, client, SYN | ACK)), back);
    }
}

#[test]
fn a_backend_that_is_the_node_itself_answers_as_the_service() {
    let Some(mut lab) = Lab::with("host", |options| options.masquerade = false) else { return };
    lab.external(&[external(Tcp, "203.0.113.5:443", &["172.30.0.11:8443"])]);
    let there = pass("tcp 198.51.100.7:5000 > 172.30.0.11:8443 S");
    assert_eq!(lab.run("from_uplink", "uplink", &tcp("198.51.100.7:5000", "203.0.113.5:443", SYN)), there);
    let back = pass("tcp 203.0.113.5:443 > 198.51.100.7:5000 SA");
    assert_eq!(
        lab.run("to_uplink", "uplink", &tcp("172.30.0.11:8443", "198.51.100.7:5000", SYN | ACK)),
        back
    );
    // What else the node sends is its own.
    let other = tcp("172.30.0.11:8443", "198.51.100.8:5000", SYN | ACK);
    assert_eq!(lab.bytes("to_uplink", "uplink", &other), (-1, other));
}

#[test]
fn a_backend_elsewhere_answers_to_the_node() {
    let Some(mut lab) = Lab::new("remote") else { return };
    lab.external(&[
        external(Tcp, "172.30.0.11:30080", &["10.244.2.9:8080"]),
        external(Udp, "203.0.113.5:53", &["10.244.2.9:53"]),
    ]);
    for (protocol, asked, backend) in
        [("tcp", "172.30.0.11:30080", "10.244.2.9:8080"), ("udp", "203.0.113.5:53", "10.244.2.9:53")]
    {
        let client = "198.51.100.7:5000";
        let make =
            |from: &str, to: &str| if protocol == "tcp" { tcp(from, to, ACK) } else { udp(from, to, b"x") };
        let flags = if protocol == "tcp" { " A" } else { "" };
        let (verdict, there) = lab.bytes("from_uplink", "uplink", &make(client, asked));
        let port = port_of(&there);
        assert!(!(30_000..=60_999).contains(&port), "neither a node port nor a local one: {port}");
        let text = format!("{protocol} 172.30.0.11:{port} > {backend}{flags} hops 63");
        assert_eq!((verdict, tell(&there)), (7, text));
        // It passes the uplink's other hook, and is left alone there.
        assert_eq!(lab.bytes("to_uplink", "uplink", &there), (-1, there.clone()));
        let back = make(backend, &format!("172.30.0.11:{port}"));
        let fate = redirect(&format!("{protocol} {asked} > {client}{flags} hops 63"));
        assert_eq!(lab.run("from_uplink", "uplink", &back), fate);
        // A router between here and the backend has something to say to the client.
        let error = icmp_error("172.30.0.12", "172.30.0.11", [3, 4], &there);
        let about = format!("[{protocol} {client} > {asked}]");
        let fate = redirect(&format!("error 3.4 172.30.0.12 > 198.51.100.7 about {about} hops 63"));
        assert_eq!(lab.run("from_uplink", "uplink", &error), fate);
    }
}

#[test]
fn where_the_pods_network_is_anothers_the_stack_delivers_to_those_of_the_node() {
    let change = |options: &mut PacketOptions| (options.foreign_pods, options.masquerade) = (true, false);
    let Some(mut lab) = Lab::with("foreign", change) else { return };
    ip("route add 10.99.0.5 dev pod1");
    let [own, other] = [("172.30.0.11:30080", "10.99.0.5:8080"), ("172.30.0.11:30081", "10.244.2.9:8080")]
        .map(|(asked, backend)| external(Tcp, asked, &[backend]));
    lab.external(&[own, other.clone()]);
    let client = "198.51.100.7:5000";
    let ask = |lab: &mut Lab, port: u16, flags| {
        lab.bytes("from_uplink", "uplink", &tcp(client, &format!("172.30.0.11:{port}"), flags))
    };
    let told = |(verdict, bytes): (i32, Vec<u8>)| (verdict, tell(&bytes));
    assert_eq!(told(ask(&mut lab, 30_080, SYN)), (-1, format!("tcp {client} > 10.99.0.5:8080 S")));
    let back = tcp("10.99.0.5:8080", client, SYN | ACK);
    assert_eq!(lab.run("to_uplink", "uplink", &back), pass(&format!("tcp 172.30.0.11:30080 > {client} SA")));
    // Those of others get the node's address, as the answers have to come back this way.
    let (verdict, there) = ask(&mut lab, 30_081, SYN);
    let text = format!("tcp 172.30.0.11:{} > 10.244.2.9:8080 S hops 63", port_of(&there));
    assert_eq!((verdict, tell(&there)), (7, text));
    // A connection outlives its Service.
    assert_eq!(told(ask(&mut lab, 30_080, ACK)), (-1, format!("tcp {client} > 10.99.0.5:8080 A")));
    lab.external(&[other]);
    assert_eq!(told(ask(&mut lab, 30_080, ACK)), (-1, format!("tcp {client} > 10.99.0.5:8080 A")));
}

#[test]
fn a_service_without_backends_refuses_and_with_none_here_is_silent() {
    let Some(mut lab) = Lab::new("external-none") else { return };
    let mut local = external(Tcp, "172.30.0.11:30081", &[]);
    local.local_backends_only = true;
    lab.external(&[external(Tcp, "172.30.0.11:30080", &[]), external(Udp, "172.30.0.11:30080", &[]), local]);
    let rows = [
        (
            tcp("198.51.100.7:5000", "172.30.0.11:30080", SYN),
            redirect("tcp 172.30.0.11:30080 > 198.51.100.7:5000 AR"),
        ),
        (
            udp("198.51.100.7:5000", "172.30.0.11:30080", b"x"),
            redirect(
                "error 3.3 172.30.0.11 > 198.51.100.7 about [udp 198.51.100.7:5000 > 172.30.0.11:30080]",
            ),
        ),
        (tcp("198.51.100.7:5000", "172.30.0.11:30081", SYN), Fate::Drop),
    ];
    for (packet, fate) in rows {
        assert_eq!(lab.run("from_uplink", "uplink", &packet), fate);
    }
    assert_eq!(lab.dropped(Reason::NoLocalBackend), 1);
}

#[test]
fn only_clients_of_the_ranges_are_let_in() {
    let Some(mut lab) = Lab::new("ranges") else { return };
    let mut service = external(Tcp, "203.0.113.5:443", &["10.244.1.3:8443"]);
    service.source_ranges = vec!["198.51.100.0/25".parse().unwrap(), "192.0.2.7/32".parse().unwrap()];
    let open = external(Tcp, "203.0.113.5:80", &["10.244.1.3:8080"]);
    lab.external(&[service.clone(), open.clone()]);
    let ask = |lab: &mut Lab, client: &str, port: u16| {
        let packet = tcp(&format!("{client}:5000"), &format!("203.0.113.5:{port}"), SYN);
        lab.run("from_uplink", "uplink", &packet) != Fate::Drop
    };
    for (client, let_in) in
        [("198.51.100.127", true), ("198.51.100.128", false), ("192.0.2.7", true), ("192.0.2.8", false)]
    {
        assert_eq!(ask(&mut lab, client, 443), let_in, "{client}");
        assert!(ask(&mut lab, client, 80), "the other port is everybody's");
    }
    assert_eq!(lab.dropped(Reason::SourceRange), 2);
    // Ranges that are changed are gone.
    service.source_ranges = vec!["198.51.100.128/25".parse().unwrap()];
    lab.external(&[service, open]);
    assert!(ask(&mut lab, "198.51.100.129", 443) && !ask(&mut lab, "198.51.100.1", 443));
}

#[test]
fn frontends_come_and_go_and_keep_their_clients() {
    let Some(mut lab) = Lab::new("changes") else { return };
    let backends = ["10.244.2.7:80", "10.244.2.8:80", "10.244.2.9:80"];
    let mut service = external(Tcp, "203.0.113.5:80", &backends);
    service.affinity_s = 600;
    let other = |n: u16| external(Tcp, &format!("203.0.113.5:{}", 1000 + n), &["10.244.1.3:1"]);
    lab.external(&[service.clone()]);
    let target = |lab: &mut Lab, port: u16| {
        let packet = tcp(&format!("198.51.100.7:{port}"), "203.0.113.5:80", SYN);
        let Fate::Redirect(text) = lab.run("from_uplink", "uplink", &packet) else {
            panic!("not redirected")
        };
        text.split(' ').nth(3).unwrap().to_owned()
    };
    let held = target(&mut lab, 1);
    for n in 0..20 {
        let all: Vec<_> = std::iter::once(service.clone()).chain((0..n).map(other)).collect();
        lab.external(&all);
        assert_eq!(target(&mut lab, 100 + n), held);
    }
    lab.external(&[other(1)]);
    let packet = tcp("198.51.100.7:900", "203.0.113.5:80", SYN);
    assert_eq!(lab.bytes("from_uplink", "uplink", &packet), (-1, packet));
    let there = redirect("tcp 198.51.100.7:1 > 10.244.1.3:1 S hops 63");
    assert_eq!(lab.run("from_uplink", "uplink", &tcp("198.51.100.7:1", "203.0.113.5:1001", SYN)), there);
}

//! Pods out into the world, and the answers back.

use keelson_dataplane::plan::Protocol::Tcp;

use crate::{
    lab::{Lab, frontend, pass, redirect},
    packet::{ACK, SYN, echo, icmp_error, port_of, tcp, tell, udp},
};

#[test]
fn what_leaves_the_cluster_has_the_nodes_address() {
    let Some(mut lab) = Lab::new("leaves") else { return };
    for (protocol, ours, theirs) in
        [("tcp", "10.244.1.2:4000", "198.51.100.7:443"), ("udp", "10.244.1.3:4000", "198.51.100.7:53")]
    {
        let make =
            |from: &str, to: &str| if protocol == "tcp" { tcp(from, to, SYN) } else { udp(from, to, b"x") };
        let flags = if protocol == "tcp" { " S" } else { "" };
        let (verdict, there) = lab.bytes("to_uplink", "uplink", &make(ours, theirs));
        let port = port_of(&there);
        assert!((1024..30_000).contains(&port), "{port}");
        assert_eq!((verdict, tell(&there)), (-1, format!("{protocol} 172.30.0.11:{port} > {theirs}{flags}")));
        let back = make(theirs, &format!("172.30.0.11:{port}"));
        let fate = redirect(&format!("{protocol} {theirs} > {ours}{flags} hops 63"));
        assert_eq!(lab.run("from_uplink", "uplink", &back), fate);
        let error = icmp_error("203.0.113.1", "172.30.0.11", [11, 0], &there);
        let ip = ours.split(':').next().unwrap();
        let fate =
            redirect(&format!("error 11.0 203.0.113.1 > {ip} about [{protocol} {ours} > {theirs}] hops 63"));
        assert_eq!(lab.run("from_uplink", "uplink", &error), fate);
    }
}

#[test]
fn two_pods_may_ping_one_host_with_one_identifier() {
    let Some(mut lab) = Lab::new("ping") else { return };
    let mut ids = Vec::new();
    for pod in ["10.244.1.2", "10.244.1.3"] {
        let (_, there) = lab.bytes("to_uplink", "uplink", &echo(pod, "198.51.100.7", 9, false));
        let id = u16::from_be_bytes([there[38], there[39]]);
        assert_eq!(tell(&there), format!("echo 172.30.0.11 > 198.51.100.7 id {id}"));
        let back = echo("198.51.100.7", "172.30.0.11", id, true);
        let fate = redirect(&format!("answer 198.51.100.7 > {pod} id 9 hops 63"));
        assert_eq!(lab.run("from_uplink", "uplink", &back), fate);
        ids.push(id);
    }
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn inside_the_cluster_and_without_the_setting_pods_keep_their_addresses() {
    let Some(mut lab) = Lab::new("inside") else { return };
    for to in ["10.244.2.9:80", "172.30.0.12:80"] {
        let packet = tcp("10.244.1.2:4000", to, SYN);
        assert_eq!(lab.bytes("to_uplink", "uplink", &packet), (-1, packet), "{to}");
    }
    // An answer that nobody asked for is no first packet.
    let packet = echo("10.244.1.2", "198.51.100.7", 9, true);
    assert_eq!(lab.bytes("to_uplink", "uplink", &packet), (-1, packet));
    drop(lab);
    let Some(mut lab) = Lab::with("unset", |options| options.masquerade = false) else { return };
    let packet = tcp("10.244.1.2:4000", "198.51.100.7:80", SYN);
    assert_eq!(lab.bytes("to_uplink", "uplink", &packet), (-1, packet));
}

#[test]
fn a_service_whose_backend_is_outside_is_translated_twice() {
    let Some(mut lab) = Lab::new("twice") else { return };
    lab.frontends(&[frontend(Tcp, "10.96.0.7:80", &["198.51.100.7:8080"])]);
    let (_, on_its_way) = lab.bytes("from_pod", "pod1", &tcp("10.244.1.2:4000", "10.96.0.7:80", SYN));
    assert_eq!(tell(&on_its_way), "tcp 10.244.1.2:4000 > 198.51.100.7:8080 S hops 63");
    let (_, out) = lab.bytes("to_uplink", "uplink", &on_its_way);
    let port = port_of(&out);
    let back = tcp("198.51.100.7:8080", &format!("172.30.0.11:{port}"), SYN | ACK);
    let fate = redirect("tcp 10.96.0.7:80 > 10.244.1.2:4000 SA hops 63");
    assert_eq!(lab.run("from_uplink", "uplink", &back), fate);
    assert_eq!(
        lab.run("to_uplink", "uplink", &tcp("10.244.1.3:1", "10.244.2.9:1", SYN)),
        pass("tcp 10.244.1.3:1 > 10.244.2.9:1 S")
    );
}

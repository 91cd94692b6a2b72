//! Session affinity where backends' nodes answer clients themselves: the program on the wire and that at tc hold a client to the same
//! backend.

use std::collections::BTreeSet;

use keelson_dataplane::plan::{
    ExternalFrontend, Forwarding,
    Protocol::{self, Tcp, Udp},
};
use keelson_ebpf_common::wire::Verdict;

use crate::{
    lab::{Fate, Lab, external},
    packet::{ACK, SYN, tcp, tell, udp},
};

/// A Service, its backends on another node, and the addresses of a client and others before their ports.
const FAMILIES: [(&str, [&str; 3], &str); 2] = [
    ("203.0.113.5:80", ["10.244.2.7:8080", "10.244.2.8:8080", "10.244.2.9:8080"], "198.51.100."),
    ("[fd00:99::5]:80", ["[fd00:2::7]:8080", "[fd00:2::8]:8080", "[fd00:2::9]:8080"], "2001:db8:7::"),
];

fn held(protocol: Protocol, service: &str, backends: &[&str]) -> ExternalFrontend {
    let frontend = external(protocol, service, backends);
    ExternalFrontend { forwarding: Some(Forwarding::Dsr), affinity_s: 600, ..frontend }
}

fn client(addresses: &str, host: u16, port: u16) -> String {
    if addresses.contains(':') {
        format!("[{addresses}{host}]:{port}")
    } else {
        format!("{addresses}{host}:{port}")
    }
}

fn sent_to(lab: &mut Lab, packet: &[u8]) -> String {
    let Fate::Redirect(text) = lab.wire(packet) else { panic!("not sent: {}", tell(packet)) };
    text.split(' ').nth(3).unwrap().to_owned()
}

#[test]
fn a_client_is_held_to_its_backend_until_that_is_gone() {
    for (service, backends, addresses) in FAMILIES {
        let Some(mut lab) = Lab::new("held") else { return };
        lab.external(&[held(Tcp, service, &backends), held(Udp, service, &backends)]);
        let ask =
            |lab: &mut Lab, host, port| sent_to(lab, &tcp(&client(addresses, host, port), service, SYN));
        let first = ask(&mut lab, 7, 1_000);
        assert!((1..30).all(|n| ask(&mut lab, 7, 1_000 + n) == first), "whatever its port");
        let others: BTreeSet<_> = (8..60).map(|host| ask(&mut lab, host, 1_000)).collect();
        assert_eq!(others.len(), 3, "others are spread");
        // Datagrams are another frontend's, and each is held.
        let question = udp(&client(addresses, 7, 1_000), service, b"question");
        let second = sent_to(&mut lab, &question);
        assert!((0..20).all(|_| sent_to(&mut lab, &question) == second));
        // What the table of connections has lost is still the client's.
        let unknown = tcp(&client(addresses, 7, 9_000), service, ACK);
        assert_eq!(sent_to(&mut lab, &unknown), first);
        // tc, asked for the same, knows of it.
        let packet = tcp(&client(addresses, 7, 2_000), service, SYN);
        let Fate::Redirect(at_tc) = lab.run("from_uplink", "uplink", &packet) else { panic!("not sent") };
        assert_eq!(at_tc.split(' ').nth(3), Some(&*first));
        // With its backend gone another takes over, for good; the connection that is there stays.
        let left: Vec<_> = backends.into_iter().filter(|backend| *backend != first).collect();
        lab.external(&[held(Tcp, service, &left)]);
        assert_eq!(sent_to(&mut lab, &tcp(&client(addresses, 7, 1_000), service, ACK)), first);
        let next = ask(&mut lab, 7, 3_000);
        assert!(next != first && (1..20).all(|n| ask(&mut lab, 7, 3_000 + n) == next));
        assert_eq!(lab.verdicts(Verdict::Left), 0);
    }
}

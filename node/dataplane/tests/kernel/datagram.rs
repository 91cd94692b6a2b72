//! UDP, connected and not: where datagrams go, where answers seem to come from.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use keelson_dataplane::plan::Protocol;

use crate::support::{Lab, Servers, frontend, mapped};

const SERVICE4: &str = "10.96.0.10:53";
const SERVICE6: &str = "[fd00:96::10]:53";

fn socket(for_peer: SocketAddr) -> UdpSocket {
    let any = if for_peer.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn services() -> [SocketAddr; 3] {
    [SERVICE4.parse().unwrap(), mapped(SERVICE4), SERVICE6.parse().unwrap()]
}

#[test]
fn a_connected_socket_talks_to_the_service_alone() {
    let Some(lab) = Lab::new("udp-connected") else { return };
    let (four, six) = (Servers::udp("127.0.0.1", 3), Servers::udp("::1", 3));
    let _dataplane = lab.dataplane(&[
        frontend(Protocol::Udp, SERVICE4, &four.addresses),
        frontend(Protocol::Udp, SERVICE6, &six.addresses),
    ]);
    for service in services() {
        let client = socket(service);
        client.connect(service).unwrap();
        assert_eq!(client.peer_addr().unwrap(), service);
        let mut answered = BTreeSet::new();
        for _ in 0..10 {
            client.send(b"?").unwrap();
            let mut number = [0];
            let (_, source) = client.recv_from(&mut number).unwrap();
            assert_eq!(source, service);
            answered.insert(number[0]);
        }
        assert_eq!(answered.len(), 1, "one connection, one backend");
    }
}

#[test]
fn a_socket_connected_elsewhere_is_no_longer_the_services() {
    let Some(lab) = Lab::new("udp-again") else { return };
    let servers = Servers::udp("127.0.0.1", 2);
    let _dataplane = lab.dataplane(&[frontend(Protocol::Udp, SERVICE4, &servers.addresses[..1])]);
    let client = socket(SERVICE4.parse().unwrap());
    client.connect(SERVICE4).unwrap();
    client.connect(servers.addresses[1]).unwrap();
    assert_eq!(client.peer_addr().unwrap(), servers.addresses[1]);
    client.send(b"?").unwrap();
    assert_eq!(client.recv_from(&mut [0]).unwrap().1, servers.addresses[1]);
}

#[test]
fn an_unconnected_socket_hears_the_service_and_stays_with_one_backend() {
    let Some(lab) = Lab::new("udp-unconnected") else { return };
    let (four, six) = (Servers::udp("127.0.0.1", 3), Servers::udp("::1", 3));
    let _dataplane = lab.dataplane(&[
        frontend(Protocol::Udp, SERVICE4, &four.addresses),
        frontend(Protocol::Udp, SERVICE6, &six.addresses),
    ]);
    for service in services() {
        let client = socket(service);
        let mut answered = BTreeSet::new();
        for _ in 0..10 {
            client.send_to(b"?", service).unwrap();
            let mut number = [0];
            let (_, source) = client.recv_from(&mut number).unwrap();
            assert_eq!(source, service);
            answered.insert(number[0]);
        }
        assert_eq!(answered.len(), 1, "one flow, one backend");
    }
}

#[test]
fn flows_of_many_sockets_spread() {
    let Some(lab) = Lab::new("udp-spread") else { return };
    let servers = Servers::udp("127.0.0.1", 3);
    let _dataplane = lab.dataplane(&[frontend(Protocol::Udp, SERVICE4, &servers.addresses)]);
    for _ in 0..900 {
        let client = socket(SERVICE4.parse().unwrap());
        client.send_to(b"?", SERVICE4).unwrap();
        client.recv_from(&mut [0]).unwrap();
    }
    let counts = servers.counts();
    assert!(counts.iter().all(|count| (240..=360).contains(count)), "{counts:?}");
}

#[test]
fn one_socket_talks_to_several_services_and_to_none() {
    let Some(lab) = Lab::new("udp-several") else { return };
    let servers = Servers::udp("127.0.0.1", 3);
    let _dataplane = lab.dataplane(&[
        frontend(Protocol::Udp, "10.96.0.1:1", &servers.addresses[..1]),
        frontend(Protocol::Udp, "10.96.0.2:2", &servers.addresses[1..2]),
    ]);
    let client = socket(SERVICE4.parse().unwrap());
    let to: [SocketAddr; 3] =
        ["10.96.0.1:1".parse().unwrap(), "10.96.0.2:2".parse().unwrap(), servers.addresses[2]];
    for (number, to) in to.into_iter().enumerate().chain(to.into_iter().enumerate()) {
        client.send_to(b"?", to).unwrap();
        let mut answer = [0];
        let (_, source) = client.recv_from(&mut answer).unwrap();
        assert_eq!((source, usize::from(answer[0])), (to, number));
    }
}

#[test]
fn a_service_without_endpoints_refuses_datagrams() {
    let Some(lab) = Lab::new("udp-refuse") else { return };
    let _dataplane =
        lab.dataplane(&[frontend(Protocol::Udp, SERVICE4, &[]), frontend(Protocol::Udp, SERVICE6, &[])]);
    for service in services() {
        let client = socket(service);
        assert_eq!(
            client.send_to(b"?", service).unwrap_err().kind(),
            ErrorKind::ConnectionRefused,
            "{service}"
        );
        assert_eq!(client.connect(service).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{service}");
    }
}

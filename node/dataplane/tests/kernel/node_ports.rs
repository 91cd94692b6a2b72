//! Node ports: on loopback for the node's own sockets alone, and nobody's to bind.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    thread,
    time::Duration,
};

use keelson_dataplane::plan::Protocol;
use keelson_ebpf_common::drop::Reason;
use keelson_sys::sockets::{Transport, bound_ports};
use nix::sched::{CloneFlags, unshare};

use crate::support::{Lab, Servers, ask, frontend, mapped};

const PORT4: &str = "127.0.0.1:30080";
const PORT6: &str = "[::1]:30080";

/// In a network namespace of its own, as a pod is, but in the node's cgroup.
fn in_a_pod<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let pod = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            ip("link set lo up");
            act()
        });
        pod.join().unwrap()
    })
}

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split_whitespace()).status();
    assert!(status.is_ok_and(|status| status.success()), "ip {words}");
}

#[test]
fn loopback_leads_to_the_service_in_the_nodes_own_namespace_and_stays_a_pods_own_elsewhere() {
    let Some(lab) = Lab::new("loopback") else { return };
    let (four, six) = (Servers::tcp("127.0.0.1", 1), Servers::tcp("::1", 1));
    let dataplane = lab.dataplane(&[
        frontend(Protocol::Tcp, PORT4, &four.addresses),
        frontend(Protocol::Tcp, PORT6, &six.addresses),
    ]);
    let all: [SocketAddr; 4] =
        [PORT4.parse().unwrap(), "127.9.8.7:30080".parse().unwrap(), mapped(PORT4), PORT6.parse().unwrap()];
    for asked in all {
        assert_eq!(ask(asked).unwrap(), 0, "{asked}");
        assert_eq!(TcpStream::connect(asked).unwrap().peer_addr().unwrap(), asked);
    }
    in_a_pod(|| {
        for asked in all {
            assert_eq!(
                TcpStream::connect(asked).unwrap_err().kind(),
                ErrorKind::ConnectionRefused,
                "{asked}"
            );
        }
        // Nor is it in the way of a pod that listens there itself.
        let own = TcpListener::bind(PORT4).unwrap();
        let client = TcpStream::connect(PORT4).unwrap();
        assert_eq!(own.accept().unwrap().1, client.local_addr().unwrap());
    });
    assert_eq!(dataplane.status().unwrap().drops[0], (Reason::NoBackend, 0), "refused by nobody's listening");
}

#[test]
fn udp_to_a_node_port_on_loopback_is_answered_from_there() {
    let Some(lab) = Lab::new("loopback-udp") else { return };
    let servers = Servers::udp("127.0.0.1", 1);
    let _dataplane = lab.dataplane(&[frontend(Protocol::Udp, PORT4, &servers.addresses)]);
    let client = UdpSocket::bind("0.0.0.0:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    for to in ["127.0.0.1:30080", "127.9.8.7:30080"] {
        client.send_to(b"?", to).unwrap();
        assert_eq!(client.recv_from(&mut [0]).unwrap().1, to.parse().unwrap());
    }
}

#[test]
fn a_node_port_is_in_use_for_every_socket_of_the_node_until_it_is_given_back() {
    let Some(lab) = Lab::new("bind") else { return };
    ip("address add 192.0.2.5/32 dev lo");
    let servers = Servers::tcp("127.0.0.1", 1);
    let dataplane = lab.dataplane(&[
        frontend(Protocol::Tcp, PORT4, &servers.addresses),
        frontend(Protocol::Tcp, PORT6, &[]),
    ]);
    assert!(TcpListener::bind("0.0.0.0:30080").is_ok());
    let port = (30_080, Protocol::Tcp);
    assert_eq!(dataplane.set_node_ports([port].into_iter()).unwrap(), [port]);
    assert_eq!(dataplane.set_node_ports([port].into_iter()).unwrap(), [], "it was so already");
    for (address, taken) in [
        ("0.0.0.0:30080", true),
        ("[::]:30080", true),
        ("127.0.0.1:30080", true),
        ("127.9.8.7:30080", true),
        ("[::1]:30080", true),
        ("[::ffff:127.0.0.1]:30080", true),
        // An address that --nodeport-addresses leaves out.
        ("192.0.2.5:30080", false),
        ("0.0.0.0:30081", false),
        ("127.0.0.1:0", false),
    ] {
        let error = TcpListener::bind(address).err().map(|e| e.kind());
        assert_eq!(error, taken.then_some(ErrorKind::AddrInUse), "{address}");
    }
    assert!(UdpSocket::bind("0.0.0.0:30080").is_ok(), "another protocol");
    in_a_pod(|| assert!(TcpListener::bind("0.0.0.0:30080").is_ok(), "a pod's ports are its own"));
    assert_eq!(dataplane.set_node_ports(std::iter::empty()).unwrap(), []);
    assert!(TcpListener::bind("0.0.0.0:30080").is_ok());
}

#[test]
fn who_had_a_port_first_is_known() {
    let Some(_lab) = Lab::new("bound") else { return };
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("[::]:0").unwrap();
    let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
    connected.connect("127.0.0.1:9").unwrap();
    let port = |address: std::io::Result<SocketAddr>| address.unwrap().port();
    let wanted = [(port(tcp.local_addr()), Transport::Tcp), (port(udp.local_addr()), Transport::Udp)].into();
    assert_eq!(bound_ports().unwrap(), wanted);
}

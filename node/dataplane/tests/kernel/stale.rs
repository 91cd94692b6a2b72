//! UDP clients of a backend that stops serving: woken, once, and only they.

use std::{
    io::{self, ErrorKind, Read},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command},
    thread,
    time::Duration,
};

use keelson_dataplane::{Dataplane, maps::ServingUdp, plan::Protocol};
use keelson_sys::sockets::{Transport, destroy};
use nix::sched::{CloneFlags, setns};

use crate::support::{Lab, Servers, frontend, mapped};

const SERVICE4: &str = "10.96.0.10:53";
const SERVICE6: &str = "[fd00:96::10]:53";

fn client(of: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(if of.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn connected(to: SocketAddr) -> UdpSocket {
    let socket = client(to);
    socket.connect(to).unwrap();
    socket.send(b"?").unwrap();
    socket.recv(&mut [0]).unwrap();
    socket
}

fn unconnected(to: SocketAddr) -> UdpSocket {
    let socket = client(to);
    socket.send_to(b"?", to).unwrap();
    socket.recv_from(&mut [0]).unwrap();
    socket
}

fn serving(services: &[(&str, &[SocketAddr])]) -> ServingUdp {
    let one = |(service, backends): &(&str, &[SocketAddr])| {
        (frontend(Protocol::Udp, service, &[]).key, backends.iter().copied().collect())
    };
    services.iter().map(one).collect()
}

fn end(lab: &Lab, dataplane: &Dataplane, serving: &ServingUdp) -> usize {
    let stale = dataplane.take_stale_udp(serving).unwrap();
    destroy(&lab.options.cgroup_root, Transport::Udp, |socket| stale.names(socket)).unwrap()
}

#[test]
fn whoever_waits_for_a_dead_backend_is_woken_and_reaches_another() {
    let Some(lab) = Lab::new("stale") else { return };
    let (four, six) = (Servers::udp("127.0.0.1", 2), Servers::udp("::1", 2));
    let all = |n: usize| {
        [
            frontend(Protocol::Udp, SERVICE4, &four.addresses[..n]),
            frontend(Protocol::Udp, SERVICE6, &six.addresses[..n]),
        ]
    };
    let mut dataplane = lab.dataplane(&all(1));
    let services = [SERVICE4.parse().unwrap(), mapped(SERVICE4), SERVICE6.parse().unwrap()];
    let waiting: Vec<_> = services.iter().flat_map(|&s| [connected(s), unconnected(s)]).collect();
    dataplane.change(&[], &all(2)).unwrap();
    let both = serving(&[(SERVICE4, &four.addresses), (SERVICE6, &six.addresses)]);
    assert_eq!(end(&lab, &dataplane, &both), 0, "all backends serve");

    let left = serving(&[(SERVICE4, &four.addresses[1..]), (SERVICE6, &six.addresses[1..])]);
    let second = [
        frontend(Protocol::Udp, SERVICE4, &four.addresses[1..]),
        frontend(Protocol::Udp, SERVICE6, &six.addresses[1..]),
    ];
    dataplane.change(&[], &second).unwrap();
    assert_eq!(end(&lab, &dataplane, &left), waiting.len());
    for (n, socket) in waiting.iter().enumerate() {
        let error = socket.recv(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{n}: {error}");
        // The same socket goes on, with a backend that is there.
        let to = services[n / 2];
        socket.send_to(b"?", to).or_else(|_| socket.connect(to).and_then(|()| socket.send(b"?"))).unwrap();
        let mut number = [9];
        socket.recv(&mut number).unwrap();
        assert_eq!(number, [1], "{n}");
    }
    assert_eq!(end(&lab, &dataplane, &left), 0, "nobody is woken twice");
}

#[test]
fn sockets_that_did_not_come_through_the_service_are_left_alone() {
    let Some(lab) = Lab::new("stale-others") else { return };
    let servers = Servers::udp("127.0.0.1", 2);
    let dataplane = lab.dataplane(&[
        frontend(Protocol::Udp, SERVICE4, &servers.addresses[..1]),
        frontend(Protocol::Udp, "10.96.0.11:53", &servers.addresses[..1]),
    ]);
    let direct = connected(servers.addresses[0]);
    let other_service = connected("10.96.0.11:53".parse().unwrap());
    let moved = connected(SERVICE4.parse().unwrap());
    moved.connect(servers.addresses[1]).unwrap();
    assert_eq!(end(&lab, &dataplane, &serving(&[(SERVICE4, &servers.addresses[1..])])), 0);
    for socket in [direct, other_service, moved] {
        socket.send(b"?").unwrap();
        socket.recv(&mut [0]).unwrap();
    }
}

/// A process in a network namespace of its own, in the cgroup of the test.
struct Pod(Child);

impl Pod {
    fn start() -> Self {
        let pod = Self(
            Command::new("unshare")
                .args(["-n", "sh", "-c", "ip link set lo up; exec sleep 100"])
                .spawn()
                .unwrap(),
        );
        let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let there = || std::fs::read_link(pod.netns()).is_ok_and(|pods| pods != own);
        while !there() {
            thread::yield_now();
        }
        pod
    }

    fn netns(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.0.id()).into()
    }

    /// Tries until its loopback is up.
    fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            setns(std::fs::File::open(self.netns()).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            let up = || UdpSocket::bind("127.0.0.1:0").and_then(|s| s.send_to(b"", s.local_addr()?));
            while let Err(error) = up() {
                let not_yet = [ErrorKind::NetworkUnreachable, ErrorKind::AddrNotAvailable];
                assert!(not_yet.contains(&error.kind()), "{error}");
                thread::yield_now();
            }
            act()
        };
        thread::scope(|scope| scope.spawn(enter).join().unwrap())
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn clients_in_the_namespaces_of_pods_are_found() -> io::Result<()> {
    let Some(lab) = Lab::new("stale-pod") else { return Ok(()) };
    let pod = Pod::start();
    let servers = pod.within(|| Servers::udp("127.0.0.1", 2));
    let dataplane = lab.dataplane(&[frontend(Protocol::Udp, SERVICE4, &servers.addresses[..1])]);
    let socket = pod.within(|| connected(SERVICE4.parse().unwrap()));
    assert_eq!(end(&lab, &dataplane, &serving(&[(SERVICE4, &servers.addresses[1..])])), 1);
    assert_eq!(socket.recv(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionAborted);
    Ok(())
}

#[test]
fn whoever_is_connected_to_a_pod_that_is_gone_is_told() {
    let Some(lab) = Lab::new("departed") else { return };
    let service = "10.96.0.11:80";
    // They let clients wait.
    let servers = ["127.0.0.2:0", "127.0.0.3:0"].map(|address| TcpListener::bind(address).unwrap());
    let backends = servers.each_ref().map(|server| server.local_addr().unwrap());
    let mut dataplane = lab.dataplane(&[]);
    let connect = |to: &str| {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        stream
    };
    let [first, second] = backends.map(|backend| {
        dataplane.replace(&[frontend(Protocol::Tcp, service, &[backend])]).unwrap();
        connect(service)
    });
    let direct = connect(&backends[0].to_string());
    let gone = |service| [(frontend(Protocol::Tcp, service, &[]).key, [backends[0].ip()].into())].into();
    assert!(dataplane.connections_to(&gone("10.96.0.12:80")).unwrap().is_empty(), "another's Service");
    let stale = dataplane.connections_to(&gone(service)).unwrap();
    let ended = destroy(&lab.options.cgroup_root, Transport::Tcp, |socket| stale.names(socket));
    assert_eq!(ended.unwrap(), 1);
    let hears = |mut stream: TcpStream| stream.read(&mut [0]).unwrap_err().kind();
    assert_eq!(hears(first), ErrorKind::ConnectionAborted);
    assert_eq!((hears(second), hears(direct)), (ErrorKind::WouldBlock, ErrorKind::WouldBlock));
}

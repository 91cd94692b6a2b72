//! TCP: where a connection goes, what the socket says about it, what is refused.

use std::{
    io::{ErrorKind, Read},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use keelson_dataplane::plan::Protocol;
use keelson_ebpf_common::{drop::Reason, limits::CONNECTIONS_MAX, value::ConnectionSlot};
use keelson_sys::bpf::Map;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::support::{Lab, Servers, ask, frontend, mapped};

const SERVICE4: &str = "10.96.0.7:80";
const SERVICE6: &str = "[fd00:96::7]:80";

#[test]
fn every_family_reaches_its_backend_and_the_peer_is_the_service() {
    let Some(lab) = Lab::new("families") else { return };
    let (four, six) = (Servers::tcp("127.0.0.1", 1), Servers::tcp("::1", 1));
    let _dataplane = lab.dataplane(&[
        frontend(Protocol::Tcp, SERVICE4, &four.addresses),
        frontend(Protocol::Tcp, SERVICE6, &six.addresses),
    ]);
    for asked in [SERVICE4.parse().unwrap(), mapped(SERVICE4), SERVICE6.parse().unwrap()] {
        let mut stream = TcpStream::connect::<SocketAddr>(asked).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), asked);
    }
    assert_eq!((four.counts()[0], six.counts()[0]), (2, 1));
}

#[test]
fn a_connection_that_names_no_service_is_left_alone() {
    let Some(lab) = Lab::new("plain") else { return };
    let servers = Servers::tcp("127.0.0.1", 2);
    let _dataplane = lab.dataplane(&[frontend(Protocol::Tcp, SERVICE4, &servers.addresses[1..])]);
    let stream = TcpStream::connect(servers.addresses[0]).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), servers.addresses[0]);
    // Another port and another protocol of the Service's address are nobody's.
    assert!(TcpStream::connect("10.96.0.7:81").is_err());
}

#[test]
fn a_service_without_endpoints_refuses_at_once() {
    let Some(lab) = Lab::new("refuse") else { return };
    let dataplane =
        lab.dataplane(&[frontend(Protocol::Tcp, SERVICE4, &[]), frontend(Protocol::Tcp, SERVICE6, &[])]);
    for asked in [SERVICE4.parse().unwrap(), mapped(SERVICE4), SERVICE6.parse().unwrap()] {
        let start = Instant::now();
        let error = TcpStream::connect::<SocketAddr>(asked).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{asked}: {error}");
        assert!(start.elapsed() < Duration::from_millis(100));
    }
    assert_eq!(dataplane.status().unwrap().drops[0], (Reason::NoBackend, 3));
}

#[test]
fn three_thousand_connections_spread_within_twenty_percent() {
    let Some(lab) = Lab::new("spread") else { return };
    let servers = Servers::tcp("127.0.0.1", 3);
    let _dataplane = lab.dataplane(&[frontend(Protocol::Tcp, SERVICE4, &servers.addresses)]);
    for _ in 0..3000 {
        ask(SERVICE4.parse().unwrap()).unwrap();
    }
    let counts = servers.counts();
    assert!(counts.iter().all(|count| (800..=1200).contains(count)), "{counts:?}");
}

#[test]
fn a_closed_socket_is_forgotten() {
    let Some(lab) = Lab::new("forget") else { return };
    let servers = Servers::tcp("127.0.0.1", 1);
    let _dataplane = lab.dataplane(&[frontend(Protocol::Tcp, SERVICE4, &servers.addresses)]);
    let held: Vec<_> = (0..50).map(|_| TcpStream::connect(SERVICE4).unwrap()).collect();
    assert_eq!(slots(&lab).iter().filter(|slot| slot.cookie != 0).count(), 50);
    drop(held);
    // The record goes when TCP has ended: when the other side has agreed.
    forgotten(|| slots(&lab).iter().filter(|slot| slot.cookie != 0).count());
}

#[test]
fn a_socket_whose_slot_is_taken_is_remembered_and_forgotten_all_the_same() {
    let Some(lab) = Lab::new("spill") else { return };
    let servers = Servers::tcp("127.0.0.1", 1);
    let _dataplane = lab.dataplane(&[frontend(Protocol::Tcp, SERVICE4, &servers.addresses)]);
    // Every slot is somebody's.
    let taken = ConnectionSlot { cookie: u64::MAX, ..ConnectionSlot::new_zeroed() };
    let all: Vec<_> = (0..CONNECTIONS_MAX).collect();
    slots_map(&lab).update_batch(all.as_bytes(), vec![taken; all.len()].as_bytes()).unwrap();
    let spilled = Map::open_pinned(&lab.pins().join("state/CONNECTIONS_SPILLED-2")).unwrap().unwrap();
    let held: Vec<_> = (0..50).map(|_| TcpStream::connect(SERVICE4).unwrap()).collect();
    assert!(held.iter().all(|stream| stream.peer_addr().unwrap() == SERVICE4.parse().unwrap()));
    assert_eq!(spilled.entries().unwrap().keys.len() / 8, 50);
    drop(held);
    forgotten(|| spilled.entries().unwrap().keys.len());
    assert!(slots(&lab).iter().all(|slot| slot.cookie == u64::MAX), "others' slots are left alone");
}

fn forgotten(left: impl Fn() -> usize) {
    let start = Instant::now();
    while left() > 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "{} left", left());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn slots_map(lab: &Lab) -> Map {
    Map::open_pinned(&lab.pins().join("state/CONNECTIONS-2")).unwrap().unwrap()
}

fn slots(lab: &Lab) -> Vec<ConnectionSlot> {
    let bytes = slots_map(lab).entries().unwrap().values;
    bytes.chunks_exact(64).map(|slot| ConnectionSlot::read_from_bytes(slot).unwrap()).collect()
}

#[test]
fn session_affinity_holds_a_client_while_its_backend_is_there() {
    let Some(lab) = Lab::new("affinity") else { return };
    let servers = Servers::tcp("127.0.0.1", 4);
    let mut service = frontend(Protocol::Tcp, SERVICE4, &servers.addresses);
    service.affinity_s = 60;
    let mut dataplane = lab.dataplane(std::slice::from_ref(&service));
    let address = SERVICE4.parse().unwrap();
    let first = ask(address).unwrap();
    assert!((0..30).all(|_| ask(address).unwrap() == first));
    // Another backend goes: the client stays. Its own goes: it moves, once.
    let other = servers.addresses[(usize::from(first) + 1) % 4];
    service.backends.retain(|backend| *backend != other);
    dataplane.replace(std::slice::from_ref(&service)).unwrap();
    assert!((0..30).all(|_| ask(address).unwrap() == first));
    service.backends.retain(|backend| *backend != servers.addresses[usize::from(first)]);
    dataplane.replace(std::slice::from_ref(&service)).unwrap();
    let second = ask(address).unwrap();
    assert_ne!(second, first);
    assert!((0..30).all(|_| ask(address).unwrap() == second));
    // Time runs out: the choice is free again.
    service = frontend(Protocol::Tcp, SERVICE4, &servers.addresses);
    service.affinity_s = 1;
    dataplane.replace(std::slice::from_ref(&service)).unwrap();
    let moved = (0..8).any(|_| {
        std::thread::sleep(Duration::from_millis(1100));
        ask(address).unwrap() != second
    });
    assert!(moved, "eight free choices of four backends");
}

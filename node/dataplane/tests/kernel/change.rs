//! Changes while clients connect: none fails, none goes to another Service's backend.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use keelson_dataplane::{Dataplane, plan::Protocol};
use keelson_ebpf_common::{
    key::Frontend4,
    limits::{SHARD_LINES, shards4_log2},
    net::{Address4, Port},
};

use crate::support::{Lab, Servers, ask, frontend};

const FIRST: &str = "10.96.0.1:80";
const SECOND: &str = "10.96.0.2:80";

/// Clients that connect one after another and note what went wrong.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// Every answer must be among `numbers`.
    pub(crate) fn start(address: &str, numbers: std::ops::Range<u8>) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        let (stop, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |_| {
            let (stop, connections, numbers) = (stop.clone(), connections.clone(), numbers.clone());
            thread::spawn(move || {
                let mut wrong = Vec::new();
                while !stop.load(Ordering::Relaxed) && wrong.len() < 5 {
                    match ask(address) {
                        Ok(number) if numbers.contains(&number) => {}
                        Ok(number) => {
                            wrong.push(format!("{address} answered as {number}, not of {numbers:?}"))
                        }
                        Err(e) => wrong.push(format!("{address}: {e}")),
                    }
                    connections.fetch_add(1, Ordering::Relaxed);
                }
                wrong
            })
        };
        let threads = (0..2).map(client).collect();
        Self { stop, connections, threads }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Waits until so many more connections were made.
    pub(crate) fn more(&self, count: usize) {
        let reached = self.connections() + count;
        while self.connections() < reached && self.threads.iter().any(|t| !t.is_finished()) {
            thread::yield_now();
        }
    }

    /// What went wrong, over all clients.
    pub(crate) fn finish(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

#[test]
fn backends_change_under_load_without_a_failed_or_misled_connection() {
    let Some(lab) = Lab::new("change") else { return };
    let servers = Servers::tcp("127.0.0.1", 8);
    let (mine, other) = servers.addresses.split_at(4);
    let both = |a: &[SocketAddr], b: &[SocketAddr]| {
        [frontend(Protocol::Tcp, FIRST, a), frontend(Protocol::Tcp, SECOND, b)]
    };
    let mut dataplane = lab.dataplane(&both(mine, other));
    let (first, second) = (Load::start(FIRST, 0..4), Load::start(SECOND, 4..8));
    for turn in 0..400 {
        let (a, b) = (turn % 4, turn % 3 + 1);
        let change = both(&mine[a..(a + 1 + turn % 2).min(4)], &other[..b]);
        dataplane.change(&[], &change).unwrap();
        // A third Service comes and goes, on the records and slots of its predecessor.
        let third = frontend(Protocol::Tcp, "10.96.0.3:80", &other[..turn % 4]);
        if turn % 20 == 0 {
            dataplane.change(&[], std::slice::from_ref(&third)).unwrap();
        } else if turn % 20 == 10 {
            dataplane.change(&[third.key], &[]).unwrap();
        }
    }
    first.more(200);
    second.more(200);
    assert!(first.connections() > 200 && second.connections() > 200);
    assert_eq!([first.finish(), second.finish()].concat(), [""; 0]);
}

#[test]
fn services_that_crowd_in_one_part_of_the_table_are_all_found() {
    let Some(lab) = Lab::new("crowd") else { return };
    let servers = Servers::tcp("127.0.0.1", 2);
    let home = |address: &SocketAddr| {
        let SocketAddr::V4(v4) = address else { panic!() };
        let (address, port) = (Address4::new(*v4.ip()), Port::new(v4.port()));
        let word = Frontend4 { address, port, protocol: 6, pad: 0 }.word();
        Frontend4::home(word, shards4_log2(0), SHARD_LINES)
    };
    // Twelve that belong in one line, the last but two of a shard.
    let all = (0..4_000_000_u32)
        .map(|n| SocketAddr::new((0x0a60_0000_u32 | n >> 8).to_be_bytes().into(), n as u16 | 256));
    let crowd: Vec<_> = all.filter(|address| home(address) == (5, SHARD_LINES - 3)).take(12).collect();
    assert_eq!(crowd.len(), 12);
    let services: Vec<_> =
        crowd.iter().map(|s| frontend(Protocol::Tcp, &s.to_string(), &servers.addresses[..1])).collect();
    let mut dataplane = lab.dataplane(&services);
    assert!(crowd.iter().all(|&service| ask(service).unwrap() == 0));
    // Some in the middle go: those behind them are found still, by this daemon and by the next.
    let gone: Vec<_> = services[2..7].iter().map(|s| s.key).collect();
    dataplane.change(&gone, &[]).unwrap();
    drop(dataplane);
    let mut dataplane = Dataplane::open(&lab.options).unwrap();
    let left = [&services[..2], &services[7..]].concat();
    assert!(!dataplane.replace(&left).unwrap().changed);
    for (n, &service) in crowd.iter().enumerate() {
        assert_eq!(ask(service).is_ok(), !(2..7).contains(&n), "{service}");
    }
    dataplane.replace(&services).unwrap();
    assert!(crowd.iter().all(|&service| ask(service).unwrap() == 0));
}

#[test]
fn a_removed_backend_gets_nothing_from_then_on() {
    let Some(lab) = Lab::new("removed") else { return };
    let servers = Servers::tcp("127.0.0.1", 3);
    let mut dataplane = lab.dataplane(&[frontend(Protocol::Tcp, FIRST, &servers.addresses)]);
    dataplane.change(&[], &[frontend(Protocol::Tcp, FIRST, &servers.addresses[1..])]).unwrap();
    let before = servers.counts()[0];
    assert!((0..200).all(|_| ask(FIRST.parse().unwrap()).unwrap() != 0));
    assert_eq!(servers.counts()[0], before);
    let key = frontend(Protocol::Tcp, FIRST, &[]).key;
    dataplane.change(&[key], &[]).unwrap();
    assert!(ask(FIRST.parse().unwrap()).is_err(), "no Service, and no route");
}

//! What is measured of connections: how long connect() took, how they ended, whose they were.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use keelson_dataplane::{
    Dataplane,
    flows::{Figures, Pair},
    plan::Protocol,
};
use keelson_ebpf_common::{
    drop::Reason,
    limits::TOTALS_MAX,
    metrics::{BUCKETS, Row, Totals, bucket_start_ns},
};
use keelson_sys::bpf::Map;
use socket::{connect_slowly, reset_on_close};
use zerocopy::{FromZeros, IntoBytes};

use crate::support::{Lab, Servers, ask, frontend};

const ONE: &str = "10.96.0.7:80";
const TWO: &str = "10.96.0.8:80";
const PATIENCE: Duration = Duration::from_secs(10);

/// So many, one after another, each answered.
fn connections(service: &str, count: usize) {
    for _ in 0..count {
        ask(service.parse().unwrap()).unwrap();
    }
}

/// The sums of a Service over its backends, or of one backend.
fn figures(dataplane: &Dataplane, service: &str, backend: Option<SocketAddr>) -> Figures {
    let service: SocketAddr = service.parse().unwrap();
    let mut sum = Figures::default();
    for (Pair { frontend, backend: to }, figures) in dataplane.measured().unwrap().pairs {
        if frontend.socket() == service && (backend.is_none() || backend == to) {
            sum.add(&figures);
        }
    }
    sum
}

/// TCP ends when the other side has agreed: a moment after close() returns.
fn eventually(dataplane: &Dataplane, service: &str, reached: impl Fn(&Figures) -> bool) -> Figures {
    let start = Instant::now();
    loop {
        let now = figures(dataplane, service, None);
        if reached(&now) {
            return now;
        }
        assert!(start.elapsed() < PATIENCE, "{now:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The upper end of the bucket that holds the slowest of so many in a hundred.
fn below_ns(figures: &Figures, percent: u64) -> u64 {
    let all: u64 = figures.histogram.iter().sum();
    let mut seen = 0;
    let found = figures.histogram.iter().position(|count| {
        seen += count;
        seen * 100 >= all * percent
    });
    let bucket = found.expect("a histogram with something in it") as u32;
    if bucket + 1 == BUCKETS { u64::MAX } else { bucket_start_ns(bucket + 1) }
}

#[test]
fn two_services_with_one_backend_are_told_apart_and_so_are_backends() {
    let Some(lab) = Lab::new("apart") else { return };
    let servers = Servers::tcp("127.0.0.1", 2);
    let dataplane = lab.dataplane(&[
        frontend(Protocol::Tcp, ONE, &servers.addresses),
        frontend(Protocol::Tcp, TWO, &servers.addresses[..1]),
    ]);
    connections(ONE, 40);
    connections(TWO, 10);
    let one = eventually(&dataplane, ONE, |f| f.ended == 40);
    let two = eventually(&dataplane, TWO, |f| f.ended == 10);
    assert_eq!((one.histogram.iter().sum::<u64>(), two.histogram.iter().sum::<u64>()), (40, 10));
    let served = servers.counts();
    for (number, backend) in servers.addresses.iter().enumerate() {
        let mine =
            figures(&dataplane, ONE, Some(*backend)).ended + figures(&dataplane, TWO, Some(*backend)).ended;
        assert_eq!(mine as usize, served[number]);
    }
    // Each server sends one byte to each client, and no client sends any.
    assert_eq!((one.received_bytes, one.sent_bytes, one.failed, one.resets), (40, 0, 0, 0));
    assert!(one.connect_ns > 40 * 1_000 && below_ns(&one, 50) < 10_000_000, "{one:?}");
}

#[test]
fn a_slow_backend_shows_in_its_own_histogram_alone() {
    let Some(lab) = Lab::new("slow") else { return };
    let fast = Servers::tcp("127.0.0.1", 1);
    // A listener whose queue is full drops the SYN: the client sends it again after a second.
    let slow = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let at = slow.local_addr().unwrap();
    let dataplane =
        lab.dataplane(&[frontend(Protocol::Tcp, ONE, &fast.addresses), frontend(Protocol::Tcp, TWO, &[at])]);
    connections(ONE, 5);
    let took = connect_slowly(&slow, TWO.parse().unwrap());
    assert!(took >= Duration::from_millis(900), "{took:?}");
    let one = eventually(&dataplane, ONE, |f| f.ended == 5);
    let two = eventually(&dataplane, TWO, |f| f.established() > 0);
    assert!(below_ns(&one, 99) < 100_000_000, "{one:?}");
    assert!(below_ns(&two, 99) >= 900_000_000, "{two:?}");
}

#[test]
fn an_open_connection_is_counted_before_it_ends_and_once() {
    let Some(lab) = Lab::new("open") else { return };
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let dataplane = lab.dataplane(&[frontend(Protocol::Tcp, ONE, &[listener.local_addr().unwrap()])]);
    let mut client = TcpStream::connect(ONE).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let open = figures(&dataplane, ONE, None);
    assert_eq!((open.open, open.ended, open.histogram.iter().sum::<u64>()), (1, 0, 1));

    client.write_all(&[7; 1000]).unwrap();
    server.read_exact(&mut [0; 1000]).unwrap();
    server.write_all(&[7; 300]).unwrap();
    client.read_exact(&mut [0; 300]).unwrap();
    // Half closed is not ended: the record is there until TCP has ended, and the peer is still the Service.
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.peer_addr().unwrap(), ONE.parse().unwrap());
    assert_eq!(figures(&dataplane, ONE, None).open, 1);
    drop(server);
    drop(client);
    let ended = eventually(&dataplane, ONE, |f| f.ended == 1);
    assert_eq!((ended.open, ended.histogram.iter().sum::<u64>()), (0, 1));
    assert_eq!((ended.sent_bytes, ended.received_bytes), (1000, 300));
    assert_eq!(ended.connect_ns, open.connect_ns);
}

#[test]
fn ends_are_told_apart() {
    let Some(lab) = Lab::new("ends") else { return };
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let nobody = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let dataplane = lab.dataplane(&[
        frontend(Protocol::Tcp, ONE, &[listener.local_addr().unwrap()]),
        frontend(Protocol::Tcp, TWO, &[nobody]),
        frontend(Protocol::Tcp, "10.96.0.9:80", &[]),
    ]);
    let connect = || (TcpStream::connect(ONE).unwrap(), listener.accept().unwrap().0);
    // In order; by the client's reset; by the server's.
    drop(connect());
    let (client, server) = connect();
    reset_on_close(&client);
    drop(client);
    drop(server);
    let (mut client, server) = connect();
    reset_on_close(&server);
    drop(server);
    assert!(client.read(&mut [0]).is_err());
    drop(client);
    let one = eventually(&dataplane, ONE, |f| f.ended == 3);
    assert_eq!((one.aborts, one.resets, one.failed, one.refused), (1, 1, 0, 0));
    // Nobody listens; nobody is there.
    assert!(ask(TWO.parse().unwrap()).is_err());
    assert_eq!(eventually(&dataplane, TWO, |f| f.failed == 1).established(), 0);
    assert!(ask("10.96.0.9:80".parse().unwrap()).is_err());
    assert_eq!(figures(&dataplane, "10.96.0.9:80", None).refused, 1);
}

#[test]
fn totals_outlive_the_daemon_and_an_epoch_keeps_them_apart() {
    let Some(lab) = Lab::new("totals") else { return };
    let servers = Servers::tcp("127.0.0.1", 1);
    let service = frontend(Protocol::Tcp, ONE, &servers.addresses);
    let dataplane = lab.dataplane(std::slice::from_ref(&service));
    connections(ONE, 7);
    eventually(&dataplane, ONE, |f| f.ended == 7);
    let held = TcpStream::connect(ONE).unwrap();
    drop(dataplane);
    // While no daemon is there, programs go on.
    connections(ONE, 3);
    let again = lab.dataplane(std::slice::from_ref(&service));
    let now = eventually(&again, ONE, |f| f.ended == 10);
    assert_eq!((now.open, now.histogram.iter().sum::<u64>()), (1, 11));

    // A connection belongs to the epoch in which it was made, however late it ends.
    assert_eq!(again.begin_epoch().unwrap(), 1);
    connections(ONE, 1);
    drop(held);
    eventually(&again, ONE, |f| f.ended == 12);
    let ended = |epoch: u32| {
        let bytes = totals(&lab).entries().unwrap();
        let rows =
            bytes.keys.chunks_exact(size_of::<Row>()).zip(bytes.values.chunks_exact(size_of::<Totals>()));
        let of_epoch = rows.filter(|(row, _)| row[36..40] == epoch.to_ne_bytes());
        of_epoch.map(|(_, totals)| u64::from_ne_bytes(totals[..8].try_into().unwrap())).sum::<u64>()
    };
    assert_eq!((ended(0), ended(1)), (11, 1));
}

#[test]
fn what_finds_no_row_is_counted_among_all_others() {
    let Some(lab) = Lab::new("rows") else { return };
    let servers = Servers::tcp("127.0.0.1", 1);
    let dataplane = lab.dataplane(&[frontend(Protocol::Tcp, ONE, &servers.addresses)]);
    let map = totals(&lab);
    let free = TOTALS_MAX as usize - map.entries().unwrap().keys.len() / size_of::<Row>();
    let rows: Vec<_> = (0..free as u32).map(|n| Row { epoch: n, protocol: 6, ..Row::OTHER }).collect();
    map.update_batch(rows.as_bytes(), vec![Totals::new_zeroed(); rows.len()].as_bytes()).unwrap();
    ask(ONE.parse().unwrap()).unwrap();
    let start = Instant::now();
    while dataplane.measured().unwrap().other.ended == 0 {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(figures(&dataplane, ONE, None).ended == 0);
    let drops = dataplane.status().unwrap().drops;
    assert!(drops.contains(&(Reason::TotalsFull, 1)), "{drops:?}");
    let memory = dataplane.status().unwrap().memory_bytes;
    let (_, bytes) = memory.iter().find(|(name, _)| *name == "TOTALS").unwrap();
    assert!(*bytes < 9 << 20, "a full table takes {bytes} bytes");
}

#[test]
fn without_metrics_nothing_is_measured_and_services_work() {
    let Some(mut lab) = Lab::new("without") else { return };
    let servers = Servers::tcp("127.0.0.1", 1);
    let service = frontend(Protocol::Tcp, ONE, &servers.addresses);
    drop(lab.dataplane(std::slice::from_ref(&service)));
    lab.options.measure = false;
    let without = lab.dataplane(std::slice::from_ref(&service));
    let stream = TcpStream::connect(ONE).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), ONE.parse().unwrap());
    drop(stream);
    assert_eq!(without.measured().unwrap().pairs.len(), 0);
    assert!(!lab.pins().join("links/measure").exists(), "the program that measured is detached");
}

fn totals(lab: &Lab) -> Map {
    Map::open_pinned(&lab.pins().join("state/TOTALS-1")).unwrap().unwrap()
}

/// What the standard library's sockets cannot be asked for.
mod socket {
    use std::{
        net::{SocketAddr, TcpListener, TcpStream},
        os::fd::AsFd,
        time::{Duration, Instant},
    };

    use nix::sys::socket::{Backlog, listen, setsockopt, sockopt};

    /// Closing it will send a reset.
    pub(super) fn reset_on_close(stream: &TcpStream) {
        setsockopt(&stream.as_fd(), sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    }

    /// Connects while the listener's queue is full, and makes room only when the first SYN was dropped.
    pub(super) fn connect_slowly(listener: &TcpListener, to: SocketAddr) -> Duration {
        listen(listener, Backlog::new(0).unwrap()).unwrap();
        // A queue of none holds one; it is filled beside the Service.
        let direct = listener.local_addr().unwrap();
        let waiting = TcpStream::connect(direct).unwrap();
        let accepting = listener.try_clone().unwrap();
        let start = Instant::now();
        let accept = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(500));
            let first = accepting.accept().unwrap();
            (first, accepting.accept().unwrap())
        });
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(30)).unwrap();
        let took = start.elapsed();
        drop((accept.join().unwrap(), stream, waiting));
        took
    }
}

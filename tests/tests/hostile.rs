//! What a faulty or hostile peer on the nodes' wire cannot do.

use anyhow::{Context, Result, ensure};
use keelson_sys::net::hardware_address;
use keelson_tests::{
    Cluster, Namespace, eventually,
    flood::{Target, nonsense, strangers},
    load::PodLoad,
    outside::{Outside, get_over, within},
};
use serde_json::json;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use crate::{
    outside::{at, node_port, web},
    services::PROGRAMMED_MAX,
};

/// As long as the flood lasts.
const FLOOD: Duration = Duration::from_secs(10);
/// The least that makes it one: several times what the table of unanswered flows holds.
const FLOOD_LEAST: u64 = 100_000;
/// Between two exchanges: nginx ends a connection after a thousand.
const PACE: Duration = Duration::from_millis(20);
const NONSENSE: usize = 20_000;
/// The longest that one exchange may take while a core is busy with the flood, and the wire's queue full: packets are lost and
/// sent again, at first after one and three seconds.
const EXCHANGE_MAX: Duration = Duration::from_secs(8);

/// A connection that is kept: each question on it is answered.
struct Kept(BufReader<TcpStream>);

impl Kept {
    fn open(outside: &Outside, server: SocketAddr) -> Result<Self> {
        let stream = outside.connect(server)?;
        stream.set_read_timeout(Some(EXCHANGE_MAX))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn exchange(&mut self) -> Result<()> {
        self.0.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")?;
        let mut length = None;
        loop {
            let mut line = String::new();
            ensure!(self.0.read_line(&mut line)? > 0, "the server closed the connection");
            match line.trim_end() {
                "" => break,
                line => length = line.strip_prefix("Content-Length: ").map(str::to_owned).or(length),
            }
        }
        let mut body = vec![0; length.context("an answer with a length")?.parse()?];
        Ok(self.0.read_exact(&mut body)?)
    }
}

#[test]
fn a_flood_of_strangers_and_nonsense_changes_nothing() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("hostile")?);
    let (nodes, outside) = (cluster.nodes(), Outside::new(&cluster)?);
    let seed = rand::random();
    println!("seed {seed}");
    // Asked of a node that has no endpoint: packets pass it in both directions, and it remembers them.
    let port = node_port(&web(&namespace, &nodes[1..2], &json!({ "type": "NodePort" }))?)?;
    let server = at(&cluster.node_address(&nodes[0])?, port)?;
    let SocketAddr::V4(v4) = server else { anyhow::bail!("{server} is no IPv4 address") };
    let mac = within(&cluster.netns(&nodes[0])?, || Ok(hardware_address("eth0")?))?;
    let target = Target { mac: mac.context("a node with eth0")?, server: v4 };
    eventually(PROGRAMMED_MAX, "the node port answers", || outside.get(server))?;
    let mut kept = Kept::open(&outside, server)?;
    kept.exchange()?;

    nonsense(&outside, target, NONSENSE, seed)?;
    kept.exchange().context("on the kept connection, after nonsense")?;
    outside.get(server).context("after nonsense")?;

    let inside = PodLoad::start(&namespace, "client", "http://web/", Some(&nodes[0]))?;
    let flood = strangers(&outside, target, FLOOD, seed);
    let (mut exchanges, mut newcomers) = (0, 0);
    while !flood.is_finished() {
        kept.exchange().with_context(|| format!("on the kept connection, exchange {exchanges}"))?;
        exchanges += 1;
        if exchanges % 10 == 0 {
            let newcomer = outside.connect_within(server, EXCHANGE_MAX).and_then(get_over);
            newcomer.with_context(|| format!("newcomer {newcomers}"))?;
            newcomers += 1;
        }
        thread::sleep(PACE);
    }
    let sent = flood.join().expect("it does not panic")?;
    println!("{sent} strangers, {exchanges} exchanges, {newcomers} newcomers");
    ensure!(sent >= FLOOD_LEAST, "{sent} frames are no flood");
    inside.stop()?.all_answered(10)?;
    kept.exchange().context("after the flood")
}

//! DNS by the message, from the networks of pods and nodes: what nslookup does not show.

use anyhow::{Context, Result, ensure};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};
use keelson_tests::{Cluster, Namespace, PATIENCE, eventually, manifest, outside::within};
use serde_json::json;
use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use crate::packets::netns_of;

/// For an answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The longest answer by UDP to whoever names no other (RFC 1035).
const UDP_MAX: usize = 512;

fn question(name: &str, kind: RecordType) -> Result<Vec<u8>> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(format!("{name}."))?, kind));
    Ok(message.to_vec()?)
}

/// Asks with the network of that namespace; answers the message and its length.
fn by_udp(netns: &str, server: &str, name: &str, kind: RecordType) -> Result<(Message, usize)> {
    let (question, server) = (question(name, kind)?, SocketAddr::new(server.parse()?, 53));
    let answer = within(netns, move || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(ANSWER_MAX))?;
        socket.connect(server)?;
        socket.send(&question)?;
        let mut bytes = vec![0; 65_535];
        let length = socket.recv(&mut bytes)?;
        bytes.truncate(length);
        Ok(bytes)
    })?;
    Ok((Message::from_vec(&answer)?, answer.len()))
}

fn by_tcp(netns: &str, server: &str, name: &str, kind: RecordType) -> Result<Message> {
    let (question, server) = (question(name, kind)?, SocketAddr::new(server.parse()?, 53));
    let answer = within(netns, move || {
        let mut stream = TcpStream::connect_timeout(&server, ANSWER_MAX)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.write_all(&u16::try_from(question.len())?.to_be_bytes())?;
        stream.write_all(&question)?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut bytes = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut bytes)?;
        Ok(bytes)
    })?;
    Ok(Message::from_vec(&answer)?)
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    message.answers.iter().filter_map(|record| record.data.ip_addr()).collect()
}

/// The cluster's own server.
const DNS: &str = "10.96.0.10";

#[test]
fn an_answer_too_long_for_a_datagram_comes_whole_by_tcp() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("dns")?);
    let endpoints: Vec<_> = (1..=200).map(|last| json!({"addresses": [format!("192.0.2.{last}")]})).collect();
    namespace.apply_all(&[
        manifest::shell("client"),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "big"},
            "spec": {"clusterIP": "None", "ports": [{"port": 80}]},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "big-1", "labels": {"kubernetes.io/service-name": "big"}},
            "ports": [{"port": 80}], "endpoints": endpoints,
        }),
    ])?;
    let netns = netns_of(&cluster, &namespace.ready("client")?)?;
    let name = namespace.dns_name("big");
    eventually(PATIENCE, "the whole answer comes by TCP", || {
        let answer = by_tcp(&netns, DNS, &name, RecordType::A)?;
        ensure!(!answer.metadata.truncation, "it is truncated");
        ensure!(addresses(&answer).len() == 200, "{} addresses", addresses(&answer).len());
        Ok(())
    })?;
    let (answer, length) = by_udp(&netns, DNS, &name, RecordType::A)?;
    ensure!(answer.metadata.truncation, "it is not said to be truncated");
    ensure!(length <= UDP_MAX, "{length} bytes");
    Ok(())
}

#[test]
fn a_pod_has_a_name_made_of_its_address() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("dns")?);
    namespace.apply_all(&[manifest::shell("client")])?;
    let pod = namespace.ready("client")?;
    let netns = netns_of(&cluster, &pod)?;
    for ip in pod["status"]["podIPs"].as_array().context("addresses")? {
        let address: IpAddr = ip["ip"].as_str().context("an address")?.parse()?;
        let label = address.to_string().replace(['.', ':'], "-");
        // A label neither begins nor ends with a hyphen: `fd00::` is none of ours.
        let kind = if address.is_ipv4() { RecordType::A } else { RecordType::AAAA };
        let name = format!("{label}.{}.pod.cluster.local", namespace.name);
        let (answer, _) = by_udp(&netns, DNS, &name, kind)?;
        ensure!(addresses(&answer) == [address], "{name}: {answer}");
    }
    let name = format!("10-244-1-999.{}.pod.cluster.local", namespace.name);
    let (answer, _) = by_udp(&netns, DNS, &name, RecordType::A)?;
    ensure!(answer.metadata.response_code == ResponseCode::NXDomain, "{answer}");
    Ok(())
}

const NAME: &str = "www.example.test";

/// Another zone's server in a node's network: every name is 192.0.2.7 for a minute.
struct Elsewhere {
    at: SocketAddr,
    asked: Arc<AtomicU32>,
    over: Arc<AtomicBool>,
}

impl Elsewhere {
    fn serve(netns: &str) -> Result<Self> {
        let socket = within(netns, || Ok(UdpSocket::bind("127.96.0.12:0")?))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let elsewhere = Self { at: socket.local_addr()?, asked: Arc::default(), over: Arc::default() };
        let (asked, over) = (elsewhere.asked.clone(), elsewhere.over.clone());
        thread::spawn(move || {
            let mut bytes = [0; UDP_MAX];
            while !over.load(Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut bytes) else { continue };
                let (name, answer) = answer(&bytes[..length]).expect("we are asked in DNS messages");
                // Beside what it is asked for, the forwarder asks whether we lead back to it.
                asked.fetch_add(u32::from(name == NAME), Relaxed);
                socket.send_to(&answer, from).expect("an answer can be sent");
            }
        });
        Ok(elsewhere)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
    }
}

/// The name that was asked for, and the answer.
fn answer(question: &[u8]) -> Result<(String, Vec<u8>)> {
    let mut message = Message::from_vec(question)?;
    let query = message.queries.first().context("a question")?.clone();
    message.metadata.message_type = MessageType::Response;
    let address = RData::A(Ipv4Addr::new(192, 0, 2, 7).into());
    message.add_answer(Record::from_rdata(query.name().clone(), 60, address));
    Ok((query.name().to_ascii().trim_end_matches('.').to_lowercase(), message.to_vec()?))
}

#[test]
fn what_another_server_said_is_remembered_and_counted() -> Result<()> {
    let cluster = Cluster::require()?;
    let netns = cluster.netns("n1")?;
    let elsewhere = Elsewhere::serve(&netns)?;
    let own = "127.96.0.11";
    let (stub, metrics) = (format!("example.test={}", elsewhere.at), format!("{own}:9153"));
    let _server = cluster
        .dns_server("n1", &["--listen", own, "--upstream", "none", "--stub", &stub, "--metrics", &metrics])?;
    for _ in 0..3 {
        let (answer, _) = by_udp(&netns, own, NAME, RecordType::A)?;
        ensure!(addresses(&answer) == [IpAddr::from([192, 0, 2, 7])], "{answer}");
    }
    let asked = elsewhere.asked.load(Relaxed);
    ensure!(asked == 1, "the other server was asked {asked} times");
    let server: SocketAddr = metrics.parse()?;
    let counts = within(&netns, move || {
        let mut stream = TcpStream::connect_timeout(&server, ANSWER_MAX)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })?;
    for (source, count) in [("forward", 1), ("cache", 2)] {
        let line = format!("keelson_dns_request_duration_seconds_count{{source=\"{source}\"}} {count}");
        ensure!(counts.lines().any(|found| found == line), "no line `{line}` in:\n{counts}");
    }
    Ok(())
}

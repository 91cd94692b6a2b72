//! A real server on loopback, asked by a real client.

use super::*;
use crate::{
    forward::{
        IN_FLIGHT_MAX,
        fake::{Fake, with_address, with_code},
    },
    index::{Endpoint, EndpointSet, Index, Key, Port, Protocol, Service},
};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use hickory_net::{
    client::{Client as DnsClient, ClientHandle},
    runtime::TokioRuntimeProvider,
    tcp::TcpClientStream,
    udp::UdpClientStream,
};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, RecordType},
};
use std::{collections::BTreeSet, net::IpAddr};

/// Longer than anything here takes; a wait that ends with it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn index() -> Index {
    let mut index = Index::default();
    let http = Port { name: "http".into(), protocol: Protocol::Tcp, number: 80 };
    let own =
        Service::ClusterIp { addresses: ["10.96.0.7".parse().unwrap()].into(), ports: [http.clone()].into() };
    index.put_service(&Key::new("shop", "web"), own);
    index.put_service(&Key::new("shop", "big"), Service::Headless);
    for (name, target) in [
        ("alias", "a.test"),
        ("inside", "web.shop.svc.cluster.local"),
        ("circle", "circle.shop.svc.cluster.local"),
        ("dead", "dead.test"),
    ] {
        index.put_service(&Key::new("shop", name), Service::ExternalName(target.into()));
    }
    let endpoint = |last| Endpoint { address: IpAddr::from([10, 244, 1, last]), hostname: None };
    let endpoints = (1..=200).map(endpoint).collect();
    index.put_slice(&Key::new("shop", "big-x"), "big", EndpointSet { endpoints, ports: [http].into() });
    index
}

struct Running {
    address: SocketAddr,
    handle: Handle,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(listen: SocketAddr, cluster: Cluster, upstream: &[SocketAddr]) -> Running {
        let upstream = match upstream {
            [] => Upstream::Nobody,
            servers => Upstream::Servers(servers.to_vec()),
        };
        let config =
            Config { listen: vec![listen], cluster_domain: "Cluster.Local".into(), upstream, stubs: vec![] };
        let cluster = Arc::new(cluster);
        // A free port of UDP may be somebody's TCP port: then another one.
        let mut tries = std::iter::repeat_with(|| Server::with_cluster(&config, cluster.clone())).take(16);
        let server = tries.find_map(Result::ok).expect("a port that is free for both transports");
        let address = server.sockets[0].0.local_addr().unwrap();
        let (handle, shutdown) = (server.handle(), CancellationToken::new());
        let task = tokio::spawn(server.serve(shutdown.clone()));
        Running { address, handle, shutdown, task }
    }

    fn known(upstream: &[SocketAddr]) -> Running {
        Self::start("127.0.0.1:0".parse().unwrap(), Cluster::known(index()), upstream)
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it ends").unwrap();
    }

    fn counts(&self, line: &str) -> bool {
        self.handle.metrics().lines().any(|said| said == line)
    }
}

async fn over_udp(server: SocketAddr) -> DnsClient<TokioRuntimeProvider> {
    let connection = UdpClientStream::builder(server, TokioRuntimeProvider::new()).build();
    let (client, background) = DnsClient::from_sender(connection);
    tokio::spawn(background);
    client
}

async fn over_tcp(server: SocketAddr) -> DnsClient<TokioRuntimeProvider> {
    let provider = TokioRuntimeProvider::new();
    let (connection, sender) = TcpClientStream::new(server, None, None, provider);
    let (client, background) = DnsClient::new(connection.await.unwrap(), sender);
    tokio::spawn(background);
    client
}

async fn ask(client: &mut DnsClient<TokioRuntimeProvider>, name: &str, kind: RecordType) -> Message {
    let name = Name::from_ascii(name).unwrap();
    let answer = tokio::time::timeout(PATIENCE, client.query(name, DNSClass::IN, kind)).await;
    answer.expect("an answer in time").expect("an answer").into()
}

fn data(answer: &Message) -> Vec<String> {
    answer.answers.iter().map(|record| record.data.to_string()).collect()
}

#[tokio::test]
async fn a_resolver_finds_the_cluster_over_udp_and_tcp() {
    let server = Running::known(&[]);
    for mut client in [over_udp(server.address).await, over_tcp(server.address).await] {
        let answer = ask(&mut client, "WEB.shop.svc.cluster.local.", RecordType::A).await;
        assert_eq!(data(&answer), ["10.96.0.7"]);
        assert!(answer.metadata.authoritative && !answer.metadata.recursion_available);
        let answer = ask(&mut client, "_http._tcp.web.shop.svc.cluster.local.", RecordType::SRV).await;
        assert_eq!(data(&answer), ["0 100 80 web.shop.svc.cluster.local."]);
        assert_eq!(answer.additionals[0].data.to_string(), "10.96.0.7");
        let answer = ask(&mut client, "nothing.shop.svc.cluster.local.", RecordType::A).await;
        assert_eq!((answer.metadata.response_code, answer.authorities.len()), (ResponseCode::NXDomain, 1));
        let answer = ask(&mut client, "web.shop.svc.cluster.local.", RecordType::AAAA).await;
        assert_eq!((answer.metadata.response_code, answer.authorities.len()), (ResponseCode::NoError, 1));
        let answer = ask(&mut client, "example.com.", RecordType::A).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused, "nobody to ask");
    }
    assert!(server.counts("keelson_dns_requests_total{proto=\"tcp\",type=\"SRV\",rcode=\"NOERROR\"} 1"));
    assert!(server.counts("keelson_dns_services 6"));
    server.stop().await;
}

#[tokio::test]
async fn the_same_over_ipv6() {
    let server = Running::start("[::1]:0".parse().unwrap(), Cluster::known(index()), &[]);
    for mut client in [over_udp(server.address).await, over_tcp(server.address).await] {
        let answer = ask(&mut client, "web.shop.svc.cluster.local.", RecordType::A).await;
        assert_eq!(data(&answer), ["10.96.0.7"]);
        let answer = ask(&mut client, "ns.dns.cluster.local.", RecordType::AAAA).await;
        assert_eq!(data(&answer), ["::1"]);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_long_answer_is_cut_over_udp_whole_over_tcp_and_starts_at_another_address_each_time() {
    let server = Running::known(&[]);
    let mut udp = over_udp(server.address).await;
    let name = "big.shop.svc.cluster.local.";
    let mut firsts = BTreeSet::new();
    for _ in 0..20 {
        let answer = ask(&mut udp, name, RecordType::A).await;
        assert!(answer.metadata.truncation && answer.answers.len() > 30, "{} answers", answer.answers.len());
        firsts.insert(data(&answer)[0].clone());
    }
    assert!(firsts.len() > 5, "{firsts:?}");
    let answer = ask(&mut over_tcp(server.address).await, name, RecordType::A).await;
    assert!(!answer.metadata.truncation);
    assert_eq!(data(&answer).into_iter().collect::<BTreeSet<_>>().len(), 200);
    server.stop().await;
}

#[tokio::test]
async fn before_the_cluster_is_known_its_names_fail_and_others_do_not() {
    let fake = Fake::start(|query, _| Some(with_address(query, "192.0.2.1", 60))).await;
    let server = Running::start("127.0.0.1:0".parse().unwrap(), Cluster::default(), &[fake.address]);
    let mut client = over_udp(server.address).await;
    for name in ["web.shop.svc.cluster.local.", "7.0.96.10.in-addr.arpa."] {
        let answer = ask(&mut client, name, RecordType::A).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail, "{name}");
    }
    assert_eq!(data(&ask(&mut client, "a.test.", RecordType::A).await), ["192.0.2.1"]);
    assert!(!server.handle.is_ready());
    server.stop().await;
}

#[tokio::test]
async fn an_alias_is_followed_to_its_end() {
    let fake = Fake::start(|query, _| match query.queries[0].name().to_string().to_lowercase().as_str() {
        "a.test." => Some(with_address(query, "192.0.2.1", 60)),
        _ => Some(with_code(query, ResponseCode::NXDomain)),
    })
    .await;
    let server = Running::known(&[fake.address]);
    let mut client = over_udp(server.address).await;
    let rows: [(&str, ResponseCode, &[&str]); 4] = [
        ("alias", ResponseCode::NoError, &["a.test.", "192.0.2.1"]),
        ("inside", ResponseCode::NoError, &["web.shop.svc.cluster.local.", "10.96.0.7"]),
        ("dead", ResponseCode::NXDomain, &["dead.test."]),
        ("circle", ResponseCode::ServFail, &["circle.shop.svc.cluster.local."; 8]),
    ];
    // Twice: the second answer is from memory where there is one.
    for (name, code, expected) in rows.iter().chain(&rows) {
        let answer = ask(&mut client, &format!("{name}.shop.svc.cluster.local."), RecordType::A).await;
        assert_eq!(answer.metadata.response_code, *code, "{name}");
        assert_eq!(data(&answer), *expected, "{name}");
        assert!(answer.metadata.authoritative, "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn other_names_are_asked_of_others_once_and_answered_as_they_were_spelled() {
    let fake = Fake::start(|query, _| Some(with_address(query, "192.0.2.1", 60))).await;
    let server = Running::known(&[fake.address]);
    let mut client = over_udp(server.address).await;
    for _ in 0..3 {
        let answer = ask(&mut client, "SomeThing.Test.", RecordType::A).await;
        assert_eq!(data(&answer), ["192.0.2.1"]);
        assert_eq!(answer.answers[0].name.to_ascii(), "SomeThing.Test.");
        assert!(!answer.metadata.authoritative && answer.metadata.recursion_available);
        assert!(answer.answers[0].ttl <= 60);
    }
    // One of them is the probe.
    assert_eq!(fake.asked().0, 2);
    assert!(server.counts("keelson_dns_cache_lookups_total{result=\"hit\"} 2"));
    server.stop().await;
}

#[tokio::test]
async fn questions_that_come_back_are_noticed() {
    let fake_address: Arc<std::sync::OnceLock<SocketAddr>> = Arc::default();
    // A host's resolver whose upstream is the cluster's DNS: whatever it is asked it asks us.
    let (socket, ours) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), fake_address.clone());
    let relay = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            if Some(&from) != ours.get() {
                socket.send_to(&buffer[..length], ours.get().unwrap()).await.unwrap();
            }
        }
    });
    let config = Config {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        cluster_domain: "cluster.local".into(),
        upstream: Upstream::Servers(vec![relay]),
        stubs: vec![],
    };
    let server = Server::with_cluster(&config, Arc::new(Cluster::known(index()))).unwrap();
    let address = server.sockets[0].0.local_addr().unwrap();
    fake_address.set(address).unwrap();
    let (handle, shutdown) = (server.handle(), CancellationToken::new());
    let task = tokio::spawn(server.serve(shutdown.clone()));
    let noticed = async {
        while !handle.metrics().contains("keelson_dns_looping_servers 1") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, noticed).await.expect("the loop is noticed");
    let started = std::time::Instant::now();
    let answer = ask(&mut over_udp(address).await, "example.com.", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert!(started.elapsed() < Duration::from_secs(1), "nobody was asked: {:?}", started.elapsed());
    shutdown.cancel();
    task.await.unwrap();
}

fn query(id: u16, name: &str) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

#[tokio::test]
async fn more_questions_than_may_wait_fail_at_once_and_the_cluster_is_answered_still() {
    let silent = Fake::start(|_, _| None).await;
    let server = Running::known(&[silent.address]);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let over = 20;
    for number in 0..IN_FLIGHT_MAX + over {
        let id = u16::try_from(number).unwrap();
        socket.send_to(&query(id, &format!("n{number}.test.")), server.address).await.unwrap();
        // A socket's buffer holds fewer than all of them.
        if number % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    socket.send_to(&query(9999, "web.shop.svc.cluster.local."), server.address).await.unwrap();
    let mut failed = 0;
    let mut buffer = [0; 1232];
    loop {
        let length = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        if answer.metadata.id == 9999 {
            assert_eq!(data(&answer), ["10.96.0.7"]);
            break;
        }
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        failed += 1;
    }
    assert_eq!(failed, over);
    assert!(server.counts(&format!("keelson_dns_errors_total{{reason=\"in_flight\"}} {over}")));
    server.stop().await;
}

#[tokio::test]
async fn questions_on_one_connection_do_not_wait_for_each_other() {
    let fake = Fake::start(|_, _| None).await;
    let server = Running::known(&[fake.address]);
    let mut framed = framed(TcpStream::connect(server.address).await.unwrap());
    framed.send(Bytes::from(query(1, "slow.test."))).await.unwrap();
    framed.send(Bytes::from(query(2, "web.shop.svc.cluster.local."))).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let bytes = tokio::time::timeout(PATIENCE, framed.next()).await.unwrap().unwrap().unwrap();
        ids.push(Message::from_vec(&bytes).unwrap().metadata.id);
    }
    assert_eq!(ids, [2, 1]);
    server.stop().await;
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_the_others_are_not() {
    let server = Running::known(&[]);
    let mut open = Vec::new();
    for _ in 0..tcp::CONNECTIONS_MAX {
        open.push(framed(TcpStream::connect(server.address).await.unwrap()));
    }
    for connection in &mut open {
        connection.send(Bytes::from(query(1, "web.shop.svc.cluster.local."))).await.unwrap();
        assert!(tokio::time::timeout(PATIENCE, connection.next()).await.unwrap().unwrap().is_ok());
    }
    let mut more = framed(TcpStream::connect(server.address).await.unwrap());
    let closed = tokio::time::timeout(PATIENCE, more.next()).await.unwrap();
    assert!(closed.is_none_or(|read| read.is_err()));
    assert!(server.counts("keelson_dns_errors_total{reason=\"connections\"} 1"));
    drop(open);
    server.stop().await;
}

/// Asks without a pause from 16 sockets until told to stop; answers how many were answered. A query that is lost is a panic.
async fn ask_on_and_on(server: SocketAddr, stop: CancellationToken) -> usize {
    let one = |stop: CancellationToken| async move {
        let mut answered = 0;
        while !stop.is_cancelled() {
            // A new port each time, so that the kernel chooses among the servers anew.
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.connect(server).await.unwrap();
            socket.send(&query(7, "web.shop.svc.cluster.local.")).await.unwrap();
            let mut buffer = [0; 512];
            let answer = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await;
            answer.expect("no query is lost").expect("somebody listens");
            answered += 1;
        }
        answered
    };
    let all = futures::future::join_all((0..16).map(|_| tokio::spawn(one(stop.clone())))).await;
    all.into_iter().map(Result::unwrap).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_takes_over_without_a_query_lost() {
    let mut server = Running::known(&[]);
    let (address, stop) = (server.address, CancellationToken::new());
    let asking = tokio::spawn(ask_on_and_on(address, stop.clone()));
    for _ in 0..10 {
        let successor = Running::start(address, Cluster::known(index()), &[]);
        server.stop().await;
        // It has to answer, not only to be there.
        let mut client = over_udp(address).await;
        ask(&mut client, "web.shop.svc.cluster.local.", RecordType::A).await;
        server = successor;
    }
    stop.cancel();
    assert!(asking.await.unwrap() > 100);
    server.stop().await;
}

mod any_bytes {
    use super::*;
    use crate::message::Transport;
    use handler::{Handler, Taken};
    use proptest::prelude::*;

    fn handler() -> Arc<Handler> {
        let config = Config {
            listen: vec![],
            cluster_domain: "cluster.local".into(),
            upstream: Upstream::Nobody,
            stubs: vec![],
        };
        Server::with_cluster(&config, Arc::new(Cluster::known(index()))).unwrap().handler
    }

    /// Whatever comes: no panic, and an answer is one, to that very query.
    fn check(handler: &Handler, bytes: &[u8]) {
        for transport in [Transport::Udp, Transport::Tcp] {
            let Taken::Answered(answer) = handler.take(bytes, transport) else { panic!("nobody to ask") };
            let Some(answer) = answer else { continue };
            let message = Message::from_vec(&answer).expect("an answer can be read");
            assert_eq!(message.metadata.message_type, MessageType::Response);
            assert_eq!(message.metadata.id.to_be_bytes(), bytes[..2]);
            assert!(transport == Transport::Tcp || answer.len() <= 1232);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn noise(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            check(&handler(), &bytes);
        }

        #[test]
        fn a_query_with_some_bytes_changed(
            name in "(web|big|alias|circle|_http\\._tcp\\.web)\\.shop\\.svc\\.cluster\\.local\\.",
            kind in any::<u16>(),
            changes in prop::collection::vec((0_usize..80, any::<u8>()), 0..4),
        ) {
            let mut message = Message::new(7, MessageType::Query, OpCode::Query);
            message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind.into()));
            let mut bytes = message.to_vec().unwrap();
            for (place, value) in changes {
                let place = place % bytes.len();
                bytes[place] = value;
            }
            check(&handler(), &bytes);
        }
    }
}

//! A server of other names, for tests: answers over UDP and TCP on loopback as a script says, and counts what it is asked.

use crate::message::Transport;
use futures::{SinkExt, StreamExt};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, Record, rdata::SOA},
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::net::{TcpListener, UdpSocket};

/// What is done about a query.
pub(crate) type Script = dyn Fn(&Message, Transport) -> Option<Message> + Send + Sync;

/// It stops with this value, as its tasks stop with the test's runtime.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    udp: Arc<AtomicUsize>,
    tcp: Arc<AtomicUsize>,
}

impl Fake {
    /// None from the script is silence.
    pub(crate) async fn start(
        script: impl Fn(&Message, Transport) -> Option<Message> + Send + Sync + 'static,
    ) -> Self {
        let (socket, listener) = one_port().await;
        let address = socket.local_addr().unwrap();
        let script: Arc<Script> = Arc::new(script);
        let fake = Self { address, udp: Arc::default(), tcp: Arc::default() };
        tokio::spawn(over_udp(socket, script.clone(), fake.udp.clone()));
        tokio::spawn(over_tcp(listener, script, fake.tcp.clone()));
        fake
    }

    /// Queries over UDP and TCP so far.
    pub(crate) fn asked(&self) -> (usize, usize) {
        (self.udp.load(Ordering::SeqCst), self.tcp.load(Ordering::SeqCst))
    }
}

/// A free port of UDP may be somebody's TCP port: then another one.
async fn one_port() -> (UdpSocket, TcpListener) {
    loop {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        match TcpListener::bind(socket.local_addr().unwrap()).await {
            Ok(listener) => return (socket, listener),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "{error}"),
        }
    }
}

async fn over_udp(socket: UdpSocket, script: Arc<Script>, count: Arc<AtomicUsize>) {
    let mut buffer = vec![0; 4096];
    loop {
        let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
        count.fetch_add(1, Ordering::SeqCst);
        let query = Message::from_vec(&buffer[..length]).unwrap();
        if let Some(answer) = script(&query, Transport::Udp) {
            socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
        }
    }
}

async fn over_tcp(listener: TcpListener, script: Arc<Script>, count: Arc<AtomicUsize>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (script, count) = (script.clone(), count.clone());
        tokio::spawn(async move {
            let mut framed = crate::server::framed(stream);
            while let Some(Ok(bytes)) = framed.next().await {
                count.fetch_add(1, Ordering::SeqCst);
                let query = Message::from_vec(&bytes).unwrap();
                if let Some(answer) = script(&query, Transport::Tcp) {
                    framed.send(bytes::Bytes::from(answer.to_vec().unwrap())).await.unwrap();
                }
            }
        });
    }
}

/// The answer to a query with one address for what was asked.
pub(crate) fn with_address(query: &Message, address: &str, ttl_s: u32) -> Message {
    let mut answer = with_code(query, ResponseCode::NoError);
    let data = RData::from(address.parse::<std::net::IpAddr>().unwrap());
    answer.add_answer(Record::from_rdata(query.queries[0].name().clone(), ttl_s, data));
    answer
}

/// The answer to a query with a code alone.
pub(crate) fn with_code(query: &Message, code: ResponseCode) -> Message {
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.metadata.response_code = code;
    answer.metadata.recursion_available = true;
    answer.add_query(query.queries[0].clone());
    answer
}

/// There is no such name, for so many seconds.
pub(crate) fn with_nothing(query: &Message, ttl_s: u32) -> Message {
    let mut answer = with_code(query, ResponseCode::NXDomain);
    let name = |text| Name::from_ascii(text).unwrap();
    let soa = SOA::new(name("ns.test."), name("x.test."), 1, 2, 3, 4, ttl_s);
    answer.add_authority(Record::from_rdata(name("test."), 900, RData::SOA(soa)));
    answer
}

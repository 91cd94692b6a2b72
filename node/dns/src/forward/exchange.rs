//! One question to one server: over UDP, and over TCP when the answer does not fit or cannot be trusted.
//!
//! Each question has a socket of its own, hence a port that the kernel picks at random, a random id and a random spelling
//! (0x20, draft-vixie-dnsext-dns0x20-00), all of which an answer has to repeat. The socket is connected, so that the kernel
//! drops what comes from elsewhere and tells at once when nobody listens there.

use super::Wants;
use crate::message::UDP_PAYLOAD_MAX;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use hickory_proto::{
    ProtoError,
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
};
use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    net::{TcpStream, UdpSocket},
    time::timeout,
};

/// Bytes of an answer over UDP that are read: more than we say that we take.
const DATAGRAM_BYTES_MAX: usize = 2048;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The name or a section has no form on the wire.
    #[error("writing the question")]
    Question(#[source] ProtoError),
    /// The network said no.
    #[error("sending the question")]
    Io(#[from] io::Error),
    /// The network said nothing.
    #[error("nothing came in time")]
    Timeout,
    /// What came is no answer to this question.
    #[error("what came is no answer to the question")]
    Answer,
}

impl ExchangeError {
    /// One word, for counting.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Question(_) => "question",
            Self::Io(_) => "io",
            Self::Timeout => "timeout",
            Self::Answer => "answer",
        }
    }
}

/// A question in flight.
struct Asked {
    message: Message,
    bytes: Vec<u8>,
}

/// What a datagram is to a question.
enum Datagram {
    Answer(Message),
    /// The server has more to say than fits, or changes the spelling, or cannot be understood.
    TryTcp,
    /// Somebody else's, or a forger's.
    Stray,
}

/// Asks, each of UDP and TCP for `time_max` at most.
pub(super) async fn exchange(
    server: SocketAddr,
    query: &Query,
    wants: Wants,
    time_max: Duration,
) -> Result<Message, ExchangeError> {
    let asked = Asked::new(query, wants, true)?;
    let mut answer = within(time_max, asked.over_udp(server)).await?;
    if answer.as_ref().is_some_and(|a| a.metadata.response_code == ResponseCode::FormErr) {
        // It may not know EDNS (RFC 6891, section 7).
        answer = within(time_max, Asked::new(query, wants, false)?.over_udp(server)).await?;
    }
    match answer {
        Some(answer) => Ok(answer),
        None => within(time_max, Asked::new(query, wants, true)?.over_tcp(server)).await,
    }
}

async fn within<T>(
    time_max: Duration,
    work: impl Future<Output = Result<T, ExchangeError>>,
) -> Result<T, ExchangeError> {
    timeout(time_max, work).await.unwrap_or(Err(ExchangeError::Timeout))
}

impl Asked {
    fn new(query: &Query, wants: Wants, with_edns: bool) -> Result<Self, ExchangeError> {
        let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.metadata.checking_disabled = wants.checking_disabled;
        let mut query = query.clone();
        query.name.randomize_label_case();
        message.add_query(query);
        if with_edns {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_PAYLOAD_MAX).set_dnssec_ok(wants.dnssec_ok);
            message.set_edns(edns);
        }
        let bytes = message.to_vec().map_err(ExchangeError::Question)?;
        Ok(Self { message, bytes })
    }

    /// None where it has to be asked over TCP.
    async fn over_udp(&self, server: SocketAddr) -> Result<Option<Message>, ExchangeError> {
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(server).await?;
        socket.send(&self.bytes).await?;
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let length = socket.recv(&mut buffer).await?;
            match self.judge(&buffer[..length]) {
                Datagram::Answer(message) => return Ok(Some(message)),
                Datagram::TryTcp => return Ok(None),
                Datagram::Stray => {}
            }
        }
    }

    async fn over_tcp(&self, server: SocketAddr) -> Result<Message, ExchangeError> {
        let mut framed = crate::server::framed(TcpStream::connect(server).await?);
        framed.send(Bytes::from(self.bytes.clone())).await?;
        let bytes = framed.next().await.ok_or(ExchangeError::Answer)??;
        let message = Message::from_vec(&bytes).map_err(|_| ExchangeError::Answer)?;
        // Nobody forges what comes over a connection: there the spelling may differ.
        let is_ours = self.is_reply(&message) && self.is_about(&message);
        if is_ours { Ok(message) } else { Err(ExchangeError::Answer) }
    }

    fn judge(&self, bytes: &[u8]) -> Datagram {
        if bytes.first_chunk() != Some(&self.message.metadata.id.to_be_bytes()) {
            return Datagram::Stray;
        }
        let Ok(message) = Message::from_vec(bytes) else { return Datagram::TryTcp };
        if !self.is_reply(&message) || !self.is_about(&message) {
            return Datagram::Stray;
        }
        let spelled = |name: &hickory_proto::rr::Name| name.eq_case(self.message.queries[0].name());
        if message.metadata.truncation || !message.queries.iter().all(|query| spelled(query.name())) {
            return Datagram::TryTcp;
        }
        Datagram::Answer(message)
    }

    fn is_reply(&self, message: &Message) -> bool {
        message.metadata.message_type == MessageType::Response
            && message.metadata.op_code == OpCode::Query
            && message.metadata.id == self.message.metadata.id
    }

    /// Servers that fail early do not always repeat the question.
    fn is_about(&self, message: &Message) -> bool {
        let silent = message.queries.is_empty() && message.metadata.response_code != ResponseCode::NoError;
        silent || message.queries == self.message.queries
    }
}

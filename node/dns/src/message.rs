//! Queries as they come and answers as they go, in bytes: pure.
//!
//! Rules: RFC 1035, RFC 6891 (EDNS), RFC 2181 section 9 (truncation), RFC 9619 (one question). Does not own what the answer is.

use crate::answer::Answer;
use hickory_proto::{
    op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Record, RecordType},
    serialize::binary::{BinDecodable, BinDecoder},
};

/// Bytes of a UDP answer, and what we tell others that we take: fits into every path's MTU unfragmented
/// (<https://www.dnsflagday.net/2020/>).
pub(crate) const UDP_PAYLOAD_MAX: u16 = 1232;
/// Bytes of a UDP answer to a client that does not speak EDNS (RFC 1035, 4.2.1).
const UDP_PAYLOAD_PLAIN: u16 = 512;
/// Bytes of a message over TCP: its length has two.
pub(crate) const TCP_PAYLOAD_MAX: usize = u16::MAX as usize;
/// The one version of EDNS.
const EDNS_VERSION: u8 = 0;

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// A query that can be answered.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    header: RequestHeader,
    /// The one question, spelled as it was asked.
    pub(crate) query: Query,
    /// The client's EDNS, where it speaks it.
    edns: Option<ClientEdns>,
    pub(crate) transport: Transport,
}

#[derive(Clone, Copy, Debug)]
struct RequestHeader {
    id: u16,
    op_code: OpCode,
    recursion_desired: bool,
    checking_disabled: bool,
}

#[derive(Clone, Copy, Debug)]
struct ClientEdns {
    payload_max: u16,
    dnssec_ok: bool,
}

/// What is done about bytes that came.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// To be answered.
    Request(Request),
    /// Answered with an error at once.
    Refused(ResponseCode, Vec<u8>),
    /// Not a query: to answer would make us a weapon.
    Silence,
}

/// An answer, whoever gave it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) code: ResponseCode,
    pub(crate) authoritative: bool,
    /// Its server says that it verified the answer (RFC 4035).
    pub(crate) authentic: bool,
    pub(crate) answers: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
    pub(crate) additionals: Vec<Record>,
}

impl Reply {
    /// An answer without records.
    pub(crate) fn empty(code: ResponseCode) -> Self {
        Self {
            code,
            authoritative: false,
            authentic: false,
            answers: vec![],
            authorities: vec![],
            additionals: vec![],
        }
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self {
            authoritative: true,
            answers: answer.answers,
            authorities: answer.authorities,
            additionals: answer.additionals,
            ..Self::empty(answer.code)
        }
    }
}

impl From<Message> for Reply {
    fn from(message: Message) -> Self {
        Self {
            code: message.metadata.response_code,
            authoritative: false,
            authentic: message.metadata.authentic_data,
            answers: message.answers,
            authorities: message.authorities,
            additionals: message.additionals,
        }
    }
}

/// Reads what a client sent.
pub(crate) fn parse(bytes: &[u8], transport: Transport) -> Parsed {
    let Ok(header) = Header::read(&mut BinDecoder::new(bytes)) else { return Parsed::Silence };
    if header.metadata.message_type == MessageType::Response {
        return Parsed::Silence;
    }
    let own = RequestHeader {
        id: header.metadata.id,
        op_code: header.metadata.op_code,
        recursion_desired: header.metadata.recursion_desired,
        checking_disabled: header.metadata.checking_disabled,
    };
    if own.op_code != OpCode::Query {
        return refused(own, None, ResponseCode::NotImp);
    }
    if header.counts.queries != 1 {
        return refused(own, None, ResponseCode::FormErr);
    }
    let Ok(mut message) = Message::from_vec(bytes) else {
        return refused(own, None, ResponseCode::FormErr);
    };
    let Some(query) = message.queries.pop() else { return refused(own, None, ResponseCode::FormErr) };
    let edns = message
        .edns
        .as_ref()
        .map(|edns| ClientEdns { payload_max: edns.max_payload(), dnssec_ok: edns.flags().dnssec_ok });
    if message.edns.is_some_and(|edns| edns.version() != EDNS_VERSION) {
        return refused(own, Some((query, edns)), ResponseCode::BADVERS);
    }
    // Only Internet names are ours or anybody's whom we ask, and nobody transfers a zone.
    let transfer = matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR);
    if query.query_class() != DNSClass::IN || transfer {
        return refused(own, Some((query, edns)), ResponseCode::Refused);
    }
    if matches!(query.query_type(), RecordType::OPT | RecordType::TSIG) {
        return refused(own, Some((query, edns)), ResponseCode::FormErr);
    }
    Parsed::Request(Request { header: own, query, edns, transport })
}

fn refused(
    header: RequestHeader,
    question: Option<(Query, Option<ClientEdns>)>,
    code: ResponseCode,
) -> Parsed {
    let (query, edns) = match question {
        Some((query, edns)) => (Some(query), edns),
        None => (None, None),
    };
    let message = message(header, query, edns, Reply::empty(code), false);
    match message.to_vec() {
        Ok(bytes) => Parsed::Refused(code, bytes),
        Err(_) => Parsed::Silence,
    }
}

fn message(
    header: RequestHeader,
    query: Option<Query>,
    edns: Option<ClientEdns>,
    reply: Reply,
    recursion: bool,
) -> Message {
    let mut message = Message::response(header.id, header.op_code);
    message.metadata.recursion_desired = header.recursion_desired;
    message.metadata.checking_disabled = header.checking_disabled;
    message.metadata.recursion_available = recursion;
    message.metadata.authoritative = reply.authoritative;
    message.metadata.authentic_data = reply.authentic;
    message.metadata.response_code = reply.code;
    message.queries.extend(query);
    message.answers = reply.answers;
    message.authorities = reply.authorities;
    message.additionals = reply.additionals;
    message.edns = edns.map(|client| {
        let mut own = Edns::new();
        own.set_max_payload(UDP_PAYLOAD_MAX).set_dnssec_ok(client.dnssec_ok);
        own
    });
    message
}

impl Request {
    /// The number by which the client knows its query.
    pub(crate) fn id(&self) -> u16 {
        self.header.id
    }

    /// Whether signatures are wanted (RFC 3225).
    pub(crate) fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// Whether answers that cannot be verified are wanted, too.
    pub(crate) fn checking_disabled(&self) -> bool {
        self.header.checking_disabled
    }

    fn payload_max(&self) -> usize {
        match (self.transport, self.edns) {
            (Transport::Tcp, _) => TCP_PAYLOAD_MAX,
            (Transport::Udp, None) => UDP_PAYLOAD_PLAIN.into(),
            (Transport::Udp, Some(edns)) => edns.payload_max.clamp(UDP_PAYLOAD_PLAIN, UDP_PAYLOAD_MAX).into(),
        }
    }

    /// The answer in bytes, no more of it than the client can take. `recursion`: whether names of others are answered here.
    /// None for one that has no form on the wire.
    pub(crate) fn encode(&self, reply: Reply, recursion: bool) -> Option<Vec<u8>> {
        let mut message = message(self.header, Some(self.query.clone()), self.edns, reply, recursion);
        // Whoever compares the spelling of the question (0x20) would take another one for a forgery.
        for record in message.answers.iter_mut().filter(|record| record.name == *self.query.name()) {
            record.name = self.query.name().clone();
        }
        fitting(message, self.payload_max())
    }
}

/// Encodes what fits. What goes first is what nobody asked for, which needs no mark; then answers from the end, since there
/// are resolvers that never come back over TCP and make do with the first.
fn fitting(mut message: Message, payload_max: usize) -> Option<Vec<u8>> {
    let mut bytes = message.to_vec().ok()?;
    if bytes.len() > payload_max && !message.additionals.is_empty() {
        message.additionals.clear();
        bytes = message.to_vec().ok()?;
    }
    while bytes.len() > payload_max {
        message.metadata.truncation = true;
        message.authorities.clear();
        let keep = message.answers.len() * payload_max / bytes.len();
        message.answers.truncate(keep.min(message.answers.len().saturating_sub(1)));
        bytes = message.to_vec().ok()?;
        if message.answers.is_empty() {
            break;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::{Name, RData};
    use std::net::Ipv4Addr;

    fn asked(edit: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii("Web.shop.").unwrap(), RecordType::A));
        edit(&mut message);
        message.to_vec().unwrap()
    }

    fn code(bytes: &[u8]) -> Option<ResponseCode> {
        match parse(bytes, Transport::Udp) {
            Parsed::Refused(code, bytes) => {
                let message = Message::from_vec(&bytes).unwrap();
                assert_eq!((message.metadata.id, message.metadata.message_type), (7, MessageType::Response));
                // 16 is both BADVERS and BADSIG.
                assert_eq!(u16::from(message.metadata.response_code), u16::from(code));
                Some(code)
            }
            _ => None,
        }
    }

    fn request(bytes: &[u8], transport: Transport) -> Request {
        match parse(bytes, transport) {
            Parsed::Request(request) => request,
            other => panic!("{other:?}"),
        }
    }

    fn edns(payload_max: u16) -> Vec<u8> {
        asked(|message| {
            let mut edns = Edns::new();
            edns.set_max_payload(payload_max);
            message.set_edns(edns);
        })
    }

    fn many(count: u8) -> Reply {
        let record = |last| {
            let data = RData::from(std::net::IpAddr::V4(Ipv4Addr::new(10, 244, 1, last)));
            Record::from_rdata(Name::from_ascii("web.shop.").unwrap(), 5, data)
        };
        Reply { answers: (0..count).map(record).collect(), ..Reply::empty(ResponseCode::NoError) }
    }

    #[test]
    fn what_is_no_query_gets_the_rfcs_code_or_no_answer() {
        let two = |message: &mut Message| {
            message.add_query(Query::query(Name::root(), RecordType::A));
        };
        let class = |message: &mut Message| {
            message.queries[0].set_query_class(DNSClass::CH);
        };
        let kind = |kind| {
            move |message: &mut Message| {
                message.queries[0].set_query_type(kind);
            }
        };
        let version = |message: &mut Message| {
            let mut edns = Edns::new();
            edns.set_version(1);
            message.set_edns(edns);
        };
        let mut cut = asked(|_| ());
        cut.truncate(20);
        let rows = [
            ("two questions", asked(two), Some(ResponseCode::FormErr)),
            ("no question", asked(|m| m.queries.clear()), Some(ResponseCode::FormErr)),
            ("cut", cut, Some(ResponseCode::FormErr)),
            ("an update", asked(|m| m.metadata.op_code = OpCode::Update), Some(ResponseCode::NotImp)),
            ("a notify", asked(|m| m.metadata.op_code = OpCode::Notify), Some(ResponseCode::NotImp)),
            ("chaos", asked(class), Some(ResponseCode::Refused)),
            ("a transfer", asked(kind(RecordType::AXFR)), Some(ResponseCode::Refused)),
            ("OPT", asked(kind(RecordType::OPT)), Some(ResponseCode::FormErr)),
            ("EDNS 1", asked(version), Some(ResponseCode::BADVERS)),
            ("an answer", asked(|m| m.metadata.message_type = MessageType::Response), None),
            ("half a header", vec![0; 11], None),
            ("nothing", vec![], None),
        ];
        for (name, bytes, expected) in rows {
            assert_eq!(code(&bytes), expected, "{name}");
        }
    }

    #[test]
    fn an_answer_is_as_long_as_the_client_can_take_and_says_when_it_was_cut() {
        let rows = [
            ("plain", asked(|_| ()), Transport::Udp, 512, true),
            ("less than the least", edns(100), Transport::Udp, 512, true),
            ("what it says", edns(1000), Transport::Udp, 1000, true),
            ("more than we give", edns(4096), Transport::Udp, 1232, true),
            ("TCP", asked(|_| ()), Transport::Tcp, usize::MAX, false),
        ];
        for (name, bytes, transport, max, cut) in rows {
            let bytes = request(&bytes, transport).encode(many(200), true).unwrap();
            let message = Message::from_vec(&bytes).unwrap();
            assert_eq!(message.metadata.truncation, cut, "{name}");
            assert!(bytes.len() <= max, "{name}: {} bytes", bytes.len());
            assert!(message.answers.len() > 20, "{name}: {} answers", message.answers.len());
        }
    }

    #[test]
    fn additional_records_go_without_a_mark() {
        let reply = Reply { additionals: many(200).answers, ..many(3) };
        let bytes = request(&asked(|_| ()), Transport::Udp).encode(reply, true).unwrap();
        let message = Message::from_vec(&bytes).unwrap();
        assert!(!message.metadata.truncation && message.additionals.is_empty());
        assert_eq!(message.answers.len(), 3);
    }

    #[test]
    fn an_answer_repeats_the_question_as_it_was_spelled_and_its_flags() {
        let bytes = request(&edns(4096), Transport::Udp).encode(many(1), true).unwrap();
        let message = Message::from_vec(&bytes).unwrap();
        assert_eq!(message.queries[0].name().to_ascii(), "Web.shop.");
        assert_eq!(message.answers[0].name.to_ascii(), "Web.shop.");
        assert!(message.metadata.recursion_desired && message.metadata.recursion_available);
        assert_eq!(message.edns.unwrap().max_payload(), 1232);
        let plain = request(&asked(|_| ()), Transport::Udp).encode(many(1), false).unwrap();
        let plain = Message::from_vec(&plain).unwrap();
        assert!(plain.edns.is_none() && !plain.metadata.recursion_available);
    }
}

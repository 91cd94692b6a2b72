//! Answers of other servers, kept for as long as they say (RFC 2308), and no longer than [`TTL_MAX_S`].
//!
//! Kept in their wire form: its length is what an answer costs, to the byte. Answers about the cluster are never here.

use crate::message::Reply;
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{RData, Record},
    serialize::binary::BinEncodable,
};
use quick_cache::{Weighter, unsync::Cache as Entries};
use std::time::Instant;

/// Bytes of all entries together.
pub const CACHE_BYTES_MAX: u64 = 1 << 20;
/// Entries. Each weighs at least so much that no more of them fit.
pub const CACHE_ENTRIES_MAX: u64 = 4096;
/// Entries that room is made for at the start.
const ENTRIES_EXPECTED: usize = 256;
/// What an entry takes beside its key and answer.
const ENTRY_OVERHEAD_BYTES: usize = 96;
/// Seconds that an answer is kept at most, as in the configuration that most clusters run.
const TTL_MAX_S: u32 = 30;

/// A question, as far as answers to it differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question(Box<[u8]>);

impl Question {
    /// The question of a query; signatures are part of an answer or not, and so is what could not be verified. None for a
    /// name without wire form.
    pub(crate) fn new(query: &Query, dnssec_ok: bool, checking_disabled: bool) -> Option<Self> {
        let mut bytes = query.name().to_lowercase().to_bytes().ok()?;
        bytes.extend(u16::from(query.query_type()).to_be_bytes());
        bytes.push(u8::from(dnssec_ok) | u8::from(checking_disabled) << 1);
        Some(Self(bytes.into()))
    }
}

struct Kept {
    wire: Box<[u8]>,
    since: Instant,
    ttl_s: u32,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Question, Kept> for ByBytes {
    fn weight(&self, question: &Question, kept: &Kept) -> u64 {
        let bytes = (question.0.len() + kept.wire.len() + ENTRY_OVERHEAD_BYTES) as u64;
        bytes.max(CACHE_BYTES_MAX / CACHE_ENTRIES_MAX)
    }
}

/// The answers.
pub(crate) struct Cache(Entries<Question, Kept, ByBytes>);

impl Cache {
    pub(crate) fn new() -> Self {
        Self(Entries::with_weighter(ENTRIES_EXPECTED, CACHE_BYTES_MAX, ByBytes))
    }

    /// The answer, if it may be believed still; its records live for as long as is left.
    pub(crate) fn get(&mut self, question: &Question, now: Instant) -> Option<Reply> {
        let kept = self.0.get(question)?;
        let age_s = u32::try_from(now.saturating_duration_since(kept.since).as_secs()).unwrap_or(u32::MAX);
        if age_s >= kept.ttl_s {
            self.0.remove(question);
            return None;
        }
        let left_s = kept.ttl_s - age_s;
        let mut reply = Reply::from(Message::from_vec(&kept.wire).ok()?);
        for record in sections(&mut reply) {
            record.ttl = record.ttl.saturating_sub(age_s).min(left_s);
        }
        Some(reply)
    }

    /// Keeps an answer, if it is one to keep.
    pub(crate) fn put(&mut self, question: Question, reply: &Reply, now: Instant) {
        let ttl_s = lifetime_s(reply).min(TTL_MAX_S);
        if ttl_s == 0 {
            return;
        }
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        message.metadata.response_code = reply.code;
        message.metadata.authentic_data = reply.authentic;
        message.answers.clone_from(&reply.answers);
        message.authorities.clone_from(&reply.authorities);
        message.additionals.clone_from(&reply.additionals);
        if let Ok(wire) = message.to_vec() {
            self.0.insert(question, Kept { wire: wire.into(), since: now, ttl_s });
        }
    }

    /// How many answers there are, and their bytes.
    pub(crate) fn size(&self) -> (usize, u64) {
        (self.0.len(), self.0.weight())
    }
}

fn sections(reply: &mut Reply) -> impl Iterator<Item = &mut Record> {
    reply.answers.iter_mut().chain(&mut reply.authorities).chain(&mut reply.additionals)
}

/// Seconds that an answer may be believed; 0 for one that may not be kept.
fn lifetime_s(reply: &Reply) -> u32 {
    let answered = reply.code == ResponseCode::NoError && !reply.answers.is_empty();
    let positive_s = reply.answers.iter().map(|record| record.ttl).min();
    match reply.code {
        ResponseCode::NoError if answered => positive_s.unwrap_or(0),
        // That there is nothing is believed for the SOA's own time; without a SOA, not at all (RFC 2308, section 5).
        ResponseCode::NoError | ResponseCode::NXDomain => {
            let soa = reply.authorities.iter().find_map(|record| match &record.data {
                RData::SOA(soa) => Some(soa.minimum.min(record.ttl)),
                _ => None,
            });
            soa.unwrap_or(0).min(positive_s.unwrap_or(u32::MAX))
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::{Name, RecordType, rdata::SOA};
    use std::{net::Ipv4Addr, time::Duration};

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn question(text: &str) -> Question {
        Question::new(&Query::query(name(text), RecordType::A), false, false).unwrap()
    }

    fn address(ttl_s: u32) -> Record {
        let data = RData::from(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        Record::from_rdata(name("a.example."), ttl_s, data)
    }

    fn positive(ttl_s: u32) -> Reply {
        Reply { answers: vec![address(300), address(ttl_s)], ..Reply::empty(ResponseCode::NoError) }
    }

    fn negative(code: ResponseCode, soa: Option<(u32, u32)>) -> Reply {
        let record = soa.map(|(ttl_s, minimum_s)| {
            let soa = SOA::new(name("ns.example."), name("x.example."), 1, 2, 3, 4, minimum_s);
            Record::from_rdata(name("example."), ttl_s, RData::SOA(soa))
        });
        Reply { authorities: record.into_iter().collect(), ..Reply::empty(code) }
    }

    #[test]
    fn an_answer_is_kept_for_as_long_as_it_says() {
        let (no, nx) = (ResponseCode::NoError, ResponseCode::NXDomain);
        let rows = [
            ("the shortest of its records", positive(7), 7),
            ("never long", positive(3600), 30),
            ("not to be kept", positive(0), 0),
            ("there is no such name", negative(nx, Some((900, 4))), 4),
            ("there is nothing of the type", negative(no, Some((6, 900))), 6),
            ("nobody says for how long", negative(nx, None), 0),
            ("a failure", negative(ResponseCode::ServFail, Some((900, 900))), 0),
            ("a refusal", Reply::empty(ResponseCode::Refused), 0),
            ("an alias of nothing", Reply { answers: vec![address(3)], ..negative(nx, Some((60, 60))) }, 3),
        ];
        for (what, reply, seconds) in rows {
            let mut cache = Cache::new();
            let now = Instant::now();
            cache.put(question("A.example."), &reply, now);
            for second in 0..40 {
                let found = cache.get(&question("a.EXAMPLE."), now + Duration::from_secs(second));
                assert_eq!(found.is_some(), second < seconds, "{what}, after {second} s");
                if let Some(found) = found {
                    assert_eq!(found.code, reply.code);
                    let longest = sections(&mut found.clone()).map(|record| record.ttl).max();
                    assert!(u64::from(longest.unwrap()) <= seconds - second, "{what}, after {second} s");
                }
            }
            assert_eq!(cache.size().0, 0, "{what}: what is over is not kept");
        }
    }

    #[test]
    fn questions_differ_by_type_and_by_what_is_wanted_of_signatures() {
        let of = |kind, dnssec, unchecked| {
            Question::new(&Query::query(name("a.example."), kind), dnssec, unchecked).unwrap()
        };
        let all = [
            of(RecordType::A, false, false),
            of(RecordType::AAAA, false, false),
            of(RecordType::A, true, false),
            of(RecordType::A, false, true),
        ];
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len());
    }

    #[test]
    fn neither_many_small_nor_a_few_large_answers_exceed_the_bounds() {
        let large = Reply { answers: vec![address(30); 1000], ..Reply::empty(ResponseCode::NoError) };
        for reply in [positive(30), large] {
            let mut cache = Cache::new();
            let now = Instant::now();
            for number in 0..2 * CACHE_ENTRIES_MAX {
                cache.put(question(&format!("n{number}.example.")), &reply, now);
            }
            let (entries, bytes) = cache.size();
            assert!(entries > 0 && entries as u64 <= CACHE_ENTRIES_MAX, "{entries} entries");
            assert!(bytes <= CACHE_BYTES_MAX, "{bytes} bytes");
        }
    }
}

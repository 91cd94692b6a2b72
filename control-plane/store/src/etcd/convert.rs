//! Between etcd's messages and the contract's types; and which of etcd's errors mean what. No calls are made here.

use crate::contract::{Commit, Compare, Event, KeyValue, Revision, StoreError, TxnOutcome};
use bytes::Bytes;
use etcd_client::{CompareOp, EventType, ResponseHeader, TxnOpResponse, TxnResponse};
use std::{error::Error, fmt, sync::Arc};

/// Why etcd did not do what was asked.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// The revision is compacted.
    Compacted,
    /// The revision has not happened.
    Future,
    /// The lease to attach a key to has expired; nothing was written.
    LeaseNotFound,
    /// Anything else, also no answer.
    Other(Arc<dyn Error + Send + Sync>),
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compacted => out.write_str("the revision is compacted"),
            Self::Future => out.write_str("the revision is in the future"),
            Self::LeaseNotFound => out.write_str("the lease has expired"),
            Self::Other(error) => error.fmt(out),
        }
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Other(error) => error.source(),
            _ => None,
        }
    }
}

impl Refusal {
    pub(super) fn unavailable(self, doing: &'static str) -> StoreError {
        StoreError::unavailable(doing, self)
    }
}

/// etcd names its errors by text (`api/v3rpc/rpctypes/error.go`); the texts are part of its API.
pub(super) fn refusal(error: etcd_client::Error) -> Refusal {
    if let etcd_client::Error::GRpcStatus(status) = &error {
        match status.message() {
            "etcdserver: mvcc: required revision has been compacted" => return Refusal::Compacted,
            "etcdserver: mvcc: required revision is a future revision" => return Refusal::Future,
            "etcdserver: requested lease not found" => return Refusal::LeaseNotFound,
            _ => (),
        }
    }
    Refusal::Other(Arc::new(error))
}

/// etcd's revisions are signed and never negative.
pub(super) fn unsigned(revision: i64) -> Revision {
    u64::try_from(revision).unwrap_or(0)
}

/// Beyond etcd's range is the future to etcd as to us.
pub(super) fn signed(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

pub(super) fn revision(header: Option<&ResponseHeader>) -> Revision {
    header.map_or(0, |header| unsigned(header.revision()))
}

pub(super) fn compare(compare: &Compare) -> etcd_client::Compare {
    let (key, revision) = match compare {
        Compare::Absent(key) => (key, 0),
        Compare::ModRevision(key, revision) => (key, *revision),
    };
    etcd_client::Compare::mod_revision(&**key, CompareOp::Equal, signed(revision))
}

fn key(key: &[u8]) -> Result<Arc<str>, StoreError> {
    let text = std::str::from_utf8(key).map(Arc::from);
    text.map_err(|_| StoreError::Corrupt(format!("a key in etcd is not text: {}", key.escape_ascii())))
}

pub(super) fn key_value(kv: &etcd_client::KeyValue) -> Result<KeyValue, StoreError> {
    Ok(KeyValue {
        key: key(kv.key())?,
        value: Bytes::copy_from_slice(kv.value()),
        mod_revision: unsigned(kv.mod_revision()),
        create_revision: unsigned(kv.create_revision()),
    })
}

/// A transaction's answer; the reads of one that failed are its conflict.
pub(super) fn outcome(answer: &TxnResponse) -> Result<TxnOutcome, StoreError> {
    if answer.succeeded() {
        return Ok(TxnOutcome::Committed(revision(answer.header())));
    }
    let state = |response| match response {
        TxnOpResponse::Get(found) => found.kvs().first().map(key_value).transpose(),
        other => Err(StoreError::Corrupt(format!("etcd answered a read with {other:?}"))),
    };
    answer.op_responses().into_iter().map(state).collect::<Result<_, _>>().map(TxnOutcome::Conflict)
}

/// Events in revision order as commits: those after `after`, and of them what is under `prefix`. A revision without
/// any of ours is a commit without events.
pub(super) fn commits(
    events: &[etcd_client::Event],
    after: Revision,
    prefix: &str,
) -> Result<Vec<Commit>, StoreError> {
    let mut commits: Vec<Commit> = Vec::new();
    for (event, kv) in events.iter().filter_map(|event| Some((event, event.kv()?))) {
        let revision = unsigned(kv.mod_revision());
        if revision <= after {
            continue;
        }
        if commits.last().is_none_or(|commit| commit.revision != revision) {
            commits.push(Commit { revision, events: Vec::new() });
        }
        if let Some(commit) = commits.last_mut()
            && kv.key().starts_with(prefix.as_bytes())
        {
            commit.events.push(match event.event_type() {
                EventType::Put => Event::Put(key_value(kv)?),
                EventType::Delete => Event::Delete { key: key(kv.key())? },
            });
        }
    }
    Ok(commits)
}

/// The first key that a list may show.
pub(super) fn range_start(prefix: &str, after: Option<&str>) -> Vec<u8> {
    match after {
        Some(after) if after >= prefix => [after.as_bytes(), &[0]].concat(),
        _ => prefix.as_bytes().to_vec(),
    }
}

/// The first key behind those that begin with `prefix`, which is text, so that its last byte can grow.
pub(super) fn range_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_begin_behind_after_and_end_with_the_prefix() {
        let table = [
            ("/r/", None, &b"/r/"[..]),
            ("/r/", Some("/a"), b"/r/"),
            ("/r/", Some("/r/k"), b"/r/k\0"),
            ("/r/", Some("/s"), b"/s\0"),
        ];
        for (prefix, after, expected) in table {
            assert_eq!(range_start(prefix, after), expected, "{prefix} after {after:?}");
        }
        assert_eq!(range_end("/r/"), b"/r0");
        assert_eq!(range_end("é"), [0xc3, 0xaa]);
    }
}

//! Events for users: `kubectl describe` shows them. Recording never waits and never fails a caller: a
//! bounded queue, written by one task; what does not fit is dropped and counted in a log line.
//! The same event about the same object is counted up instead of repeated, as upstream does.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;

/// Events that wait to be written at most.
const QUEUE_MAX: usize = 1024;
/// Events remembered for counting at most.
const REMEMBERED_MAX: usize = 512;
/// Longest message that the API takes.
const MESSAGE_BYTES_MAX: usize = 1024;

/// The reporting component of a node daemon, as users filter by it.
const COMPONENT: &str = "kubelet";

#[derive(Debug)]
struct Record {
    subject: ObjectReference,
    kind: &'static str,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

/// Takes events. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<Record>,
    dropped: Arc<AtomicU64>,
}

impl Recorder {
    /// A recorder that writes as `node`; its task ends when all clones are dropped.
    pub(crate) fn start(client: Client, node: String) -> Self {
        let (queue, records) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(write(client, node, records));
        Self { queue, dropped: Arc::default() }
    }

    /// Something that is as it should be.
    pub(crate) fn normal(&self, subject: ObjectReference, reason: &'static str, message: String) {
        self.record(subject, "Normal", reason, message);
    }

    /// Something that a user should look at.
    pub(crate) fn warning(&self, subject: ObjectReference, reason: &'static str, message: String) {
        self.record(subject, "Warning", reason, message);
    }

    fn record(
        &self,
        subject: ObjectReference,
        kind: &'static str,
        reason: &'static str,
        mut message: String,
    ) {
        if message.len() > MESSAGE_BYTES_MAX {
            let end = (0..=MESSAGE_BYTES_MAX).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(end);
        }
        let record = Record { subject, kind, reason, message, at: Timestamp::now() };
        if self.queue.try_send(record).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::warn!(dropped, reason, "too many events at once; one was dropped");
        }
    }
}

/// What makes two events the same.
type Key = (Option<String>, Option<String>, &'static str, String);

async fn write(client: Client, node: String, mut records: mpsc::Receiver<Record>) {
    let mut written: HashMap<Key, (String, i32)> = HashMap::new();
    while let Some(record) = records.recv().await {
        let subject = &record.subject;
        let namespace =
            subject.namespace.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| "default".into());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let key = (subject.uid.clone(), subject.field_path.clone(), record.reason, record.message.clone());
        if let Some((name, count)) = written.get_mut(&key) {
            *count += 1;
            let patch = json!({ "count": *count, "lastTimestamp": Time(record.at) });
            match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => continue,
                // Expired meanwhile: written anew below.
                Err(error) => tracing::debug!(%error, "an event could not be counted up"),
            }
        }
        if written.len() >= REMEMBERED_MAX {
            written.clear();
        }
        let event = event(&record, &node, &namespace);
        let name = event.metadata.name.clone().unwrap_or_default();
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => drop(written.insert(key, (name, 1))),
            Err(error) => tracing::warn!(%error, reason = record.reason, "an event could not be written"),
        }
    }
}

fn event(record: &Record, node: &str, namespace: &str) -> Event {
    let subject = record.subject.name.clone().unwrap_or_default();
    // As upstream names them: the object and a number that grows with time.
    let name = format!("{subject}.{:x}", record.at.as_nanosecond());
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: record.subject.clone(),
        type_: Some(record.kind.to_owned()),
        reason: Some(record.reason.to_owned()),
        message: Some(record.message.clone()),
        count: Some(1),
        first_timestamp: Some(Time(record.at)),
        last_timestamp: Some(Time(record.at)),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: Some(node.to_owned()) }),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(node.to_owned()),
        ..Event::default()
    }
}

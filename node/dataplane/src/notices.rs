//! Events about Services and pods, for users: `kubectl describe` shows them.
//!
//! Telling never waits and never fails a caller: a bounded queue, written by one task. What does not fit is dropped and
//! counted in a log line.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::sync::mpsc;

use crate::index::{Notice, Subject};

/// Notices that wait to be written at most.
const QUEUE_MAX: usize = 1024;
/// Longest note that the API takes.
const NOTE_BYTES_MAX: usize = 1024;
/// The reporting component, as users of Services filter by it.
const COMPONENT: &str = "kube-proxy";

/// Takes notices.
#[derive(Clone, Debug)]
pub(crate) struct Notices {
    queue: mpsc::Sender<Notice>,
    dropped: Arc<AtomicU64>,
}

impl Notices {
    /// Writes as the data plane of `node`; its task ends with this.
    pub(crate) fn start(client: Client, node: &str) -> Self {
        let (queue, notices) = mpsc::channel(QUEUE_MAX);
        let reporter = Reporter { controller: COMPONENT.into(), instance: Some(node.into()) };
        tokio::spawn(write(Recorder::new(client, reporter), notices));
        Self { queue, dropped: Arc::default() }
    }

    pub(crate) fn tell(&self, mut notice: Notice) {
        notice.note.truncate(notice.note.floor_char_boundary(NOTE_BYTES_MAX));
        if self.queue.try_send(notice).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::warn!(dropped, "too many events at once; one was dropped");
        }
    }
}

async fn write(recorder: Recorder, mut notices: mpsc::Receiver<Notice>) {
    while let Some(notice) = notices.recv().await {
        let event = Event {
            type_: EventType::Warning,
            reason: notice.reason.into(),
            note: Some(notice.note),
            action: "Programming".into(),
            secondary: None,
        };
        if let Err(error) = recorder.publish(&event, &reference(&notice.about)).await {
            tracing::warn!(%error, reason = notice.reason, "an event could not be written");
        }
    }
}

fn reference(subject: &Subject) -> ObjectReference {
    let (namespace, name) = &subject.key;
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some(subject.kind.into()),
        namespace: Some(namespace.to_string()).filter(|namespace| !namespace.is_empty()),
        name: Some(name.to_string()),
        uid: Some(subject.uid.to_string()),
        ..ObjectReference::default()
    }
}

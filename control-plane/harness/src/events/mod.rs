//! Events about objects: written in the background, similar ones aggregated, the number per object limited.
//!
//! A recorder never waits and never fails its caller: an Event is advice for people. What the queue or the limit does
//! not hold is counted and dropped, as upstream's recorder does.

mod correlate;

use crate::{
    Api, Meta, Resource, Timestamp,
    api::{self, PatchKind, chain},
};
use correlate::{Correlator, Decision};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Events that may wait to be written.
pub const QUEUE_MAX: usize = 1000;
/// The API's limit on a message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024;

/// Whom an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Involved {
    /// `group/version`, or `v1`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Uid.
    pub uid: Arc<str>,
}

impl Involved {
    /// The object of this resource with this metadata.
    pub fn new(resource: &Resource, meta: &Meta) -> Self {
        Self {
            api_version: resource.api_version(),
            kind: resource.kind.to_string(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
        }
    }

    fn reference(&self) -> Value {
        let mut value = json!({"apiVersion": self.api_version, "kind": self.kind, "name": &*self.name, "uid": &*self.uid});
        if !self.namespace.is_empty() {
            value["namespace"] = (&*self.namespace).into();
        }
        value
    }
}

/// Normal or Warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Things go as they should.
    Normal,
    /// Someone should look.
    Warning,
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Note {
    /// About.
    pub involved: Involved,
    /// Normal or Warning.
    pub severity: Severity,
    /// UpperCamelCase, for machines.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// Takes notes from anywhere in a component.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Note>,
    dropped: Arc<AtomicU64>,
}

impl Recorder {
    /// Starts the writer. `component` is shown as the source, for example `deployment-controller`.
    pub fn start(api: Api, component: &'static str, shutdown: CancellationToken) -> Self {
        let (queue, notes) = mpsc::channel(QUEUE_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        tokio::spawn(write_all(api, component, notes, dropped.clone(), shutdown));
        Self { queue, dropped }
    }

    /// Tells something about an object.
    pub fn note(
        &self,
        involved: Involved,
        severity: Severity,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let mut message = message.into();
        if message.len() > MESSAGE_BYTES_MAX {
            let end = (0..=MESSAGE_BYTES_MAX - 3).rev().find(|&i| message.is_char_boundary(i)).unwrap_or(0);
            message.truncate(end);
            message.push_str("...");
        }
        if self.queue.try_send(Note { involved, severity, reason, message }).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A Normal event.
    pub fn normal(&self, resource: &Resource, meta: &Meta, reason: &'static str, message: impl Into<String>) {
        self.note(Involved::new(resource, meta), Severity::Normal, reason, message);
    }

    /// A Warning event.
    pub fn warning(
        &self,
        resource: &Resource,
        meta: &Meta,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.note(Involved::new(resource, meta), Severity::Warning, reason, message);
    }

    /// Notes that were not written: queue full, too many about one object, or refused by the server.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

async fn write_all(
    api: Api,
    component: &'static str,
    mut notes: mpsc::Receiver<Note>,
    dropped: Arc<AtomicU64>,
    shutdown: CancellationToken,
) {
    let mut correlator = Correlator::default();
    loop {
        let note = tokio::select! {
            () = shutdown.cancelled() => return,
            note = notes.recv() => match note { Some(note) => note, None => return },
        };
        let now = Timestamp::now();
        let decision = correlator.decide(&note, now);
        let written = match &decision {
            Decision::Drop => false,
            Decision::Create { message } => {
                let name = correlator.name(&note, now);
                let event = event(component, &note, message, &name, now);
                write(&api, &note, None, event).await.is_some_and(|name| {
                    correlator.created(&note, message, name);
                    true
                })
            }
            Decision::Count { name, count } => {
                let patch = json!({"count": count, "lastTimestamp": now});
                let found = write(&api, &note, Some(name), patch).await.is_some();
                if !found {
                    correlator.forget(&note);
                }
                found
            }
        };
        if !written {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn event(component: &str, note: &Note, message: &str, name: &str, now: Timestamp) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": name, "namespace": namespace(note)},
        "involvedObject": note.involved.reference(),
        "type": format!("{:?}", note.severity),
        "reason": note.reason, "message": message,
        "source": {"component": component}, "reportingComponent": component, "reportingInstance": "",
        "firstTimestamp": now, "lastTimestamp": now, "count": 1,
    })
}

/// Events about cluster-scoped objects are kept in `default`.
fn namespace(note: &Note) -> &str {
    if note.involved.namespace.is_empty() { "default" } else { &note.involved.namespace }
}

/// Tries a few times when the server does not answer; a refusal is final. Returns the event's name if it was written.
async fn write(api: &Api, note: &Note, existing: Option<&str>, body: Value) -> Option<String> {
    const ATTEMPTS_MAX: u32 = 3;
    for attempt in 1..=ATTEMPTS_MAX {
        let ns = Some(namespace(note));
        let result = match existing {
            None => api.create::<Named>(&api::EVENTS, ns, &body).await,
            Some(name) => api.patch::<Named>(&api::EVENTS, ns, name, None, PatchKind::Strategic, &body).await,
        };
        match result {
            Ok(event) => return Some(event.metadata.name),
            Err(e) if e.code().is_some() || attempt == ATTEMPTS_MAX => {
                tracing::debug!(reason = note.reason, error = chain(&e), "an event was not written");
                return None;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200) * attempt).await,
        }
    }
    None
}

#[derive(serde::Deserialize)]
struct Named {
    metadata: Name,
}

#[derive(serde::Deserialize)]
struct Name {
    name: String,
}

//! What happens to containers without our doing, from containerd's own event stream.
//!
//! The stream is the fast path: an exit is known within milliseconds. It can break and events are not
//! replayed, so every (re)connection is announced as [`RuntimeEvent::Resync`], upon which the receiver
//! reads the runtime's lists. Owns the connection and its retries; what an exit means is the kubelet's.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use containerd_client::events::{TaskExit, TaskOom};
use containerd_client::services::v1::SubscribeRequest;
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::types::Envelope;
use prost::Message;
use tokio::sync::mpsc;

/// Shortest and longest pause between two attempts to reach containerd.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Namespace in which containerd's CRI plugin keeps its containers.
const NAMESPACE: &str = "k8s.io";

/// Something happened in the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// Events before this one may have been missed: read the lists.
    Resync,
    /// The main process of a container, or of a sandbox, has ended.
    Exited {
        /// Container or sandbox.
        id: String,
        /// Exit code; 128 + n for signal n.
        code: i32,
        /// When.
        at: SystemTime,
    },
    /// The kernel killed a process of the container for lack of memory. Precedes its exit, if it exits.
    OutOfMemory {
        /// Container.
        id: String,
    },
}

/// Follows containerd at `socket` until the receiver is dropped, reconnecting as needed.
pub async fn follow(socket: PathBuf, events: mpsc::Sender<RuntimeEvent>) {
    let mut pause = RETRY.0;
    while !events.is_closed() {
        match subscribe(&socket, &events).await {
            Ok(()) => pause = RETRY.0,
            Err(error) => {
                tracing::warn!(%error, retry_in = ?pause, "containerd's event stream is not available");
            }
        }
        tokio::select! {
            () = events.closed() => return,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY.1),
        }
    }
}

/// One connection. `Ok` when it had been established and ended.
async fn subscribe(
    socket: &std::path::Path,
    events: &mpsc::Sender<RuntimeEvent>,
) -> Result<(), tonic::Status> {
    let mut client = EventsClient::new(crate::cri::channel(socket));
    let filters = ["/tasks/exit", "/tasks/oom"]
        .map(|topic| format!("topic==\"{topic}\",namespace=={NAMESPACE}"))
        .to_vec();
    let mut stream = client.subscribe(SubscribeRequest { filters }).await?.into_inner();
    if events.send(RuntimeEvent::Resync).await.is_err() {
        return Ok(());
    }
    loop {
        let envelope = tokio::select! {
            () = events.closed() => return Ok(()),
            next = stream.message() => match next {
                Ok(Some(envelope)) => envelope,
                Ok(None) => return Ok(()),
                Err(status) => {
                    tracing::warn!(%status, "containerd's event stream broke");
                    return Ok(());
                }
            },
        };
        if let Some(event) = decode(&envelope)
            && events.send(event).await.is_err()
        {
            return Ok(());
        }
    }
}

fn decode(envelope: &Envelope) -> Option<RuntimeEvent> {
    let body = envelope.event.as_ref()?.value.as_slice();
    match envelope.topic.as_str() {
        "/tasks/exit" => {
            let exit = TaskExit::decode(body).ok()?;
            // An exec in the container has an id of its own; only the main process counts.
            (exit.id == exit.container_id).then(|| RuntimeEvent::Exited {
                code: i32::try_from(exit.exit_status).unwrap_or(255),
                at: exit.exited_at.and_then(|t| SystemTime::try_from(t).ok()).unwrap_or_else(SystemTime::now),
                id: exit.container_id,
            })
        }
        "/tasks/oom" => {
            TaskOom::decode(body).ok().map(|oom| RuntimeEvent::OutOfMemory { id: oom.container_id })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(topic: &str, body: &impl Message) -> Envelope {
        Envelope {
            topic: topic.to_owned(),
            event: Some(prost_types::Any { type_url: String::new(), value: body.encode_to_vec() }),
            ..Default::default()
        }
    }

    #[test]
    fn the_exit_of_an_exec_is_not_the_exit_of_its_container() {
        let mut exit = TaskExit {
            container_id: "c1".into(),
            id: "probe-7".into(),
            exit_status: 137,
            ..Default::default()
        };
        assert_eq!(decode(&envelope("/tasks/exit", &exit)), None);
        exit.id = "c1".into();
        let event = decode(&envelope("/tasks/exit", &exit));
        assert!(matches!(event, Some(RuntimeEvent::Exited { ref id, code: 137, .. }) if id == "c1"));
    }
}

//! Follows one collection: list, then watch from the list's revision, for ever.
//!
//! ```text
//!            listed(revision)            closed, bookmark, event
//!   List ────────────────────▶ Watch ──────────────┐
//!    ▲ ▲ failed: wait            │ ▲  failed: wait │
//!    └─┘      410 expired        │ └───────────────┘
//!    └───────────────────────────┘
//! ```
//! Nothing is missed: the watch starts where the list ended, and an expired revision leads to a new list, which the
//! sink compares with what it holds.

use crate::{
    Api, Resource,
    api::{ApiError, RawEvent, chain},
};
use rand::Rng;
use serde::{Deserialize, de::DeserializeOwned};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What to follow.
#[derive(Clone, Debug)]
pub struct Collection {
    /// The resource, over all namespaces.
    pub resource: Resource,
    /// The form of the answers: [`WHOLE`] or [`METADATA`].
    pub accept: &'static str,
    /// A field selector, or empty.
    pub fields: &'static str,
}

/// Whole objects.
pub const WHOLE: &str = "application/json";
/// Only their metadata, where the server can do that; a view of the metadata reads either.
pub const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

impl Collection {
    /// All objects of a resource.
    pub fn all(resource: Resource) -> Self {
        Self { resource, accept: WHOLE, fields: "" }
    }
}

/// Where a reflector puts what it reads.
pub trait Sink<T>: Sync {
    /// Exactly these objects exist.
    fn reset(&self, objects: Vec<T>);
    /// Added or modified.
    fn apply(&self, object: T);
    /// Deleted; the object's last state.
    fn delete(&self, object: T);
}

/// What the reflector does next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    List,
    Watch { from: String },
}

/// How a phase ended.
#[derive(Debug)]
enum Outcome {
    Listed { revision: String },
    Closed { revision: String },
    Failed { revision: String, error: WatchError },
}

#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("the server ended the watch: {message} ({code})")]
    Ended { code: u16, message: String },
    #[error("a watch event that is not JSON")]
    Syntax(#[source] serde_json::Error),
}

impl WatchError {
    fn is_expired(&self) -> bool {
        match self {
            WatchError::Api(e) => e.is_expired(),
            WatchError::Ended { code, .. } => *code == 410,
            WatchError::Syntax(_) => false,
        }
    }
}

const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A watch lives between one and two of these, so that not all of a process end together.
const WATCH_SECONDS: u64 = 300;

/// The transitions. Returns the next phase and whether to wait before it.
fn next(outcome: &Outcome) -> (Phase, bool) {
    match outcome {
        Outcome::Listed { revision } | Outcome::Closed { revision } => {
            (Phase::Watch { from: revision.clone() }, false)
        }
        Outcome::Failed { error, .. } if error.is_expired() => (Phase::List, false),
        Outcome::Failed { revision, .. } if revision.is_empty() => (Phase::List, true),
        Outcome::Failed { revision, .. } => (Phase::Watch { from: revision.clone() }, true),
    }
}

/// Runs until `shutdown`.
pub async fn reflect<T: DeserializeOwned>(
    api: &Api,
    source: &Collection,
    sink: &(impl Sink<T> + ?Sized),
    shutdown: &CancellationToken,
) {
    let mut phase = Phase::List;
    let mut backoff = BACKOFF_MIN;
    loop {
        let outcome = tokio::select! {
            () = shutdown.cancelled() => return,
            outcome = perform(api, source, sink, phase) => outcome,
        };
        let wait;
        (phase, wait) = next(&outcome);
        if let Outcome::Failed { error, .. } = &outcome {
            tracing::warn!(resource = %source.resource, wait, error = chain(error), "following a collection failed; trying again");
        }
        if !wait {
            backoff = BACKOFF_MIN;
            continue;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(backoff.mul_f64(rand::rng().random_range(0.8..1.2))) => {}
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

async fn perform<T: DeserializeOwned>(
    api: &Api,
    source: &Collection,
    sink: &(impl Sink<T> + ?Sized),
    phase: Phase,
) -> Outcome {
    match phase {
        Phase::List => match list(api, source).await {
            Ok((revision, objects)) => {
                sink.reset(objects);
                Outcome::Listed { revision }
            }
            Err(e) => Outcome::Failed { revision: String::new(), error: e.into() },
        },
        Phase::Watch { from: mut revision } => match watch(api, source, sink, &mut revision).await {
            Ok(()) => Outcome::Closed { revision },
            Err(error) => Outcome::Failed { revision, error },
        },
    }
}

/// The whole collection at the revision of its first page.
async fn list<T: DeserializeOwned>(api: &Api, source: &Collection) -> Result<(String, Vec<T>), ApiError> {
    let mut objects = Vec::new();
    let mut token = String::new();
    loop {
        let page = api.list_collection::<T>(source, &token).await?;
        objects.extend(page.items);
        token = page.metadata.r#continue;
        if token.is_empty() {
            return Ok((page.metadata.resource_version, objects));
        }
    }
}

#[derive(Deserialize)]
struct Versioned {
    metadata: Version,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    resource_version: String,
}

#[derive(Deserialize)]
struct ErrorStatus {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

async fn watch<T: DeserializeOwned>(
    api: &Api,
    source: &Collection,
    sink: &(impl Sink<T> + ?Sized),
    revision: &mut String,
) -> Result<(), WatchError> {
    let seconds = rand::rng().random_range(WATCH_SECONDS..2 * WATCH_SECONDS);
    let mut lines = api.watch(source, revision, Duration::from_secs(seconds)).await?;
    while let Some(line) = lines.next().await? {
        let event: RawEvent<'_> = serde_json::from_slice(line).map_err(WatchError::Syntax)?;
        let text = event.object.get();
        if event.r#type == "ERROR" {
            let status: ErrorStatus = serde_json::from_str(text).map_err(WatchError::Syntax)?;
            return Err(WatchError::Ended { code: status.code, message: status.message });
        }
        deliver(&source.resource, sink, &event.r#type, text);
        let version: Versioned = serde_json::from_str(text).map_err(WatchError::Syntax)?;
        *revision = version.metadata.resource_version;
    }
    Ok(())
}

/// An object that the view cannot hold is passed over loudly: stopping would hide all others too.
fn deliver<T: DeserializeOwned>(resource: &Resource, sink: &(impl Sink<T> + ?Sized), kind: &str, text: &str) {
    if kind == "BOOKMARK" {
        return;
    }
    match serde_json::from_str::<T>(text) {
        Ok(object) if kind == "DELETED" => sink.delete(object),
        Ok(object) => sink.apply(object),
        Err(error) => tracing::error!(%resource, %error, "an object that cannot be read is passed over"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_revision_leads_to_a_new_list_and_other_failures_resume() {
        let ended = |code| WatchError::Ended { code, message: String::new() };
        let watch = |from: &str| Phase::Watch { from: from.to_owned() };
        let failed =
            |revision: &str, code| Outcome::Failed { revision: revision.to_owned(), error: ended(code) };
        let rows = [
            (Outcome::Listed { revision: "5".into() }, watch("5"), false),
            (Outcome::Closed { revision: "9".into() }, watch("9"), false),
            (failed("9", 410), Phase::List, false),
            (failed("9", 500), watch("9"), true),
            (failed("", 503), Phase::List, true),
        ];
        for (outcome, phase, wait) in rows {
            assert_eq!(next(&outcome), (phase, wait), "{outcome:?}");
        }
    }
}

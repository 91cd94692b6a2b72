//! Event of the core group, which is also how those of events.k8s.io are kept. Forgotten after an hour.

use crate::{
    meta,
    strategy::{Call, Strategy},
    validate::Errors,
};
use keelson_schema::{FieldError, Path};
use serde_json::Value;
use std::time::Duration;

/// Upstream's `--event-ttl`.
const TTL: Duration = Duration::from_secs(3600);

/// Event.
pub struct Event;

impl Strategy for Event {
    fn create_on_update(&self) -> bool {
        true
    }

    fn ttl(&self) -> Option<Duration> {
        Some(TTL)
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let namespace = meta::field(object, "namespace");
        let involved = meta::text(object, &["involvedObject", "namespace"]);
        let path = Path::new("involvedObject.namespace");
        // Events about cluster-scoped objects are in the default namespace.
        let fits = if involved.is_empty() {
            namespace == "default" || namespace == "kube-system"
        } else {
            involved == namespace
        };
        if fits {
            return Errors::new();
        }
        vec![FieldError::invalid(&path, involved, "does not match event.namespace")]
    }
}

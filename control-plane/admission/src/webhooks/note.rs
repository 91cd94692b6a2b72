//! What the audit log learns of webhooks: who changed the object and how, and whom a request went on without.
//!
//! Keys and values: <https://kubernetes.io/docs/reference/labels-annotations-taints/audit-annotations/>.

use super::configuration::Hook;
use keelson_registry::Attributes;
use serde_json::{Value, json};

/// Where among all webhooks of its kind one stands, and in which round it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `mutating` or `validating`.
    pub(super) kind: &'static str,
    pub(super) round: usize,
    pub(super) index: usize,
}

impl Place {
    fn key(self, what: &str) -> String {
        format!("{what}.webhook.admission.k8s.io/round_{}_index_{}", self.round, self.index)
    }
}

/// Whether a mutating webhook changed the object.
pub(super) fn mutation(attributes: &Attributes<'_>, hook: &Hook, place: Place, mutated: bool) {
    attributes.annotations.add(place.key("mutation"), || {
        json!({ "configuration": hook.configuration, "webhook": hook.name, "mutated": mutated }).to_string()
    });
}

/// How it did: the patch as it was sent.
pub(super) fn patch(attributes: &Attributes<'_>, hook: &Hook, place: Place, patch: &[u8]) {
    attributes.annotations.add_of_body(place.key("patch"), || {
        let patch: Value = serde_json::from_slice(patch).unwrap_or_default();
        json!({
            "configuration": hook.configuration, "webhook": hook.name, "patch": patch, "patchType": "JSONPatch",
        })
        .to_string()
    });
}

/// That a webhook could not be asked, and nobody minded.
pub(super) fn failed_open(attributes: &Attributes<'_>, hook: &Hook, place: Place) {
    let key = place.key(&format!("failed-open.{}", place.kind));
    attributes.annotations.add(key, || hook.name.clone());
}

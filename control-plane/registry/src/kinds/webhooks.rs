//! MutatingWebhookConfiguration and ValidatingWebhookConfiguration: who else is asked before a write. Who asks is
//! keelson-admission.

use crate::{
    strategy::{Call, Strategy},
    validate::{Errors, webhook},
};
use serde_json::Value;

/// Either of the two.
pub struct WebhookConfiguration {
    /// Whether its webhooks may change objects.
    pub mutating: bool,
}

impl Strategy for WebhookConfiguration {
    fn has_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        webhook::configuration(object, self.mutating)
    }
}

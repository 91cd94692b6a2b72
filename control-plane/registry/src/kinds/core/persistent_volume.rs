//! PersistentVolume: storage that a claim can be bound to.

use crate::{
    kinds::idle,
    meta,
    strategy::{Call, Strategy},
    validate::{
        Errors,
        persistent_volume::{persistent_volume, persistent_volume_update},
    },
    warn::{self, Notes},
};
use serde_json::{Value, json};

/// PersistentVolume.
pub struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn prepare_create(&self, call: &Call<'_>, object: &mut Value) {
        let status = json!({"phase": "Pending", "lastPhaseTransitionTime": meta::time_text(call.now)});
        meta::map_of(object).insert("status".to_owned(), status);
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        persistent_volume(&object["spec"])
    }

    fn validate_update(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        persistent_volume_update(&new["spec"], &old["spec"])
    }

    /// Whoever changes the phase without saying when, did so now.
    fn prepare_status(&self, call: &Call<'_>, new: &mut Value, old: &Value) {
        let of = |object: &Value, key| meta::at(object, &["status", key]).cloned();
        let is_new = of(new, "phase") != of(old, "phase");
        let since = "lastPhaseTransitionTime";
        let is_untold = of(new, since).is_none() || of(new, since) == of(old, since);
        let next = match (is_new, is_untold) {
            (true, true) => Some(meta::time_text(call.now)),
            (false, _) if of(new, since).is_none() => of(old, since),
            _ => return,
        };
        if let Some(status) = new.get_mut("status") {
            meta::carry(meta::map_of(status), since, next.as_ref());
        }
    }

    fn warnings(&self, call: &Call<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut notes = Notes::from(idle::warnings(call.kind, old));
        warn::volume::persistent(new, &mut notes);
        notes.into_texts()
    }
}

//! StatefulSet: pods with a name and a volume of their own, in order.

use super::{collisions, counts, template_warnings};
use crate::{
    kinds::idle,
    meta,
    strategy::{Call, NameRule, Strategy},
    validate::{
        Errors, non_negative,
        workload::{stateful_set_spec, stateful_set_update},
    },
    warn::{self, Notes, Place},
};
use keelson_schema::{FieldError, Path};
use serde_json::{Value, json};

/// StatefulSet.
pub struct StatefulSet;

impl Strategy for StatefulSet {
    /// Names are those of pods and hosts but for the ordinal.
    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        let status = json!({"replicas": 0, "availableReplicas": 0});
        meta::map_of(object).insert("status".to_owned(), status);
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        stateful_set_spec(&object["spec"])
    }

    fn validate_update(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        stateful_set_update(&new["spec"], &old["spec"])
    }

    fn validate_status(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        const COUNTS: &[&str] = &[
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
        ];
        const PARTS: &[&str] = &["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        let mut errors = counts(new, COUNTS, "replicas", PARTS);
        let (path, status) = (Path::new("status"), &new["status"]);
        errors.extend(non_negative(&path, status, "collisionCount"));
        let available = meta::number(status, &["availableReplicas"]).unwrap_or_default();
        if available > meta::number(status, &["readyReplicas"]).unwrap_or_default() {
            let detail = "cannot be greater than status.readyReplicas";
            errors.push(FieldError::invalid(&path.child("availableReplicas"), available, detail));
        }
        errors.extend(collisions(new, old));
        errors
    }

    fn warnings(&self, call: &Call<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut notes = Notes::from(idle::warnings(call.kind, old));
        template_warnings(new, old, &mut notes);
        if warn::is_new(new, old) {
            claim_warnings(new, &mut notes);
        }
        if meta::number(new, &["spec", "revisionHistoryLimit"]).is_some_and(|limit| limit < 0) {
            notes.say(
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended",
            );
        }
        notes.into_texts()
    }
}

/// Places are upstream's, which leaves out the `spec` of each template.
fn claim_warnings(object: &Value, notes: &mut Notes) {
    let all = Place::Root.field("spec.volumeClaimTemplates");
    for (index, claim) in meta::items(object, &["spec", "volumeClaimTemplates"]).iter().enumerate() {
        warn::claim::spec(&all.index(index), &claim["spec"], notes);
    }
}

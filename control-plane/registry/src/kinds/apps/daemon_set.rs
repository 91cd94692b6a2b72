//! DaemonSet: a pod on each node. Its template's changes are counted in an annotation, which nobody may set back.

use super::{collisions, counts, template_warnings};
use crate::{
    kinds::idle,
    meta,
    strategy::{Call, Strategy},
    validate::{
        Errors, non_negative,
        workload::{daemon_set_spec, selector_unchanged},
    },
    warn::Notes,
};
use keelson_schema::Path;
use serde_json::{Value, json};

/// Where v1 keeps what v1beta1 had as spec.templateGeneration.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// DaemonSet.
pub struct DaemonSet;

impl Strategy for DaemonSet {
    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        let status = json!({
            "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
        });
        meta::map_of(object).insert("status".to_owned(), status);
        let given = template_generation(object);
        set_template_generation(object, given.max(1));
    }

    fn prepare_update(&self, _call: &Call<'_>, new: &mut Value, old: &Value) {
        let changed = new.pointer("/spec/template") != old.pointer("/spec/template");
        set_template_generation(new, template_generation(old) + i64::from(changed));
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        daemon_set_spec(&object["spec"])
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = self.validate(call, new);
        errors.extend(selector_unchanged(new, old));
        errors
    }

    fn prepare_status(&self, _call: &Call<'_>, new: &mut Value, old: &Value) {
        set_template_generation(new, template_generation(old));
    }

    fn validate_status(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        const COUNTS: &[&str] = &[
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
        ];
        let mut errors = counts(new, COUNTS, "desiredNumberScheduled", &[]);
        errors.extend(non_negative(&Path::new("status"), &new["status"], "collisionCount"));
        errors.extend(collisions(new, old));
        errors
    }

    fn warnings(&self, call: &Call<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut notes = Notes::from(idle::warnings(call.kind, old));
        template_warnings(new, old, &mut notes);
        notes.into_texts()
    }
}

fn template_generation(object: &Value) -> i64 {
    let text = meta::text(object, &["metadata", "annotations", TEMPLATE_GENERATION]);
    text.parse().unwrap_or_default()
}

fn set_template_generation(object: &mut Value, generation: i64) {
    let annotations = meta::metadata(object).entry("annotations").or_insert_with(|| json!({}));
    meta::map_of(annotations).insert(TEMPLATE_GENERATION.to_owned(), json!(generation.to_string()));
}

//! PodTemplate: what a pod would be like; nobody makes pods of it by itself.

use crate::{
    strategy::{Call, Strategy},
    validate::{Errors, workload},
    warn::{self, Notes, Place},
};
use keelson_schema::Path;
use serde_json::Value;

/// PodTemplate.
pub struct PodTemplate;

impl Strategy for PodTemplate {
    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        workload::template(&Path::new("template"), &object["template"])
    }

    fn warnings(&self, _call: &Call<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut notes = Notes::default();
        if warn::is_new(new, old) {
            warn::pod::template(&Place::Root.field("template"), &new["template"], &mut notes);
        }
        notes.into_texts()
    }
}

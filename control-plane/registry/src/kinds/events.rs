//! Event of events.k8s.io: a view of the core Event, with stricter rules.
//!
//! Rules: upstream's conversion in `pkg/apis/events/v1` and `ValidateEventCreate`.

use crate::{
    kind::Conversion,
    meta,
    strategy::{Call, Strategy},
    validate::Errors,
};
use keelson_schema::{FieldError, Path};
use serde_json::{Map, Value};

/// (the view's name, the stored name).
const NAMES: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];
const NOTE_BYTES_MAX: usize = 1024;
const TEXT_BYTES_MAX: usize = 128;

/// events.k8s.io over core events.
pub struct AsCore;

impl Conversion for AsCore {
    fn stored(&self) -> (&'static str, &'static str) {
        ("", "events")
    }

    fn stored_version(&self) -> &'static str {
        "v1"
    }

    fn to_stored(&self, object: Value) -> Value {
        renamed(object, "v1", |(view, stored)| (view, stored))
    }

    fn to_view(&self, object: Value) -> Value {
        renamed(object, "events.k8s.io/v1", |(view, stored)| (stored, view))
    }
}

fn renamed(
    mut object: Value,
    api_version: &str,
    direction: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Value {
    let map = meta::map_of(&mut object);
    let mut next = Map::new();
    for (key, value) in std::mem::take(map) {
        let name = NAMES.iter().map(|pair| direction(*pair)).find(|(from, _)| *from == key);
        next.insert(name.map_or(key, |(_, to)| to.to_owned()), value);
    }
    next.insert("apiVersion".to_owned(), Value::String(api_version.to_owned()));
    Value::Object(next)
}

/// Event.
pub struct Event;

impl Strategy for Event {
    fn create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let mut errors = Errors::new();
        if meta::at(object, &["eventTime"]).is_none() {
            errors.push(FieldError::required(&Path::new("eventTime"), ""));
        }
        for key in ["reportingController", "reportingInstance", "action", "reason"] {
            let text = meta::text(object, &[key]);
            if text.is_empty() {
                errors.push(FieldError::required(&Path::new(key), ""));
            } else if text.len() > TEXT_BYTES_MAX {
                let detail = format!("can have at most {TEXT_BYTES_MAX} characters");
                errors.push(FieldError::invalid(&Path::new(key), "", detail));
            }
        }
        if meta::text(object, &["note"]).len() > NOTE_BYTES_MAX {
            let detail = format!("can have at most {NOTE_BYTES_MAX} characters");
            errors.push(FieldError::invalid(&Path::new("note"), "", detail));
        }
        let kind = meta::text(object, &["type"]);
        if !matches!(kind, "Normal" | "Warning") {
            errors.push(FieldError::invalid(&Path::new("type"), "", format!("has invalid value: {kind}")));
        }
        errors
    }
}

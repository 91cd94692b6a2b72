//! FlowSchema and PriorityLevelConfiguration; a file each. Here what both have: conditions, and the objects that a cluster
//! cannot do without.
//!
//! Rules: upstream's `pkg/apis/flowcontrol/validation`.

mod flow_schema;
mod priority_level;

pub use flow_schema::flow_schema;
pub use priority_level::priority_level;

use super::{Errors, wrong};
use crate::meta;
use keelson_flow::builtin;
use keelson_schema::{FieldError, Path};
use serde_json::Value;

/// The conditions of a status.
pub fn status(status: &Value) -> Errors {
    let path = Path::new("status.conditions");
    let mut errors = Errors::new();
    let conditions = meta::items(status, &["conditions"]);
    let kind = |condition: &Value| meta::text(condition, &["type"]).to_owned();
    for (index, condition) in conditions.iter().enumerate() {
        let (path, own) = (path.index(index).child("type"), kind(condition));
        if conditions[..index].iter().any(|earlier| kind(earlier) == own) {
            errors.push(FieldError::duplicate(&path, own.clone()));
        }
        if own.is_empty() {
            errors.push(FieldError::required(&path, "must not be empty"));
        }
    }
    errors
}

/// A mandatory object is as it is; of the exempt level what it counts for in the shares of others may be changed.
fn fixed(object: &Value) -> Option<FieldError> {
    let name = meta::field(object, "name");
    let wanted = builtin::mandatory(meta::text(object, &["kind"]), name)?;
    if builtin::same_spec(&wanted, object) {
        return None;
    }
    let but = if wanted["spec"].get("exempt").is_some() { " except the 'spec.exempt' field" } else { "" };
    Some(wrong(&Path::new("spec"), format!("spec of '{name}'{but} must equal the fixed value")))
}

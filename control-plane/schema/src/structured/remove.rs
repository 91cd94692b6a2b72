//! A state without certain fields.

use serde_json::Value;

use super::element::Element;
use super::place::{Form, Place};
use super::set::FieldSet;

/// Takes the members of the set out of the value. A map or list that loses its last entry is null from then on: it was
/// there, and who owns it does so still.
pub(super) fn remove(place: Place<'_>, value: &mut Value, set: &FieldSet) {
    if set.is_empty() {
        return;
    }
    match (place.form(value), value) {
        (Form::Fields, Value::Object(fields)) => {
            for node in &set.nodes {
                let Element::Field(name) = &node.element else { continue };
                let name = name.as_ref();
                if node.branch.member {
                    fields.remove(name);
                } else if let Some(below) = fields.get_mut(name)
                    && empties(place.field(name), below, &node.branch.below)
                {
                    *below = Value::Null;
                }
            }
        }
        (form @ (Form::Set | Form::Keyed(_)), Value::Array(items)) => {
            items.retain_mut(|item| {
                let branch = place.element(form, item).ok().and_then(|element| set.get(&element));
                match branch {
                    Some(branch) if branch.member => false,
                    Some(branch) => !empties(place.item(), item, &branch.below),
                    None => true,
                }
            });
        }
        _ => {}
    }
}

/// Removes, and says whether that left nothing.
fn empties(place: Place<'_>, value: &mut Value, set: &FieldSet) -> bool {
    let is_empty = |value: &Value| match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    if is_empty(value) {
        return false;
    }
    remove(place, value, set);
    is_empty(value)
}

//! Amounts of bytes that are not whole.

use super::{Notes, Place};
use crate::{meta, validate::resources};
use keelson_schema::field::quote;
use serde_json::Value;

/// What is counted in bytes among the resources of pods.
const IN_BYTES: &[&str] = &["memory", "ephemeral-storage"];

/// Amounts in a list of a pod's resources (`limits`, `requests`, `overhead`).
pub(super) fn of_pod(place: &Place<'_>, list: Option<&Value>, notes: &mut Notes) {
    IN_BYTES.iter().for_each(|name| whole(place, list, name, notes));
}

/// The amount of one resource.
pub(super) fn whole(place: &Place<'_>, list: Option<&Value>, name: &str, notes: &mut Notes) {
    let Some(amount) = list.and_then(|list| meta::at(list, &[name])).and_then(resources::quantity) else {
        return;
    };
    // An amount that milli-units cannot tell is beyond petabytes, where no fraction is meant.
    let milli = amount.milli_value();
    if milli % 1_000 != 0 && milli != i64::MAX {
        let shown = quote(&amount.to_string());
        notes.add(
            &place.key(name),
            format_args!("fractional byte value {shown} is invalid, must be an integer"),
        );
    }
}

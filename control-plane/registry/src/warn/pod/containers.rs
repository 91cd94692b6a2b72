//! What each container has by itself: amounts and the environment.

use super::{Notes, Place, amount, each_container, quote, repeats};
use crate::meta;
use serde_json::Value;

/// All containers of a pod.
pub(super) fn check(place: &Place<'_>, spec: &Value, notes: &mut Notes) {
    each_container(place, spec, |place, container| {
        let resources = place.field("resources");
        for list in ["limits", "requests"] {
            amount::of_pod(&resources.field(list), meta::at(container, &["resources", list]), notes);
        }
        environment(&place.field("env"), meta::items(container, &["env"]), notes);
    });
}

/// Variables that are defined twice: server-side apply knows them by their names, and keeps one.
fn environment(place: &Place<'_>, variables: &[Value], notes: &mut Notes) {
    repeats::of(variables, "name", notes, |notes, index, name| {
        if !extends(&variables[index], name) {
            let name = quote(name);
            notes.add(
                &place.index(index),
                format_args!("hides previous definition of {name}, which may be dropped when using apply"),
            );
        }
    });
}

/// Whether the value is the earlier one of the same name and more (`PATH=$(PATH):/opt`).
fn extends(variable: &Value, name: &str) -> bool {
    let value = meta::text(variable, &["value"]);
    let earlier = format!("$({name})");
    meta::at(variable, &["valueFrom"]).is_none() && value != earlier && value.contains(&earlier)
}

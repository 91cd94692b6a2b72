//! Where a pod may run: old labels of nodes, and selectors that select nothing.

use super::{Notes, Place};
use crate::{meta, warn::node_labels};
use serde_json::Value;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// `nodeSelector`, `affinity` and `topologySpreadConstraints`.
pub(super) fn check(place: &Place<'_>, spec: &Value, notes: &mut Notes) {
    for (key, _) in meta::entries(spec, &["nodeSelector"]) {
        if let Some(text) = node_labels::deprecated(key) {
            notes.add(&place.field("nodeSelector").key(key), text);
        }
    }
    if let Some(affinity) = meta::at(spec, &["affinity"]) {
        let place = place.field("affinity");
        nodes(&place.field("nodeAffinity"), &affinity["nodeAffinity"], notes);
        for kind in ["podAffinity", "podAntiAffinity"] {
            pods(&place.field(kind), &affinity[kind], notes);
        }
    }
    let constraints = place.field("topologySpreadConstraints");
    for (index, constraint) in meta::items(spec, &["topologySpreadConstraints"]).iter().enumerate() {
        let place = constraints.index(index);
        node_labels::key(&place.field("topologyKey"), meta::text(constraint, &["topologyKey"]), notes);
        selector(&place, constraint, notes);
    }
}

fn nodes(place: &Place<'_>, affinity: &Value, notes: &mut Notes) {
    let required = place.field(REQUIRED);
    let terms = required.field("nodeSelectorTerms");
    for (index, term) in meta::items(affinity, &[REQUIRED, "nodeSelectorTerms"]).iter().enumerate() {
        node_labels::expressions(&terms.index(index), term, notes);
    }
    let preferred = place.field(PREFERRED);
    for (index, term) in meta::items(affinity, &[PREFERRED]).iter().enumerate() {
        let place = preferred.index(index);
        let place = place.field("preference");
        node_labels::expressions(&place, &term["preference"], notes);
        node_labels::values(&place, &term["preference"], notes);
    }
}

fn pods(place: &Place<'_>, affinity: &Value, notes: &mut Notes) {
    let required = place.field(REQUIRED);
    for (index, term) in meta::items(affinity, &[REQUIRED]).iter().enumerate() {
        selector(&required.index(index), term, notes);
    }
    let preferred = place.field(PREFERRED);
    for (index, term) in meta::items(affinity, &[PREFERRED]).iter().enumerate() {
        selector(&preferred.index(index).field("podAffinityTerm"), &term["podAffinityTerm"], notes);
    }
}

/// An empty selector selects every pod, one that is not there none.
fn selector(place: &Place<'_>, parent: &Value, notes: &mut Notes) {
    if meta::at(parent, &["labelSelector"]).is_none() {
        notes.add(&place.field("labelSelector"), "a null labelSelector results in matching no pod");
    }
}

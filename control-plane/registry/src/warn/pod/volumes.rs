//! The volumes of a pod, one by one.

use super::{Notes, Place, overlaps};
use crate::{
    meta,
    warn::{claim, volume},
};
use serde_json::Value;

/// All volumes of a pod.
pub(super) fn check(place: &Place<'_>, spec: &Value, notes: &mut Notes) {
    let volumes = place.field("volumes");
    for (index, value) in meta::items(spec, &["volumes"]).iter().enumerate() {
        let place = volumes.index(index);
        volume::source(&place, value, notes);
        if let Some(template) = meta::at(value, &["ephemeral", "volumeClaimTemplate"]) {
            claim::spec(&place.field("ephemeral.volumeClaimTemplate.spec"), &template["spec"], notes);
        }
        overlaps::check(value, notes);
    }
}

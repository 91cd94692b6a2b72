//! PersistentVolumeClaims: themselves and their size, in total and by storage class.

use crate::{names::BY_CLASS, one};
use keelson_semantics::{Quantity, ResourceList};
use serde_json::Value;

pub(crate) fn add(used: &mut ResourceList, claim: &Value) {
    let class = class_of(claim);
    let mut both = |name: &str, amount: Quantity| {
        used.insert(name.to_owned(), amount);
        if !class.is_empty() {
            used.insert(format!("{class}{BY_CLASS}{name}"), amount);
        }
    };
    both("persistentvolumeclaims", one());
    if let Some(size) = size(claim) {
        both("requests.storage", size);
    }
}

fn class_of(claim: &Value) -> &str {
    let legacy = &claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    legacy.as_str().or_else(|| claim["spec"]["storageClassName"].as_str()).unwrap_or_default()
}

/// The larger of what is asked for and what an expansion under way has set aside, in whole bytes.
fn size(claim: &Value) -> Option<Quantity> {
    let amount = |value: &Value| value.as_str()?.parse::<Quantity>().ok();
    let asked = amount(&claim["spec"]["resources"]["requests"]["storage"])?;
    let held = amount(&claim["status"]["allocatedResources"]["storage"]);
    let size = held.map_or(asked, |held| held.max(asked));
    Some(if size.as_i64().is_some() { size } else { Quantity::from_units(size.value(), size.format()) })
}

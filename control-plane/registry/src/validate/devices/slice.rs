//! ResourceSlice: a part of a pool of devices, or of the counters that they share, and from which nodes it can be reached.

use super::{device::device, duplicates, each_named, label, pool_name};
use crate::{
    meta,
    strategy::NameRule,
    validate::{
        Errors,
        csi::driver_name,
        meta::{immutable, invalid, name_errors},
        non_negative,
        pod::node_selector,
    },
};
use keelson_schema::{FieldError, Path};
use serde_json::Value;

const DEVICES_MAX: usize = 128;
/// Where any device has taints or consumes counters.
const DEVICES_MAX_ADVANCED: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;

/// All that is wrong with one; `old` is what it was before an update.
pub fn slice(object: &Value, old: Option<&Value>) -> Errors {
    let (path, spec) = (Path::new("spec"), &object["spec"]);
    let mut errors = driver_name(&path.child("driver"), meta::text(spec, &["driver"]));
    errors.extend(pool(&path.child("pool"), &spec["pool"]));
    for (at, keys) in
        [("pool.name", &["pool", "name"][..]), ("driver", &["driver"]), ("nodeName", &["nodeName"])]
    {
        let before = old.map(|old| meta::at(&old["spec"], keys));
        errors.extend(before.and_then(|before| immutable(&path.child(at), meta::at(spec, keys), before)));
    }
    errors.extend(reach(&path, spec));
    let devices = meta::items(spec, &["devices"]);
    if meta::at(spec, &["sharedCounters"]).is_some() && meta::at(spec, &["devices"]).is_some() {
        errors.push(FieldError::invalid(&path, "", "only one of `sharedCounters` or `devices` is allowed"));
    }
    let is_advanced = |device: &Value| {
        ["taints", "consumesCounters"].iter().any(|key| !meta::items(device, &[key]).is_empty())
    };
    let max = if devices.iter().any(is_advanced) { DEVICES_MAX_ADVANCED } else { DEVICES_MAX };
    let per_device = spec.get("perDeviceNodeSelection") == Some(&Value::Bool(true));
    errors.extend(each_named(&path, spec, ("devices", "name"), max, |path, one| {
        let devices = old.map_or(&[][..], |old| meta::items(&old["spec"], &["devices"]));
        let before = devices.iter().find(|before| before.get("name") == one.get("name"));
        device(path, one, before, per_device)
    }));
    let key = ("sharedCounters", "name");
    errors.extend(each_named(&path, spec, key, COUNTER_SETS_MAX, |path, set| counters(path, set, "name")));
    errors
}

fn pool(path: &Path, pool: &Value) -> Errors {
    let mut errors = pool_name(&path.child("name"), meta::text(pool, &["name"]));
    let count = meta::number(pool, &["resourceSliceCount"]).unwrap_or_default();
    if count <= 0 {
        let path = path.child("resourceSliceCount");
        errors.push(FieldError::invalid(&path, count, "must be greater than zero"));
    }
    errors.extend(
        non_negative(path, pool, "generation")
            .map(|error| FieldError { detail: error.detail.replace("to 0", "to zero"), ..error }),
    );
    errors
}

/// Where the devices can be used: said in one way of four.
fn reach(path: &Path, spec: &Value) -> Errors {
    let mut errors = Errors::new();
    let given = ways(path, spec, "must be either unset or set to a non-empty string", &mut errors);
    let terms = meta::items(spec, &["nodeSelector", "nodeSelectorTerms"]);
    if spec.get("nodeSelector").is_some() && terms.len() != 1 {
        let path = path.child("nodeSelector").child("nodeSelectorTerms");
        errors.push(FieldError::invalid(&path, terms.to_vec(), "must have exactly one node selector term"));
    }
    let detail =
        "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match &given[..] {
        [] => errors.push(FieldError::required(path, detail)),
        [_] => {}
        several => {
            let detail = format!("{detail}, but multiple fields are set");
            errors.push(FieldError::invalid(path, format!("{{{}}}", several.join(", ")), detail));
        }
    }
    errors
}

/// The ways that are given, of a slice or of a device; each looked at by itself.
pub(super) fn ways(path: &Path, of: &Value, unnamed: &str, errors: &mut Errors) -> Vec<String> {
    let mut given = Vec::new();
    match of.get("nodeName").and_then(Value::as_str) {
        Some("") => errors.push(FieldError::invalid(&path.child("nodeName"), "", unnamed)),
        Some(name) => {
            given.push("`nodeName`".to_owned());
            errors.extend(invalid(&path.child("nodeName"), name, name_errors(NameRule::Subdomain, name)));
        }
        None => {}
    }
    if let Some(selector) = meta::at(of, &["nodeSelector"]) {
        given.push("`nodeSelector`".to_owned());
        errors.extend(node_selector(&path.child("nodeSelector"), selector));
    }
    for key in ["allNodes", "perDeviceNodeSelection"] {
        match of.get(key).and_then(Value::as_bool) {
            Some(true) => given.push(format!("`{key}`")),
            Some(false) => {
                let detail = "must be either unset or set to true";
                errors.push(FieldError::invalid(&path.child(key), false, detail));
            }
            None => {}
        }
    }
    given
}

/// A set of counters, or what a device takes of one.
pub(super) fn counters(path: &Path, of: &Value, name: &str) -> Errors {
    let at = path.child(name);
    let mut errors = match meta::text(of, &[name]) {
        "" => vec![FieldError::required(&at, "")],
        set => label(&at, set),
    };
    let (path, all) = (path.child("counters"), meta::entries(of, &["counters"]));
    let names: Vec<&String> = all.map(|(name, _)| name).collect();
    match names.len() {
        0 => errors.push(FieldError::required(&path, "")),
        many if many > COUNTERS_MAX => errors.push(FieldError::too_many(&path, many, COUNTERS_MAX)),
        _ => errors.extend(names.into_iter().flat_map(|name| label(&path, name))),
    }
    errors
}

/// As items are told apart by the set that they take from.
pub(super) fn same_set(path: &Path, device: &Value) -> Errors {
    let items = meta::items(device, &["consumesCounters"]);
    duplicates(&path.child("consumesCounters"), items, |item| meta::text(item, &["counterSet"]).into())
}

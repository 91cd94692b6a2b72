//! What an update may not change, and what it must agree with.

use super::{Target, update::Intent};
use crate::{kind::Kind, meta, status::Status};
use keelson_schema::FieldError;
use serde_json::Value;

/// resourceVersion and uid in the body are preconditions.
pub(super) fn check_versions(
    target: &Target<'_>,
    intent: &Intent<'_>,
    new: &Value,
    old: &Value,
) -> Result<(), Status> {
    let (kind, resource) = (target.kind, target.kind.group_resource());
    let (uid, old_uid) = (meta::field(new, "uid"), meta::field(old, "uid"));
    if !uid.is_empty() && uid != old_uid {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {old_uid}");
        return Err(Status::conflict(&resource, target.name, why));
    }
    let version = meta::field(new, "resourceVersion");
    if version.is_empty() || version == "0" {
        // A scale has always been taken without one.
        if kind.strategy.unconditional_update()
            || matches!(intent, Intent::Patch(..) | Intent::Apply(..))
            || target.sub == "scale"
        {
            return Ok(());
        }
        let path = "metadata.resourceVersion".into();
        let error = FieldError::invalid(&path, 0, "must be specified for an update");
        return Err(Status::invalid(&kind.group_kind(), target.name, vec![error]));
    }
    if version.parse::<u64>().is_err() {
        let path = "metadata.resourceVersion".into();
        let error = FieldError::invalid(&path, version, "must be a resourceVersion that the server gave");
        return Err(Status::invalid(&kind.group_kind(), target.name, vec![error]));
    }
    if version != meta::field(old, "resourceVersion") {
        return Err(Status::modified(&resource, target.name));
    }
    Ok(())
}

/// What no update changes.
pub(super) fn carry_system_fields(object: &mut Value, old: &Value) {
    let metadata = meta::metadata(object);
    let before = old.get("metadata").unwrap_or(&Value::Null);
    for key in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
    ] {
        meta::carry(metadata, key, before.get(key));
    }
    metadata.remove("selfLink");
}

pub(super) fn carry_all_but_status(object: &mut Value, old: &Value) {
    const KEPT: [&str; 2] = ["metadata", "status"];
    let new = meta::map_of(object);
    let before = old.as_object();
    new.retain(|key, _| KEPT.contains(&key.as_str()));
    for (key, value) in before.into_iter().flatten().filter(|(key, _)| !KEPT.contains(&key.as_str())) {
        new.insert(key.clone(), value.clone());
    }
}

/// Whether anything changed that is counted: all but metadata, and the status where that is apart. Built-in kinds have
/// it so whether it is written apart or not.
pub(super) fn differs_in_spec(kind: &Kind, new: &Value, old: &Value) -> bool {
    let has_status = kind.custom.is_none() || kind.has_status();
    let keys = |object| Value::as_object(object).into_iter().flatten().map(|(key, _)| key);
    keys(new)
        .chain(keys(old))
        .filter(|key| !matches!(key.as_str(), "metadata" | "apiVersion" | "kind"))
        .filter(|key| !(has_status && *key == "status"))
        .any(|key| new.get(key) != old.get(key))
}

/// The name in the body must be that of the path.
pub(super) fn match_name(target: &Target<'_>, body: &Value) -> Result<(), Status> {
    match meta::field(body, "name") {
        name if name == target.name => Ok(()),
        "" => Err(Status::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            target.name
        ))),
        name => Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        ))),
    }
}

//! The smaller groups: rbac, apiextensions, flow control, storage, device resources.

use serde_json::{Map, Value, json};

use super::{Hook, ensure_object, object_in, set_default, text};

pub(super) fn hook(definition: &str) -> Option<Hook> {
    match definition {
        "api.rbac.v1.Subject" => Some(subject),
        "apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition" => {
            Some(custom_resource_definition)
        }
        "api.flowcontrol.v1.QueuingConfiguration" => Some(queuing),
        "api.flowcontrol.v1.ExemptPriorityLevelConfiguration" => Some(exempt),
        "api.storage.v1.CSIDriverSpec" => Some(csi_driver_spec),
        "api.resource.v1.ExactDeviceRequest" | "api.resource.v1.DeviceSubRequest" => Some(device_request),
        _ => None,
    }
}

/// ServiceAccounts are of the core group, whose name is empty and left out.
fn subject(subject: &mut Map<String, Value>) {
    if matches!(text(subject, "kind"), "User" | "Group") {
        set_default(subject, "apiGroup", "rbac.authorization.k8s.io");
    }
}

fn custom_resource_definition(definition: &mut Map<String, Value>) {
    let mut stored = None;
    if let Some(spec) = object_in(definition, "spec") {
        set_default(spec, "conversion", json!({"strategy": "None"}));
        stored = spec
            .get("versions")
            .and_then(Value::as_array)
            .and_then(|versions| versions.iter().find(|v| v["storage"] == json!(true)))
            .map(|version| version["name"].clone())
            .filter(Value::is_string);
        if let Some(names) = object_in(spec, "names") {
            let kind = text(names, "kind").to_owned();
            set_default(names, "singular", kind.to_lowercase());
            set_default(names, "listKind", format!("{kind}List"));
        }
    }
    if let Some(stored) = stored
        && let Some(status) = ensure_object(definition, "status")
    {
        set_default(status, "storedVersions", json!([stored]));
    }
}

fn queuing(queuing: &mut Map<String, Value>) {
    for (key, value) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
        if queuing.get(key).is_none_or(|old| old.as_i64() == Some(0)) {
            queuing.insert(key.into(), value.into());
        }
    }
}

fn exempt(exempt: &mut Map<String, Value>) {
    set_default(exempt, "nominalConcurrencyShares", 0);
    set_default(exempt, "lendablePercent", 0);
}

fn csi_driver_spec(spec: &mut Map<String, Value>) {
    set_default(spec, "volumeLifecycleModes", json!(["Persistent"]));
}

fn device_request(request: &mut Map<String, Value>) {
    if text(request, "allocationMode") == "ExactCount"
        && request.get("count").is_none_or(|c| c.as_i64() == Some(0))
    {
        request.insert("count".into(), 1.into());
    }
}

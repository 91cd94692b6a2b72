//! Pod: what the server sets, what may change, how it goes.

use super::pod_parts;
use crate::{
    meta,
    options::DeleteOptions,
    strategy::{Call, Deletion, Strategy},
    validate::{Errors, ephemeral, pod, pod_resize, pod_update},
    warn,
};
use keelson_schema::{FieldError, Path};
use keelson_semantics::PodResources;
use serde::Deserialize;
use serde_json::{Value, json};

/// Pod.
pub struct Pod;

impl Strategy for Pod {
    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, call: &Call<'_>, object: &mut Value) {
        let mut status = json!({"phase": "Pending"});
        if let Some(class) = qos_class(object) {
            status["qosClass"] = class.into();
        }
        if !meta::items(object, &["spec", "schedulingGates"]).is_empty() {
            status["conditions"] = json!([{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "lastTransitionTime": meta::time_text(call.now),
            }]);
        }
        meta::map_of(object).insert("status".to_owned(), status);
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        pod::create(object)
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        match call.sub {
            "ephemeralcontainers" => ephemeral::update(new, old),
            "resize" => pod_resize::update(new, old),
            _ => pod_update::update(new, old),
        }
    }

    fn narrow(&self, sub: &str, new: &mut Value, old: &Value) {
        pod_parts::narrow(sub, new, old);
    }

    fn narrow_config(&self, sub: &str, config: &mut Value) {
        pod_parts::narrow_config(sub, config);
    }

    fn prepare_status(&self, _call: &Call<'_>, new: &mut Value, old: &Value) {
        meta::carry(meta::metadata(new), "ownerReferences", old.pointer("/metadata/ownerReferences"));
        let Some(status) = new.get_mut("status") else { return };
        if meta::text(status, &["qosClass"]).is_empty() {
            meta::carry(meta::map_of(status), "qosClass", old.pointer("/status/qosClass"));
        }
        pair_addresses(status, "podIP", "podIPs");
        pair_addresses(status, "hostIP", "hostIPs");
    }

    fn validate_status(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let (path, mut errors) = (Path::new("status"), Errors::new());
        let node = meta::text(new, &["spec", "nodeName"]);
        let nominated = meta::text(new, &["status", "nominatedNodeName"]);
        if !nominated.is_empty()
            && !node.is_empty()
            && nominated != meta::text(old, &["status", "nominatedNodeName"])
        {
            let detail = "may not be set once the pod is on a node";
            errors.push(FieldError::forbidden(&path.child("nominatedNodeName"), detail));
        }
        let known = ["Failed", "Pending", "Running", "Succeeded", "Unknown", ""];
        let phase = meta::text(new, &["status", "phase"]);
        if !known.contains(&phase) {
            errors.push(FieldError::not_supported(&path.child("phase"), phase, &known[..5]));
        }
        errors
    }

    fn warnings(&self, _call: &Call<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        if old.is_none() { warn::pod::pod(new) } else { Vec::new() }
    }

    /// Upstream's CheckGracefulDelete: no node or nothing running any more means no grace.
    fn deletion(&self, object: &Value, options: &DeleteOptions) -> Deletion {
        let own = meta::number(object, &["spec", "terminationGracePeriodSeconds"]);
        let ended = matches!(meta::text(object, &["status", "phase"]), "Failed" | "Succeeded");
        let unscheduled = meta::text(object, &["spec", "nodeName"]).is_empty();
        let seconds = match options.grace_period_s.or(own).unwrap_or_default() {
            _ if ended || unscheduled => 0,
            negative if negative < 0 => 1,
            seconds => seconds,
        };
        Deletion::Graceful { seconds }
    }
}

/// None where the resources cannot be read, which validation refuses.
fn qos_class(pod: &Value) -> Option<&'static str> {
    Some(PodResources::deserialize(&pod["spec"]).ok()?.qos_class().as_str())
}

/// `podIP` is the first of `podIPs`, whichever was written.
fn pair_addresses(status: &mut Value, single: &str, list: &str) {
    let one = meta::text(status, &[single]).to_owned();
    let first = meta::items(status, &[list]).first().and_then(|entry| entry.get("ip")).cloned();
    let status = meta::map_of(status);
    match first {
        None if !one.is_empty() => {
            status.insert(list.to_owned(), json!([{"ip": one}]));
        }
        Some(first) => {
            status.insert(single.to_owned(), first);
        }
        None => {}
    }
}

//! RuntimeClass: a pod gets what its class costs (`spec.overhead`) and where it may run (node selector, tolerations).
//! <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#runtimeclass>

use async_trait::async_trait;
use keelson_registry::{Attributes, Operation, Status};
use serde_json::Value;

use crate::plugin::{Plugin, forbidden, is, list, list_mut, text};
use crate::{Lookup, Wanted};

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
const UNDEFINED: &str = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";

pub(crate) struct RuntimeClass;

#[async_trait]
impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        is(attributes, "", "pods")
            && attributes.subresource.is_empty()
            && attributes.operation == Operation::Create
    }

    async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        pod: &mut Value,
        lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        let Some(class) = class_of(attributes, pod, lookup).await? else { return Ok(()) };
        let refused = |pod: &Value, why: String| Err(forbidden(attributes, Some(pod), why));
        if let Some(fixed) = overhead(&class) {
            match pod["spec"].get("overhead") {
                Some(given) if given != fixed => return refused(pod, MISMATCH.into()),
                _ => pod["spec"]["overhead"] = fixed.clone(),
            }
        }
        if let Err(why) = steer(pod, &class) {
            return refused(pod, why);
        }
        Ok(())
    }

    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        let Some(pod) = object else { return Ok(()) };
        let class = class_of(attributes, pod, lookup).await?;
        let why = match (pod.pointer("/spec/overhead"), class.as_ref().and_then(overhead)) {
            (given, Some(fixed)) if given != Some(fixed) => MISMATCH,
            (Some(_), None) => UNDEFINED,
            _ => return Ok(()),
        };
        Err(forbidden(attributes, object, why))
    }
}

/// What the pod names, which has to be there. Quantities of both are compared as text: the decoder gives each one form.
async fn class_of(
    attributes: &Attributes<'_>,
    pod: &Value,
    lookup: &dyn Lookup,
) -> Result<Option<Value>, Status> {
    let name = text(pod, "/spec/runtimeClassName");
    if name.is_empty() {
        return Ok(None);
    }
    let found = lookup.find(Wanted::RuntimeClass, "", name).await?;
    let missing =
        || forbidden(attributes, Some(pod), format!("pod rejected: RuntimeClass \"{name}\" not found"));
    found.map(Some).ok_or_else(missing)
}

fn overhead(class: &Value) -> Option<&Value> {
    class.pointer("/overhead/podFixed").filter(|fixed| !fixed.is_null())
}

/// Has the pod run where the class is. What contradicts is told.
fn steer(pod: &mut Value, class: &Value) -> Result<(), String> {
    let wanted = class.pointer("/scheduling/nodeSelector").and_then(Value::as_object);
    for (key, value) in wanted.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        match pod.pointer("/spec/nodeSelector").and_then(|selector| selector.get(key)?.as_str()) {
            Some(own) if own != value => {
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
                ));
            }
            Some(_) => {}
            None => pod["spec"]["nodeSelector"][key] = value.into(),
        }
    }
    let more: Vec<Value> = list(class, "/scheduling/tolerations").cloned().collect();
    if !more.is_empty()
        && let Some(tolerations) = list_mut(&mut pod["spec"], "tolerations")
    {
        *tolerations = merged(std::mem::take(tolerations).into_iter().chain(more).collect());
    }
    Ok(())
}

/// Without those that another one of the list tolerates, too.
fn merged(all: Vec<Value>) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let later = all[index + 1..].iter().any(|other| other != one && covers(other, one));
        if !later && !kept.iter().any(|other| covers(other, one)) {
            kept.push(one.clone());
        }
    }
    kept
}

/// Whether whatever a toleration tolerates is tolerated by another, and for as long.
fn covers(wide: &Value, narrow: &Value) -> bool {
    let of = |toleration, field: &str| text(toleration, &format!("/{field}")).to_owned();
    let same = |field: &str| of(wide, field) == of(narrow, field);
    let seconds = |toleration: &Value| toleration["tolerationSeconds"].as_i64();
    let exists = of(wide, "operator") == "Exists";
    if wide == narrow {
        return true;
    }
    let keys = same("key") || (of(wide, "key").is_empty() && exists);
    let effects = same("effect") || of(wide, "effect").is_empty();
    if !(keys && effects) {
        return false;
    }
    if of(wide, "effect") == "NoExecute"
        && let Some(long) = seconds(wide)
        && seconds(narrow).is_none_or(|asked| asked > long)
    {
        return false;
    }
    exists
        || (matches!(&*of(wide, "operator"), "" | "Equal")
            && of(narrow, "operator") != "Exists"
            && same("value"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, Request};
    use serde_json::json;

    fn cluster() -> Cluster {
        let boxed = json!({
            "metadata": { "name": "boxed" }, "handler": "kata", "overhead": { "podFixed": { "memory": "120Mi" } },
            "scheduling": {
                "nodeSelector": { "boxes": "yes" }, "tolerations": [{ "key": "boxes", "operator": "Exists" }],
            },
        });
        let plain = json!({ "metadata": { "name": "plain" }, "handler": "runc" });
        Cluster::default().with(Wanted::RuntimeClass, boxed).with(Wanted::RuntimeClass, plain)
    }

    fn pod(spec: &Value) -> Request {
        Request::create("", "pods", "ns", json!({ "metadata": { "name": "p" }, "spec": spec }))
    }

    #[tokio::test]
    async fn a_pod_gets_what_its_class_costs_and_where_it_is() {
        let (fixed, tolerated) =
            (json!({ "memory": "120Mi" }), json!({ "key": "boxes", "operator": "Exists" }));
        let rows = [
            (json!({}), json!({})),
            (json!({ "runtimeClassName": "plain" }), json!({ "runtimeClassName": "plain" })),
            (
                json!({ "runtimeClassName": "boxed" }),
                json!({
                    "runtimeClassName": "boxed", "overhead": fixed, "nodeSelector": { "boxes": "yes" },
                    "tolerations": [tolerated],
                }),
            ),
            (
                json!({
                    "runtimeClassName": "boxed", "overhead": fixed, "nodeSelector": { "disk": "ssd", "boxes": "yes" },
                    "tolerations": [{ "key": "boxes", "value": "a" }, { "key": "other", "operator": "Exists" }],
                }),
                json!({
                    "runtimeClassName": "boxed", "overhead": fixed, "nodeSelector": { "disk": "ssd", "boxes": "yes" },
                    "tolerations": [{ "key": "other", "operator": "Exists" }, tolerated],
                }),
            ),
        ];
        for (given, wanted) in rows {
            let request = pod(&given);
            let admitted = request.mutate(&RuntimeClass, &cluster()).await.unwrap();
            assert_eq!(admitted["spec"], wanted);
            pod(&wanted).validate(&RuntimeClass, &cluster()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_contradicts_the_class_is_refused() {
        let rows = [
            (json!({ "runtimeClassName": "none" }), "pod rejected: RuntimeClass \"none\" not found"),
            (json!({ "runtimeClassName": "boxed", "overhead": { "memory": "1Mi" } }), MISMATCH),
            (
                json!({ "runtimeClassName": "boxed", "nodeSelector": { "boxes": "no" } }),
                "conflict: runtimeClass.scheduling.nodeSelector[boxes] = yes; pod.spec.nodeSelector[boxes] = no",
            ),
        ];
        for (spec, why) in rows {
            let error = pod(&spec).mutate(&RuntimeClass, &cluster()).await.unwrap_err();
            assert_eq!(error.message, format!("pods \"p\" is forbidden: {why}"));
        }
        // As whoever changes it behind this plugin may have left it.
        for (spec, why) in [
            (json!({ "overhead": { "memory": "1Mi" } }), UNDEFINED),
            (json!({ "runtimeClassName": "plain", "overhead": { "memory": "1Mi" } }), UNDEFINED),
            (json!({ "runtimeClassName": "boxed" }), MISMATCH),
        ] {
            let error = pod(&spec).validate(&RuntimeClass, &cluster()).await.unwrap_err();
            assert_eq!(error.message, format!("pods \"p\" is forbidden: {why}"));
        }
    }

    #[test]
    fn a_toleration_covers_what_it_tolerates_for_as_long() {
        let all = json!({ "operator": "Exists" });
        let rows = [
            (all.clone(), json!({ "key": "a", "value": "b" }), true),
            (json!({ "key": "a", "value": "b" }), all, false),
            (
                json!({ "key": "a", "value": "b" }),
                json!({ "key": "a", "operator": "Equal", "value": "b" }),
                true,
            ),
            (json!({ "key": "a", "value": "b" }), json!({ "key": "a", "value": "c" }), false),
            (
                json!({ "key": "a", "operator": "Exists" }),
                json!({ "key": "a", "effect": "NoSchedule" }),
                true,
            ),
            (
                json!({ "key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5 }),
                json!({ "key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 6 }),
                false,
            ),
            (
                json!({ "key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 6 }),
                json!({ "key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5 }),
                true,
            ),
        ];
        for (wide, narrow, expected) in rows {
            assert_eq!(covers(&wide, &narrow), expected, "{wide} {narrow}");
        }
    }
}

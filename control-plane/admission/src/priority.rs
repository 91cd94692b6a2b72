//! Priority: the name of a PriorityClass becomes a number, and there is one default class at most.

use async_trait::async_trait;
use keelson_registry::{Attributes, Operation, Status};
use serde_json::Value;

use crate::plugin::{Plugin, forbidden, is, text};
use crate::{Lookup, Wanted};

/// The priority of a pod where no class is the default.
const PRIORITY_WITHOUT_CLASS: i64 = 0;
const PREEMPT_LOWER: &str = "PreemptLowerPriority";

pub(crate) struct Priority;

struct Resolved {
    class: String,
    priority: i64,
    preemption: String,
}

#[async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        (is(attributes, "", "pods") || is(attributes, "scheduling.k8s.io", "priorityclasses"))
            && attributes.subresource.is_empty()
            && matches!(attributes.operation, Operation::Create | Operation::Update)
    }

    async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        if !is(attributes, "", "pods") || object.get("spec").is_none_or(|spec| !spec.is_object()) {
            return Ok(());
        }
        match attributes.old {
            Some(old) if attributes.operation == Operation::Update => {
                keep(old, object);
                Ok(())
            }
            _ => resolve(attributes, object, lookup).await,
        }
    }

    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        let Some(class) = object.filter(|_| is(attributes, "scheduling.k8s.io", "priorityclasses")) else {
            return Ok(());
        };
        if !is_default(class) {
            return Ok(());
        }
        let name = text(class, "/metadata/name");
        match default_class(lookup).await? {
            Some(other) if text(&other, "/metadata/name") != name => {
                let other = text(&other, "/metadata/name");
                let why =
                    format!("PriorityClass {other} is already marked as default. Only one default can exist");
                Err(forbidden(attributes, object, why))
            }
            _ => Ok(()),
        }
    }
}

/// Clients that send back what they read in an older form must not lose what was resolved.
fn keep(old: &Value, pod: &mut Value) {
    for field in ["priority", "preemptionPolicy"] {
        let resolved = &old["spec"][field];
        if pod["spec"][field].is_null() && !resolved.is_null() {
            pod["spec"][field] = resolved.clone();
        }
    }
    remove_nulls(pod);
}

async fn resolve(attributes: &Attributes<'_>, pod: &mut Value, lookup: &dyn Lookup) -> Result<(), Status> {
    let wanted = text(pod, "/spec/priorityClassName");
    let class = match wanted {
        "" => default_class(lookup).await?,
        name => match lookup.find(Wanted::PriorityClass, "", name).await? {
            Some(class) => Some(class),
            None => {
                let why = format!("no PriorityClass with name {name} was found");
                return Err(forbidden(attributes, Some(pod), why));
            }
        },
    };
    let resolved = resolved(class.as_ref());
    if let Some(given) = pod["spec"]["priority"].as_i64()
        && given != resolved.priority
    {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {} from the given PriorityClass name",
            resolved.priority
        );
        return Err(forbidden(attributes, Some(pod), why));
    }
    if let Some(given) = pod["spec"]["preemptionPolicy"].as_str()
        && given != resolved.preemption
    {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {} from the given PriorityClass name",
            resolved.preemption
        );
        return Err(forbidden(attributes, Some(pod), why));
    }
    if !resolved.class.is_empty() {
        pod["spec"]["priorityClassName"] = resolved.class.into();
    }
    pod["spec"]["priority"] = resolved.priority.into();
    pod["spec"]["preemptionPolicy"] = resolved.preemption.into();
    remove_nulls(pod);
    Ok(())
}

fn resolved(class: Option<&Value>) -> Resolved {
    match class {
        None => Resolved {
            class: String::new(),
            priority: PRIORITY_WITHOUT_CLASS,
            preemption: PREEMPT_LOWER.to_owned(),
        },
        Some(class) => Resolved {
            class: text(class, "/metadata/name").to_owned(),
            priority: class["value"].as_i64().unwrap_or(PRIORITY_WITHOUT_CLASS),
            preemption: match text(class, "/preemptionPolicy") {
                "" => PREEMPT_LOWER.to_owned(),
                policy => policy.to_owned(),
            },
        },
    }
}

/// Of several defaults, which a race can make, the lowest counts.
async fn default_class(lookup: &dyn Lookup) -> Result<Option<Value>, Status> {
    let classes = lookup.list(Wanted::PriorityClass, "").await?;
    Ok(classes.into_iter().filter(is_default).min_by_key(|class| class["value"].as_i64()))
}

fn is_default(class: &Value) -> bool {
    class["globalDefault"].as_bool().unwrap_or_default()
}

/// Indexing for writing leaves a null where a field was only looked at.
fn remove_nulls(pod: &mut Value) {
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.retain(|_, value| !value.is_null());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Cluster, Request};

    fn class(name: &str, value: i64, more: Value) -> Value {
        let mut class = json!({ "metadata": { "name": name }, "value": value });
        class.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        class
    }

    fn cluster() -> Cluster {
        Cluster::default()
            .with(Wanted::PriorityClass, class("high", 1000, json!({ "preemptionPolicy": "Never" })))
            .with(Wanted::PriorityClass, class("system-node-critical", 2_000_001_000, json!({})))
    }

    fn pod(spec: Value) -> Request {
        Request::create("", "pods", "ns", json!({ "metadata": { "name": "p" }, "spec": spec }))
    }

    #[tokio::test]
    async fn the_class_becomes_a_number() {
        let with_default =
            || cluster().with(Wanted::PriorityClass, class("usual", 5, json!({ "globalDefault": true })));
        let rows = [
            (cluster(), json!({}), json!({ "priority": 0, "preemptionPolicy": PREEMPT_LOWER })),
            (
                with_default(),
                json!({}),
                json!({ "priority": 5, "preemptionPolicy": PREEMPT_LOWER, "priorityClassName": "usual" }),
            ),
            (
                with_default(),
                json!({ "priorityClassName": "high", "priority": 1000 }),
                json!({ "priority": 1000, "preemptionPolicy": "Never", "priorityClassName": "high" }),
            ),
            (
                cluster(),
                json!({ "priorityClassName": "system-node-critical" }),
                json!({ "priority": 2_000_001_000, "preemptionPolicy": PREEMPT_LOWER, "priorityClassName": "system-node-critical" }),
            ),
        ];
        for (cluster, spec, wanted) in rows {
            assert_eq!(pod(spec).mutate(&Priority, &cluster).await.unwrap()["spec"], wanted);
        }
    }

    #[tokio::test]
    async fn a_number_that_contradicts_and_a_missing_class_are_refused() {
        let rows = [
            (
                json!({ "priorityClassName": "none" }),
                r#"pods "p" is forbidden: no PriorityClass with name none was found"#,
            ),
            (
                json!({ "priority": 7 }),
                r#"pods "p" is forbidden: the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name"#,
            ),
            (
                json!({ "preemptionPolicy": "Never" }),
                r#"pods "p" is forbidden: the string value of PreemptionPolicy (Never) must not be provided in pod spec; priority admission controller computed PreemptLowerPriority from the given PriorityClass name"#,
            ),
        ];
        for (spec, message) in rows {
            assert_eq!(pod(spec).mutate(&Priority, &cluster()).await.unwrap_err().message, message);
        }
    }

    #[tokio::test]
    async fn an_update_keeps_what_was_resolved() {
        let old = json!({ "spec": { "priority": 9, "preemptionPolicy": "Never" } });
        let updated =
            pod(json!({ "nodeName": "a" })).update(old).mutate(&Priority, &cluster()).await.unwrap();
        assert_eq!(updated["spec"], json!({ "nodeName": "a", "priority": 9, "preemptionPolicy": "Never" }));
        let untouched = pod(json!({ "nodeName": "a" })).update(json!({ "spec": {} }));
        assert_eq!(
            untouched.mutate(&Priority, &cluster()).await.unwrap()["spec"],
            json!({ "nodeName": "a" })
        );
    }

    #[tokio::test]
    async fn there_is_one_default_class() {
        let cluster =
            cluster().with(Wanted::PriorityClass, class("usual", 5, json!({ "globalDefault": true })));
        let create = |name| {
            Request::create(
                "scheduling.k8s.io",
                "priorityclasses",
                "",
                class(name, 1, json!({ "globalDefault": true })),
            )
        };
        let error = create("second").validate(&Priority, &cluster).await.unwrap_err();
        assert!(
            error
                .message
                .ends_with("PriorityClass usual is already marked as default. Only one default can exist")
        );
        assert!(create("usual").validate(&Priority, &cluster).await.is_ok());
    }
}

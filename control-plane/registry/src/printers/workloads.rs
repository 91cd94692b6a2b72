//! Kinds that make pods, and ControllerRevision.

use super::text::{NONE, containers, count, label_selector, name, or, pairs, since};
use crate::meta;
use keelson_semantics::{age::short_duration, timestamp};
use serde_json::{Value, json};
use time::OffsetDateTime;

const CONTAINERS: &[&str] = &["spec", "template", "spec", "containers"];

pub(super) fn deployment(object: &Value, age: Value) -> Vec<Value> {
    let ready =
        format!("{}/{}", count(object, &["status", "readyReplicas"]), count(object, &["spec", "replicas"]));
    let [names, images] = containers(object, CONTAINERS);
    vec![
        name(object),
        json!(ready),
        json!(count(object, &["status", "updatedReplicas"])),
        json!(count(object, &["status", "availableReplicas"])),
        age,
        names,
        images,
        label_selector(object, &["spec", "selector"], ""),
    ]
}

pub(super) fn replica_set(object: &Value, age: Value) -> Vec<Value> {
    let [names, images] = containers(object, CONTAINERS);
    vec![
        name(object),
        json!(count(object, &["spec", "replicas"])),
        json!(count(object, &["status", "replicas"])),
        json!(count(object, &["status", "readyReplicas"])),
        age,
        names,
        images,
        label_selector(object, &["spec", "selector"], NONE),
    ]
}

pub(super) fn controller_revision(object: &Value, age: Value) -> Vec<Value> {
    let owner = meta::items(object, &["metadata", "ownerReferences"])
        .iter()
        .find(|owner| owner.get("controller") == Some(&Value::Bool(true)));
    let owner = owner.map_or_else(
        || NONE.to_owned(),
        |owner| {
            let kind = meta::text(owner, &["kind"]).to_lowercase();
            let group = meta::text(owner, &["apiVersion"]).split_once('/').map_or("", |(group, _)| group);
            let dot = if group.is_empty() { "" } else { "." };
            format!("{kind}{dot}{group}/{}", meta::text(owner, &["name"]))
        },
    );
    vec![name(object), json!(owner), json!(count(object, &["revision"])), age]
}

pub(super) fn stateful_set(object: &Value, age: Value) -> Vec<Value> {
    let ready =
        format!("{}/{}", count(object, &["status", "readyReplicas"]), count(object, &["spec", "replicas"]));
    let [names, images] = containers(object, CONTAINERS);
    vec![name(object), json!(ready), age, names, images]
}

pub(super) fn daemon_set(object: &Value, age: Value) -> Vec<Value> {
    const COUNTS: [&str; 5] = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ];
    let [names, images] = containers(object, CONTAINERS);
    let mut cells = vec![name(object)];
    cells.extend(COUNTS.map(|key| json!(count(object, &["status", key]))));
    cells.push(pairs(object, &["spec", "template", "spec", "nodeSelector"]));
    cells.extend([age, names, images, label_selector(object, &["spec", "selector"], NONE)]);
    cells
}

pub(super) fn job(object: &Value, age: Value, now: OffsetDateTime) -> Vec<Value> {
    let [names, images] = containers(object, CONTAINERS);
    let succeeded = count(object, &["status", "succeeded"]);
    let at_once = count(object, &["spec", "parallelism"]);
    let completions = match meta::number(object, &["spec", "completions"]) {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None if at_once > 1 => format!("{succeeded}/1 of {at_once}"),
        None => format!("{succeeded}/1"),
    };
    let time = |key: &str| timestamp::parse(meta::text(object, &["status", key])).ok();
    let duration = time("startTime")
        .map(|start| short_duration(time("completionTime").unwrap_or(now) - start))
        .unwrap_or_default();
    vec![
        name(object),
        json!(job_status(object)),
        json!(completions),
        json!(duration),
        age,
        names,
        images,
        label_selector(object, &["spec", "selector"], NONE),
    ]
}

fn job_status(job: &Value) -> &'static str {
    let has = |wanted: &str| {
        meta::items(job, &["status", "conditions"])
            .iter()
            .any(|own| meta::text(own, &["type"]) == wanted && meta::text(own, &["status"]) == "True")
    };
    let words = [
        ("Complete", has("Complete")),
        ("Failed", has("Failed")),
        ("Terminating", meta::deleting(job)),
        ("Suspended", has("Suspended")),
        ("FailureTarget", has("FailureTarget")),
        ("SuccessCriteriaMet", has("SuccessCriteriaMet")),
    ];
    words.iter().find(|(_, is)| *is).map_or("Running", |(word, _)| word)
}

pub(super) fn cron_job(object: &Value, age: Value, now: OffsetDateTime) -> Vec<Value> {
    const JOB: [&str; 3] = ["spec", "jobTemplate", "spec"];
    let [names, images] = containers(object, &[JOB[0], JOB[1], JOB[2], "template", "spec", "containers"]);
    let suspend = match object.pointer("/spec/suspend") {
        Some(Value::Bool(true)) => "True",
        Some(Value::Bool(false)) => "False",
        _ => "<unset>",
    };
    let last = match meta::text(object, &["status", "lastScheduleTime"]) {
        "" => NONE.to_owned(),
        time => since(time, now),
    };
    vec![
        name(object),
        json!(meta::text(object, &["spec", "schedule"])),
        or(meta::text(object, &["spec", "timeZone"]), NONE),
        json!(suspend),
        json!(meta::items(object, &["status", "active"]).len()),
        json!(last),
        age,
        names,
        images,
        label_selector(object, &[JOB[0], JOB[1], JOB[2], "selector"], NONE),
    ]
}

pub(super) fn replication_controller(object: &Value, age: Value) -> Vec<Value> {
    let mut cells = replica_set(object, age);
    cells.pop();
    cells.push(pairs(object, &["spec", "selector"]));
    cells
}

pub(super) fn pod_template(object: &Value) -> Vec<Value> {
    let [names, images] = containers(object, &["template", "spec", "containers"]);
    vec![name(object), names, images, pairs(object, &["template", "metadata", "labels"])]
}

//! Pod: the status word is made from phase, container states and deletion, as in upstream's `printPod`.

use super::text::{NONE, count, name, or, since};
use crate::meta;
use keelson_semantics::timestamp;
use serde_json::{Value, json};
use time::OffsetDateTime;

/// What the walk over the containers finds.
#[derive(Default)]
struct Walk {
    status: String,
    ready: usize,
    restarts: i64,
    restarted_at: Option<OffsetDateTime>,
}

pub(super) fn cells(pod: &Value, now: OffsetDateTime) -> Vec<Value> {
    let main = meta::items(pod, &["spec", "containers"]).len();
    let sidecars =
        meta::items(pod, &["spec", "initContainers"]).iter().filter(|init| is_sidecar(init)).count();
    let walk = walk(pod);
    let restarts = match walk.restarted_at {
        Some(at) if walk.restarts != 0 => {
            format!("{} ({} ago)", walk.restarts, keelson_semantics::age::age(Some(at), now))
        }
        _ => walk.restarts.to_string(),
    };
    let address =
        meta::items(pod, &["status", "podIPs"]).first().map_or("", |entry| meta::text(entry, &["ip"]));
    vec![
        name(pod),
        json!(format!("{}/{}", walk.ready, main + sidecars)),
        json!(walk.status),
        json!(restarts),
        json!(since(meta::field(pod, "creationTimestamp"), now)),
        or(address, NONE),
        or(meta::text(pod, &["spec", "nodeName"]), NONE),
        or(meta::text(pod, &["status", "nominatedNodeName"]), NONE),
        json!(gates(pod)),
    ]
}

/// Row conditions: that the pod has ended.
pub(super) fn conditions(pod: &Value) -> Vec<Value> {
    let (reason, message) = match meta::text(pod, &["status", "phase"]) {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return Vec::new(),
    };
    vec![json!({"type": "Completed", "status": "True", "reason": reason, "message": message})]
}

fn walk(pod: &Value) -> Walk {
    let mut walk = Walk::default();
    let reason = meta::text(pod, &["status", "reason"]);
    walk.status = if reason.is_empty() { meta::text(pod, &["status", "phase"]) } else { reason }.to_owned();
    if condition(pod, "PodScheduled").is_some_and(|found| meta::text(found, &["reason"]) == "SchedulingGated")
    {
        walk.status = "SchedulingGated".to_owned();
    }
    let mut sidecars = Walk::default();
    let initializing = init_containers(pod, &mut walk, &mut sidecars);
    if !initializing || is_true(pod, "Initialized") {
        walk.restarts = sidecars.restarts;
        walk.restarted_at = sidecars.restarted_at;
        main_containers(pod, &mut walk);
    }
    let ended = matches!(meta::text(pod, &["status", "phase"]), "Succeeded" | "Failed");
    match meta::deleting(pod) {
        true if reason == "NodeLost" => walk.status = "Unknown".to_owned(),
        true if !ended => walk.status = "Terminating".to_owned(),
        _ => {}
    }
    walk
}

/// Whether one of the init containers is what the pod waits for.
fn init_containers(pod: &Value, walk: &mut Walk, sidecars: &mut Walk) -> bool {
    let specs = meta::items(pod, &["spec", "initContainers"]);
    for (index, status) in meta::items(pod, &["status", "initContainerStatuses"]).iter().enumerate() {
        let own_name = meta::text(status, &["name"]);
        let sidecar = specs.iter().any(|spec| meta::text(spec, &["name"]) == own_name && is_sidecar(spec));
        walk.count(status);
        if sidecar {
            sidecars.count(status);
        }
        let terminated = meta::at(status, &["state", "terminated"]);
        if terminated.is_some_and(|ended| count(ended, &["exitCode"]) == 0) {
            continue;
        }
        if sidecar && is(status, "started") {
            walk.ready += usize::from(is(status, "ready"));
            continue;
        }
        let waiting = meta::text(status, &["state", "waiting", "reason"]);
        walk.status = match terminated {
            Some(ended) => format!("Init:{}", ended_word(ended)),
            None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
            None => format!("Init:{index}/{}", specs.len()),
        };
        return true;
    }
    false
}

fn main_containers(pod: &Value, walk: &mut Walk) {
    let mut running = false;
    for status in meta::items(pod, &["status", "containerStatuses"]).iter().rev() {
        walk.count(status);
        let waiting = meta::text(status, &["state", "waiting", "reason"]);
        if !waiting.is_empty() {
            waiting.clone_into(&mut walk.status);
        } else if let Some(ended) = meta::at(status, &["state", "terminated"]) {
            walk.status = ended_word(ended);
        } else if is(status, "ready") && meta::at(status, &["state", "running"]).is_some() {
            running = true;
            walk.ready += 1;
        }
    }
    if walk.status == "Completed" && running {
        walk.status = if is_true(pod, "Ready") { "Running" } else { "NotReady" }.to_owned();
    }
}

fn ended_word(ended: &Value) -> String {
    match (meta::text(ended, &["reason"]), count(ended, &["signal"])) {
        ("", 0) => format!("ExitCode:{}", count(ended, &["exitCode"])),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

impl Walk {
    fn count(&mut self, status: &Value) {
        self.restarts += count(status, &["restartCount"]);
        let at = timestamp::parse(meta::text(status, &["lastState", "terminated", "finishedAt"])).ok();
        self.restarted_at = self.restarted_at.max(at);
    }
}

fn is_sidecar(container: &Value) -> bool {
    meta::text(container, &["restartPolicy"]) == "Always"
}

fn is(status: &Value, key: &str) -> bool {
    status.get(key) == Some(&Value::Bool(true))
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    meta::items(pod, &["status", "conditions"]).iter().find(|found| meta::text(found, &["type"]) == kind)
}

fn is_true(pod: &Value, kind: &str) -> bool {
    condition(pod, kind).is_some_and(|found| meta::text(found, &["status"]) == "True")
}

fn gates(pod: &Value) -> String {
    let gates = meta::items(pod, &["spec", "readinessGates"]);
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let met = gates.iter().filter(|gate| is_true(pod, meta::text(gate, &["conditionType"]))).count();
    format!("{met}/{}", gates.len())
}

//! The checks of the restricted level: what hardened pods do without.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Finding;
use super::baseline::unmasked;
use super::level::Bound;
use super::subject::{Subject, Who, containers, plural, quoted};
use crate::plugin::{list, text};

pub(super) fn findings(bound: Bound, subject: &Subject<'_>) -> Vec<Finding> {
    // Since 1.25 what only Linux knows is not asked of pods for Windows.
    let is_linux = !(bound.is_since(25) && subject.is_windows());
    [
        (bound.is_since(8) && is_linux).then(|| escalation(subject)).flatten(),
        (bound.is_since(22) && is_linux).then(|| capabilities(subject)).flatten(),
        bound.is_since(35).then(|| unmasked(subject)).flatten(),
        volumes(subject),
        non_root(subject),
        bound.is_since(23).then(|| user(subject)).flatten(),
        (bound.is_since(19) && is_linux).then(|| seccomp(subject)).flatten(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn found(reason: &'static str, detail: String) -> Option<Finding> {
    Some(Finding { reason, detail })
}

fn escalation(subject: &Subject<'_>) -> Option<Finding> {
    let place = "/securityContext/allowPrivilegeEscalation";
    let names = subject.which(|one| one.pointer(place) != Some(&Value::Bool(false)));
    (!names.is_empty())
        .then(|| format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&names)))
        .and_then(|detail| found("allowPrivilegeEscalation != false", detail))
}

fn capabilities(subject: &Subject<'_>) -> Option<Finding> {
    let holding =
        subject.which(|one| !list(one, "/securityContext/capabilities/drop").any(|name| name == "ALL"));
    let added = |container: &Value| -> Vec<String> {
        let all = list(container, "/securityContext/capabilities/add").filter_map(Value::as_str);
        all.filter(|name| *name != "NET_BIND_SERVICE").map(str::to_owned).collect()
    };
    let adding = subject.which(|one| !added(one).is_empty());
    let mut details = Vec::new();
    if !holding.is_empty() {
        details
            .push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&holding)));
    }
    if !adding.is_empty() {
        let all: BTreeSet<String> = subject.containers.iter().flat_map(|one| added(one)).collect();
        let shown = quoted(all.iter().map(String::as_str));
        details.push(format!(
            "{} must not include {shown} in securityContext.capabilities.add",
            containers(&adding)
        ));
    }
    (!details.is_empty())
        .then(|| details.join("; "))
        .and_then(|detail| found("unrestricted capabilities", detail))
}

const VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn volumes(subject: &Subject<'_>) -> Option<Finding> {
    let (mut names, mut types) = (Vec::new(), BTreeSet::new());
    for volume in list(subject.object, "/spec/volumes").filter_map(Value::as_object) {
        let is_source = |(key, value): &(&String, &Value)| key.as_str() != "name" && !value.is_null();
        let source = volume.iter().find(is_source).map_or("unknown", |(key, _)| key.as_str());
        if !VOLUMES.contains(&source) {
            names.push(volume.get("name").map_or("", |name| text(name, "")));
            types.insert(source);
        }
    }
    let (volumes, uses) = (plural("volume", "volumes", names.len()), plural("uses", "use", names.len()));
    let word = plural("type", "types", types.len());
    (!names.is_empty())
        .then(|| format!("{volumes} {} {uses} restricted volume {word} {}", quoted(names), quoted(types)))
        .and_then(|detail| found("restricted volume types", detail))
}

fn non_root(subject: &Subject<'_>) -> Option<Finding> {
    const PLACE: &str = "/securityContext/runAsNonRoot";
    const REASON: &str = "runAsNonRoot != true";
    if subject.has_own_users() {
        return None;
    }
    let says = |container: &Value, wanted: bool| container.pointer(PLACE) == Some(&Value::Bool(wanted));
    let pod = subject.spec(PLACE).and_then(Value::as_bool);
    let refusing = subject.which(|one| says(one, false));
    if let Some(who) = Who::of(pod == Some(false), refusing) {
        return found(REASON, format!("{} must not set securityContext.runAsNonRoot=false", who.words()));
    }
    let silent = subject.which(|one| !says(one, true));
    (pod != Some(true) && !silent.is_empty())
        .then(|| format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&silent)))
        .and_then(|detail| found(REASON, detail))
}

fn user(subject: &Subject<'_>) -> Option<Finding> {
    const PLACE: &str = "/securityContext/runAsUser";
    if subject.has_own_users() {
        return None;
    }
    let is_root = |value: Option<&Value>| value.and_then(Value::as_i64) == Some(0);
    let names = subject.which(|one| is_root(one.pointer(PLACE)));
    let who = Who::of(is_root(subject.spec(PLACE)), names)?;
    found("runAsUser=0", format!("{} must not set runAsUser=0", who.words()))
}

fn seccomp(subject: &Subject<'_>) -> Option<Finding> {
    const PLACE: &str = "/securityContext/seccompProfile/type";
    const REASON: &str = "seccompProfile";
    let is_right = |kind: &str| matches!(kind, "RuntimeDefault" | "Localhost");
    let (who, values) = subject.wrong("seccompProfile/type", is_right);
    if let Some(who) = who {
        let detail =
            format!("{} must not set securityContext.seccompProfile.type to {}", who.words(), quoted(values));
        return found(REASON, detail);
    }
    let silent = subject.which(|one| text(one, PLACE).is_empty());
    (subject.spec(PLACE).is_none() && !silent.is_empty())
        .then(|| {
            let who = containers(&silent);
            format!("pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"")
        })
        .and_then(|detail| found(REASON, detail))
}

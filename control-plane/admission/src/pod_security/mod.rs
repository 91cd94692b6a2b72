//! PodSecurity: pods are held to the security standard that the labels of their namespace name.
//!
//! | label | pods | what pods are made from |
//! |---|---|---|
//! | `enforce` | refused | |
//! | `warn` | warned of | warned of |
//! | `audit` | noted in the audit log | noted in the audit log |
//!
//! A namespace whose enforced level becomes stricter is told which of its pods would be refused. Nobody is exempt.
//!
//! Rules: upstream's `k8s.io/pod-security-admission`, <https://kubernetes.io/docs/concepts/security/pod-security-standards/>.

mod baseline;
mod level;
mod restricted;
mod subject;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use async_trait::async_trait;
use keelson_registry::{Attributes, Operation, Status};
use keelson_schema::FieldError;
use serde_json::Value;

use crate::plugin::{Plugin, forbidden, list, text};
use crate::{Lookup, Wanted};
use level::{Bound, Labels, Level, Mode};
use subject::Subject;

/// Annotations of the audit log.
const ENFORCED: &str = "pod-security.kubernetes.io/enforce-policy";
const VIOLATIONS: &str = "pod-security.kubernetes.io/audit-violations";

/// Pods that are looked at when the level of a namespace changes; upstream's number.
const EXISTING_MAX: usize = 3000;

/// What a check finds: in short, and which parts of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    reason: &'static str,
    detail: String,
}

/// All that a pod does beyond what the standard allows, in upstream's order: baseline first, each level by the checks'
/// names.
fn findings(bound: Bound, subject: &Subject<'_>) -> Vec<Finding> {
    match bound.level {
        Level::Privileged => Vec::new(),
        Level::Baseline => baseline::findings(bound, subject),
        Level::Restricted => {
            let mut all = baseline::findings(bound, subject);
            all.extend(restricted::findings(bound, subject));
            all
        }
    }
}

/// `host namespaces (hostPID=true), hostPort (..)`.
fn in_full(findings: &[Finding]) -> String {
    let all: Vec<String> = findings
        .iter()
        .map(|one| {
            if one.detail.is_empty() {
                one.reason.to_owned()
            } else {
                format!("{} ({})", one.reason, one.detail)
            }
        })
        .collect();
    all.join(", ")
}

pub(crate) struct PodSecurity;

#[async_trait]
impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
        let sub = attributes.subresource;
        writes
            && match attributes.kind.resource() {
                ("", "namespaces") => sub.is_empty(),
                // Whatever has a pod as its body; of a resize nothing counts but what must not change with it.
                ("", "pods") => matches!(sub, "" | "ephemeralcontainers" | "resize"),
                resource => sub.is_empty() && template(resource).is_some(),
            }
    }

    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        let Some(object) = object else { return Ok(()) };
        match attributes.kind.resource() {
            ("", "namespaces") => namespace(attributes, object, lookup).await,
            ("", "pods") => pod(attributes, object, lookup).await,
            resource => made_from(attributes, object, template(resource).unwrap_or_default(), lookup).await,
        }
    }
}

/// Where the kinds that make pods keep what they make them from.
fn template(resource: (&str, &str)) -> Option<&'static str> {
    match resource {
        ("apps", "daemonsets" | "deployments" | "replicasets" | "statefulsets")
        | ("batch", "jobs")
        | ("", "replicationcontrollers") => Some("/spec/template"),
        ("batch", "cronjobs") => Some("/spec/jobTemplate/spec/template"),
        ("", "podtemplates") => Some("/template"),
        _ => None,
    }
}

/// The labels of the request's namespace. That it does not exist is another plugin's refusal.
async fn labels(attributes: &Attributes<'_>, lookup: &dyn Lookup) -> Result<Option<Labels>, Status> {
    let namespace = lookup.find(Wanted::Namespace, "", attributes.namespace).await?;
    Ok(namespace.map(|namespace| Labels::of(&namespace)))
}

async fn pod(attributes: &Attributes<'_>, pod: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
    if attributes.old.is_some_and(|old| !is_significant(pod, old)) {
        return Ok(());
    }
    let Some(labels) = labels(attributes, lookup).await? else { return Ok(()) };
    let enforced = labels.bound(Mode::Enforce);
    attributes.annotations.add(ENFORCED, || enforced.to_string().trim_matches('"').to_owned());
    if labels.is_privileged() {
        return Ok(());
    }
    let subject = Subject::of_pod(pod);
    note(attributes, &labels, &subject);
    let found = findings(enforced, &subject);
    if !found.is_empty() {
        return Err(forbidden(
            attributes,
            Some(pod),
            format!("violates PodSecurity {enforced}: {}", in_full(&found)),
        ));
    }
    warn(attributes, &labels, &subject);
    Ok(())
}

async fn made_from(
    attributes: &Attributes<'_>,
    object: &Value,
    place: &str,
    lookup: &dyn Lookup,
) -> Result<(), Status> {
    let Some(template) = object.pointer(place) else { return Ok(()) };
    if let Some(labels) = labels(attributes, lookup).await?.filter(|labels| !labels.is_privileged()) {
        let subject = Subject::of_pod(template);
        note(attributes, &labels, &subject);
        warn(attributes, &labels, &subject);
    }
    Ok(())
}

/// What is noted for the audit log, as far as somebody reads it.
fn note(attributes: &Attributes<'_>, labels: &Labels, subject: &Subject<'_>) {
    if !attributes.annotations.are_kept() {
        return;
    }
    let bound = labels.bound(Mode::Audit);
    if let Some(text) = would_violate(bound, subject) {
        attributes.annotations.add(VIOLATIONS, || text);
    }
}

fn warn(attributes: &Attributes<'_>, labels: &Labels, subject: &Subject<'_>) {
    if let Some(text) = would_violate(labels.bound(Mode::Warn), subject) {
        attributes.warnings.add(text);
    }
}

fn would_violate(bound: Bound, subject: &Subject<'_>) -> Option<String> {
    let found = findings(bound, subject);
    (!found.is_empty()).then(|| format!("would violate PodSecurity {bound}: {}", in_full(&found)))
}

/// Whether an update changes what the standards look at. Of a pod's spec little more than images can change at all.
fn is_significant(new: &Value, old: &Value) -> bool {
    ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"].iter().any(|place| {
        let images = |pod| -> Vec<(String, String)> {
            list(pod, place)
                .map(|one| (text(one, "/name").to_owned(), text(one, "/image").to_owned()))
                .collect()
        };
        images(new) != images(old)
    }) || annotations(new) != annotations(old)
}

fn annotations(pod: &Value) -> Vec<(&String, &Value)> {
    let all = pod.pointer("/metadata/annotations").and_then(Value::as_object).into_iter().flatten();
    all.filter(|(key, _)| key.starts_with(subject::APP_ARMOR)).collect()
}

/// Labels must make sense, unless they made none before; and what they change is told.
async fn namespace(attributes: &Attributes<'_>, new: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
    let wrong = Labels::wrong(new);
    let old = attributes.old.filter(|_| attributes.operation == Operation::Update);
    if wrong.len() > old.map_or(0, |old| Labels::wrong(old).len()) {
        let errors: Vec<FieldError> = wrong;
        return Err(Status::invalid(&attributes.kind.group_kind(), text(new, "/metadata/name"), errors));
    }
    let Some(old) = old else { return Ok(()) };
    let (before, after) = (Labels::of(old).bound(Mode::Enforce), Labels::of(new).bound(Mode::Enforce));
    if before == after || !after.may_refuse_more_than(before) {
        return Ok(());
    }
    let name = text(new, "/metadata/name");
    let pods = lookup.list(Wanted::Pod, name).await?;
    for warning in existing(after, name, &pods) {
        attributes.warnings.add(warning);
    }
    Ok(())
}

/// Which of a namespace's pods a level would refuse, those with the same findings together.
fn existing(bound: Bound, namespace: &str, pods: &[Value]) -> Vec<String> {
    let mut violating: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in pods.iter().take(EXISTING_MAX) {
        let found = findings(bound, &Subject::of_pod(pod));
        if !found.is_empty() {
            let reasons: Vec<&str> = found.iter().map(|one| one.reason).collect();
            violating.entry(reasons.join(", ")).or_default().push(text(pod, "/metadata/name"));
        }
    }
    if violating.is_empty() {
        return Vec::new();
    }
    let mut warnings = vec![format!(
        "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level {bound}"
    )];
    if pods.len() > EXISTING_MAX {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {EXISTING_MAX} of {} existing pods",
            pods.len()
        ));
    }
    let mut lines: Vec<String> = violating
        .into_iter()
        .map(|(reasons, mut names)| {
            names.sort_unstable();
            match names.as_slice() {
                [one] => format!("{one}: {reasons}"),
                [first, _] => format!("{first} (and 1 other pod): {reasons}"),
                [first, others @ ..] => format!("{first} (and {} other pods): {reasons}", others.len()),
                [] => reasons,
            }
        })
        .collect();
    lines.sort();
    warnings.extend(lines);
    warnings
}

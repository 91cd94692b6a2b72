//! pods/eviction: deletes a pod unless a PodDisruptionBudget objects.
//!
//! Rules: upstream's `pkg/registry/core/pod/storage/eviction.go`. The budget is taken by a write that compares its revision,
//! before the pod goes: of two evictions that race for the last disruption one is told to come back.

use super::{
    Registry, Stored, StoredBody, Target,
    commit::{ATTEMPTS_MAX, Outcome, encode},
    delete::check_preconditions,
    match_namespace,
};
use crate::{
    admit::Operation,
    context::Context,
    entry::Entry,
    kind::Kind,
    meta,
    options::DeleteOptions,
    status::{GroupResource, Status, StatusCause, success},
    validate::selector,
};
use keelson_store::{Compare, Write};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Evicted pods that a budget's controller has not yet seen go; over so many, no further one goes.
const DISRUPTED_MAX: usize = 2_000;
/// When to come back while a budget is not worked out yet.
const RETRY: Duration = Duration::from_secs(10);

/// What the budgets say about one pod.
enum Verdict {
    /// None covers it.
    Free,
    /// One covers it, and does not count a pod that is not ready: it may go as long as it stays so.
    Unready(String),
    /// One covers it and has given a disruption.
    Granted,
}

impl Registry {
    /// Evicts the pod of that name. `options` are those in the eviction.
    pub async fn evict(
        &self,
        context: &Context,
        kind: &Arc<Kind>,
        namespace: Option<&str>,
        name: &str,
        mut eviction: Value,
        options: &DeleteOptions,
    ) -> Result<Stored, Status> {
        let target = Target::new(kind, namespace, name, Some("eviction"));
        match_namespace(&target, &mut eviction)?;
        if meta::field(&eviction, "name") != name {
            return Err(Status::bad_request("name in URL does not match name in Eviction object"));
        }
        options.check()?;
        let attributes = target.attributes(context, Operation::Create, None);
        let admission = self.admission();
        admission.mutate(&attributes, Some(&mut eviction)).await?;
        admission.validate(&attributes, Some(&eviction)).await?;
        for _ in 0..ATTEMPTS_MAX {
            let (entry, pod) = self.pod(&target).await?;
            check_preconditions(&target, options, &pod)?;
            if !counts(&pod) {
                match self.evict_uncounted(context, &target, options, &entry, &pod).await {
                    Err(status) if status.code == 409 && options.preconditions.resource_version.is_none() => {
                    }
                    outcome => return outcome,
                }
                continue;
            }
            let unready = match self.ask_budgets(context, &target, &pod).await? {
                Verdict::Unready(budget) => Some((budget, entry.mod_revision())),
                Verdict::Free | Verdict::Granted => None,
            };
            return self.mark_and_delete(context, &target, options, unready).await;
        }
        Err(Status::modified(&kind.group_resource(), name))
    }

    async fn pod(&self, target: &Target<'_>) -> Result<(Arc<Entry>, Value), Status> {
        self.fresh().await?;
        let entry = self.cache(target.kind)?.get(&target.key()).ok_or_else(|| target.not_found())?;
        let pod = entry.to_unmanaged_value();
        Ok((entry, pod))
    }

    /// A pod that does no work goes at once; one that might begin to, only as it was seen.
    async fn evict_uncounted(
        &self,
        context: &Context,
        target: &Target<'_>,
        options: &DeleteOptions,
        entry: &Entry,
        pod: &Value,
    ) -> Result<Stored, Status> {
        let mut options = options.clone();
        let is_pending = meta::text(pod, &["status", "phase"]) == "Pending" && !meta::deleting(pod);
        if is_pending && options.preconditions.resource_version.is_none() {
            options.preconditions.resource_version = Some(entry.mod_revision().to_string());
        }
        self.delete(context, target.kind, Some(target.namespace), target.name, &options).await.map(|_| done())
    }

    async fn ask_budgets(
        &self,
        context: &Context,
        target: &Target<'_>,
        pod: &Value,
    ) -> Result<Verdict, Status> {
        let kind = self.table().by_resource("policy", "v1", "poddisruptionbudgets").cloned();
        let kind = kind.ok_or_else(|| Status::internal("poddisruptionbudgets are not served"))?;
        for _ in 0..ATTEMPTS_MAX {
            self.fresh().await?;
            let covering: Vec<Arc<Entry>> = self
                .cached_all(&kind, Some(target.namespace))
                .into_iter()
                .filter(|budget| covers(&budget.to_value(), pod))
                .collect();
            let budget = match covering.as_slice() {
                [] => return Ok(Verdict::Free),
                [budget] => budget,
                _ => {
                    let mut status = Status::internal("");
                    status.message = "This pod has more than one PodDisruptionBudget, which the eviction \
                                      subresource does not support."
                        .to_owned();
                    return Err(status);
                }
            };
            let mut object = budget.to_unmanaged_value();
            if !is_ready(pod) && spares_unready(&object) {
                return Ok(Verdict::Unready(budget.head.name().to_owned()));
            }
            take(context, &mut object, target.name)?;
            if context.dry_run {
                return Ok(Verdict::Granted);
            }
            let key = budget.head.key().clone();
            let own = Compare::ModRevision(key.clone(), budget.mod_revision());
            let value = encode(&object, &budget.managed())?.bytes;
            let write = Write::Put { key, value, ttl: None };
            if let Outcome::Committed(revision) = self.run(own, write, Vec::new()).await? {
                self.progress.wait(revision).await?;
                return Ok(Verdict::Granted);
            }
        }
        Err(Status::modified(&GroupResource::new("policy", "poddisruptionbudgets"), target.name))
    }

    /// Writes into the pod why it goes, and deletes it. `unready` is the budget that let it go unasked, and the revision at
    /// which the pod was not ready: it goes at that one or not at all.
    async fn mark_and_delete(
        &self,
        context: &Context,
        target: &Target<'_>,
        options: &DeleteOptions,
        unready: Option<(String, u64)>,
    ) -> Result<Stored, Status> {
        for _ in 0..ATTEMPTS_MAX {
            let (entry, mut pod) = self.pod(target).await?;
            if let Some((budget, revision)) = &unready
                && *revision != entry.mod_revision()
            {
                return Err(wait_for(budget));
            }
            check_preconditions(target, options, &pod)?;
            let mut options = options.clone();
            if !context.dry_run {
                set_disrupted(context, &mut pod);
                let key = entry.head.key().clone();
                let own = Compare::ModRevision(key.clone(), entry.mod_revision());
                let value = encode(&pod, &entry.managed())?.bytes;
                let write = Write::Put { key, value, ttl: None };
                let Outcome::Committed(revision) = self.run(own, write, Vec::new()).await? else { continue };
                self.progress.wait(revision).await?;
                // Held against the state above; the mark has made another one.
                options.preconditions.resource_version = None;
            }
            let namespace = Some(target.namespace);
            return self.delete(context, target.kind, namespace, target.name, &options).await.map(|_| done());
        }
        Err(Status::modified(&target.kind.group_resource(), target.name))
    }
}

fn done() -> Stored {
    Stored { body: StoredBody::Value(success(201, None)), code: 201 }
}

/// Whether a budget would miss the pod.
fn counts(pod: &Value) -> bool {
    !matches!(meta::text(pod, &["status", "phase"]), "Succeeded" | "Failed" | "Pending")
        && !meta::deleting(pod)
}

fn is_ready(pod: &Value) -> bool {
    meta::items(pod, &["status", "conditions"])
        .iter()
        .any(|own| meta::text(own, &["type"]) == "Ready" && meta::text(own, &["status"]) == "True")
}

/// No selector selects nothing, an empty one everything.
fn covers(budget: &Value, pod: &Value) -> bool {
    meta::at(budget, &["spec", "selector"])
        .and_then(selector::parsed)
        .is_some_and(|parsed| selector::selects(&parsed, pod.pointer("/metadata/labels")))
}

/// Whether a pod that is not ready may go without asking: always, or while enough others are healthy.
fn spares_unready(budget: &Value) -> bool {
    let count = |key: &str| meta::number(budget, &["status", key]).unwrap_or_default();
    meta::text(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow"
        || (count("desiredHealthy") > 0 && count("currentHealthy") >= count("desiredHealthy"))
}

/// 429: the budget's status does not speak of its present spec, or of the pod's present state.
fn wait_for(budget: &str) -> Status {
    refused(RETRY, format!("The disruption budget {budget} is still being processed by the server."))
}

fn refused(retry: Duration, cause: String) -> Status {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut status = Status::too_many_requests(message, retry);
    if let Some(details) = &mut status.details {
        details.retry_after_s = u32::try_from(retry.as_secs()).unwrap_or(u32::MAX);
        details.causes =
            vec![StatusCause { reason: "DisruptionBudget".to_owned(), message: cause, field: String::new() }];
    }
    status
}

/// Takes one disruption for the pod, or says why there is none.
fn take(context: &Context, budget: &mut Value, pod: &str) -> Result<(), Status> {
    let name = meta::field(budget, "name").to_owned();
    let count = |key: &str| meta::number(budget, &["status", key]).unwrap_or_default();
    let (allowed, observed) = (count("disruptionsAllowed"), count("observedGeneration"));
    let (healthy, desired) = (count("currentHealthy"), count("desiredHealthy"));
    if observed < meta::generation(budget) {
        return Err(wait_for(&name));
    }
    let forbidden = |why| {
        let resource = GroupResource::new("policy", "poddisruptionbudget");
        Err(Status::forbidden(&resource, &name, why))
    };
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if meta::entries(budget, &["status", "disruptedPods"]).count() > DISRUPTED_MAX {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        let cause =
            format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently");
        return Err(refused(Duration::ZERO, cause));
    }
    let status = meta::map_of(meta::map_of(budget).entry("status").or_insert_with(|| json!({})));
    status.insert("disruptionsAllowed".to_owned(), json!(allowed - 1));
    let disrupted = meta::map_of(status.entry("disruptedPods").or_insert_with(|| json!({})));
    disrupted.insert(pod.to_owned(), meta::time_text(context.now));
    if allowed == 1 {
        let exhausted = json!({
            "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
            "observedGeneration": observed, "lastTransitionTime": meta::time_text(context.now),
        });
        set_condition(status, exhausted);
    }
    Ok(())
}

fn set_disrupted(context: &Context, pod: &mut Value) {
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastTransitionTime": meta::time_text(context.now),
    });
    set_condition(meta::map_of(meta::map_of(pod).entry("status").or_insert_with(|| json!({}))), condition);
}

fn set_condition(status: &mut serde_json::Map<String, Value>, condition: Value) {
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if let Some(all) = conditions.as_array_mut() {
        all.retain(|own| own.get("type") != condition.get("type"));
        all.push(condition);
    }
}

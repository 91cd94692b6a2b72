//! Writing a pod's status: on change, one write at a time, always the newest. What changes while a
//! write is under way goes out in one write after it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Message;
use crate::context::Context;
use crate::machine::status::{Facts, RESIZE_IN_PROGRESS, RESIZE_PENDING, pod_status};
use crate::machine::{Machine, Stage};
use crate::patch::replace_whole;
use crate::pod::Stored;

/// Pause after a failed write, doubled up to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Conditions that go when they no longer hold.
const FLEETING: [&str; 2] = [RESIZE_PENDING, RESIZE_IN_PROGRESS];

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in the API.
    Written,
    /// It is not; the next attempt may be made now.
    Failed,
    /// There is no such object any more.
    Gone,
}

/// What was written, and what of it is under way.
#[derive(Debug)]
pub(crate) struct Writer {
    written: Option<Value>,
    under_way: Option<Value>,
    failures: u32,
    silent: bool,
    conditions: Vec<PodCondition>,
    /// A fleeting condition has been there: those that are not now are taken away with every write.
    fleeting: bool,
}

impl Writer {
    /// `frozen`: the object has ended before this daemon knew it; what it says stays.
    pub(crate) fn new(stored: &Stored, frozen: bool) -> Self {
        Self {
            written: None,
            under_way: None,
            failures: 0,
            silent: frozen,
            fleeting: stored.conditions.iter().any(|one| FLEETING.contains(&one.type_.as_str())),
            conditions: stored.conditions.clone(),
        }
    }

    /// Takes over conditions that others wrote. Where somebody called a pod not ready that is (the controllers do while its node is
    /// silent), the status is due again.
    pub(crate) fn observe(&mut self, stored: &Stored) {
        let is = |conditions: &[PodCondition], status: &str| {
            conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == status)
        };
        if is(&self.conditions, "True") && is(&stored.conditions, "False") {
            self.written = None;
        }
        let others = stored.conditions.iter().filter(|c| !is_ours(&c.type_)).cloned();
        self.conditions.retain(|condition| is_ours(&condition.type_));
        self.conditions.extend(others);
    }

    pub(crate) fn written(&mut self, outcome: Outcome) {
        let value = self.under_way.take();
        match outcome {
            Outcome::Written => {
                self.written = value;
                self.failures = 0;
            }
            Outcome::Failed => self.failures = self.failures.saturating_add(1),
            Outcome::Gone => self.silent = true,
        }
    }

    fn compute(&mut self, ctx: &Context, stored: &Stored, machine: &Machine) -> Value {
        let facts = Facts {
            host_ips: &ctx.config.node_ips,
            qos: stored.qos.as_str(),
            generation: stored.generation,
            conditions: &self.conditions,
            now: Timestamp::now(),
        };
        let status = pod_status(machine, &facts);
        let own = status.conditions.clone().unwrap_or_default();
        self.conditions.retain(|condition| !is_ours(&condition.type_));
        self.conditions.extend(own);
        let holds = |kind: &str| self.conditions.iter().any(|one| one.type_ == kind);
        self.fleeting |= FLEETING.iter().any(|kind| holds(kind));
        let mut value = serde_json::to_value(&status).expect("a status is JSON");
        if self.fleeting
            && let Some(list) = value["conditions"].as_array_mut()
        {
            let gone = FLEETING.iter().filter(|kind| !holds(kind));
            list.extend(gone.map(|kind| json!({ "type": kind, "$patch": "delete" })));
        }
        value
    }

    /// The status to leave behind. Nothing is written by [`Writer::publish`] after it.
    pub(crate) fn last(&mut self, ctx: &Context, stored: &Stored, machine: &Machine) -> Value {
        let value = self.compute(ctx, stored, machine);
        let keep = self.silent;
        self.silent = true;
        if keep { Value::Null } else { value }
    }

    pub(crate) fn publish(
        &mut self,
        ctx: &Arc<Context>,
        stored: &Arc<Stored>,
        machine: &Machine,
        outbox: &mpsc::Sender<Message>,
    ) {
        if self.silent || self.under_way.is_some() || machine.vanished || machine.stage == Stage::Gone {
            return;
        }
        let value = self.compute(ctx, stored, machine);
        if self.written.as_ref() == Some(&value) {
            return;
        }
        self.under_way = Some(value.clone());
        let pause = match self.failures {
            0 => Duration::ZERO,
            n => RETRY.0.saturating_mul(1 << n.min(10)).min(RETRY.1),
        };
        let api: Api<Pod> = Api::namespaced(ctx.client.clone(), &stored.namespace);
        let (stored, outbox) = (Arc::clone(stored), outbox.clone());
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let outcome = match write(&api, &stored, value).await {
                Ok(true) => Outcome::Written,
                Ok(false) => Outcome::Gone,
                Err(error) => {
                    tracing::warn!(pod = %stored.name, namespace = %stored.namespace, %error, "cannot write the pod's status");
                    Outcome::Failed
                }
            };
            let _ = outbox.send(Message::StatusWritten(outcome)).await;
        });
    }
}

fn is_ours(kind: &str) -> bool {
    matches!(kind, "PodReadyToStartContainers" | "Initialized" | "Ready" | "ContainersReady")
        || FLEETING.contains(&kind)
}

/// Patches the status of exactly this pod. `false`: it is gone. A null status writes nothing.
pub(super) async fn write(api: &Api<Pod>, stored: &Stored, mut status: Value) -> kube::Result<bool> {
    if status.is_null() {
        return Ok(true);
    }
    // Merged by address, those of an earlier sandbox would stay.
    for list in ["podIPs", "hostIPs"] {
        if let Some(list) = status.get_mut(list) {
            replace_whole(list);
        }
    }
    // The uid is a precondition: another pod of the same name is not touched.
    let patch = json!({ "metadata": { "uid": stored.uid }, "status": status });
    match api.patch_status(&stored.name, &PatchParams::default(), &Patch::Strategic(patch)).await {
        Ok(_) => Ok(true),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the API says that this pod (with this uid) does not exist.
pub(super) fn is_gone(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) if status.code == 404 => true,
        // A conflict over the uid; any other is worth another try.
        kube::Error::Api(status) => status.code == 409 && status.message.to_lowercase().contains("uid"),
        _ => false,
    }
}

//! Effects on the way down: stopping a container, and removing every trace of the pod.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use tokio::time::Instant;

use super::exit::{exit_of, gone};
use super::sandbox::{sandboxes_of, until_done};
use super::{Message, Worker, status};
use crate::container::resources::pod_cgroup;
use crate::context::Context;
use crate::machine::{Event, Role};
use crate::pod::Stored;
use crate::probe::Target;
use crate::{hooks, volumes};

/// How long a stop signal waits at most for the pod to be taken out of its Services.
const DRAIN_MAX: Duration = Duration::from_millis(500);
/// What a container gets at least after its preStop hook has used up the grace (upstream: 2 s).
const GRACE_AFTER_HOOK_MIN: Duration = Duration::from_secs(2);

pub(super) struct Kill {
    pub(super) slot: usize,
    pub(super) id: String,
    pub(super) grace: Duration,
    pub(super) message: String,
    pub(super) draining: bool,
    pub(super) again: bool,
}

impl Worker {
    pub(super) fn kill_container(&mut self, kill: Kill) {
        let (ctx, stored, outbox) = (Arc::clone(&self.ctx), Arc::clone(&self.stored), self.outbox.clone());
        let name = self.machine.shape.containers[kill.slot].name.clone();
        if !kill.again {
            let subject = self.stored.reference(Some((&name, self.role(kill.slot))));
            self.ctx.recorder.normal(subject, "Killing", kill.message.clone());
        }
        let host = self.ips().into_iter().next().unwrap_or_default();
        let role = self.role(kill.slot);
        self.tasks.spawn(async move {
            let began = Instant::now();
            if !kill.again {
                before_signal(&ctx, &stored, &kill, &host, (&name, role)).await;
            }
            let left = match kill.grace.saturating_sub(began.elapsed()) {
                left if kill.grace >= GRACE_AFTER_HOOK_MIN => left.max(GRACE_AFTER_HOOK_MIN),
                left => left,
            };
            until_done(&stored, "stop container", || ctx.runtime.stop_container(&kill.id, left)).await;
            let exit = match ctx.runtime.container_status(&kill.id).await {
                Ok(status) => exit_of(&status, String::new()),
                Err(_) => gone(kill.id.clone()),
            };
            // Usually the runtime's event was first; then this changes nothing.
            let _ = outbox.send(Message::Event(Event::Exited { exit })).await;
        });
    }

    /// From here on the status is written once more, by the removal itself.
    pub(super) fn remove_pod(&mut self) {
        let last = self.status.last(&self.ctx, &self.stored, &self.machine);
        let (ctx, stored, outbox) = (Arc::clone(&self.ctx), Arc::clone(&self.stored), self.outbox.clone());
        let vanished = self.machine.vanished;
        for slot in &self.machine.slots {
            let ids = slot.id().into_iter().chain(slot.last.as_ref().map(|exit| exit.id.as_str()));
            ids.for_each(|id| self.ctx.routes.remove(id));
        }
        self.tasks.spawn(async move {
            until_done(&stored, "remove the pod's traces", || remove_traces(&ctx, &stored)).await;
            if !vanished {
                until_done(&stored, "delete the pod's object", || delete_object(&ctx, &stored, last.clone()))
                    .await;
            }
            let _ = outbox.send(Message::Event(Event::Removed)).await;
        });
    }
}

/// Waits until new connections stay away, while the preStop hook runs; both within the grace.
async fn before_signal(ctx: &Context, stored: &Stored, kill: &Kill, host: &str, (name, role): (&str, Role)) {
    let drained = async {
        if kill.draining && !kill.grace.is_zero() {
            let _ = tokio::time::timeout(DRAIN_MAX, ctx.drain.endpoint_terminating(&stored.uid)).await;
        }
    };
    let hooked = async {
        let spec = stored.spec();
        let Some(container) = crate::pod::container(&spec, name) else { return };
        let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()) else { return };
        if kill.grace.is_zero() {
            return;
        }
        let target = Target { ctx, host, id: &kill.id, container: &container };
        let subject = || stored.reference(Some((name, role)));
        match tokio::time::timeout(kill.grace, hooks::run(&target, hook)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                ctx.recorder.warning(subject(), "FailedPreStopHook", format!("PreStopHook failed: {why}"));
            }
            Err(_) => {
                let text = "PreStopHook failed: it did not end within the grace period".to_owned();
                ctx.recorder.warning(subject(), "FailedPreStopHook", text);
            }
        }
    };
    tokio::join!(drained, hooked);
}

/// Sandboxes with their containers, volumes, cgroup, logs.
pub(crate) async fn remove_traces(ctx: &Context, stored: &Stored) -> anyhow::Result<()> {
    for id in sandboxes_of(ctx, &stored.uid).await? {
        ctx.runtime.stop_sandbox(&id).await?;
        ctx.runtime.remove_sandbox(&id).await?;
    }
    volumes::tear_down(ctx, &stored.uid)?;
    ctx.cgroups.remove(&pod_cgroup(&ctx.config, stored.qos, &stored.uid))?;
    let logs = ctx.config.log_dir(&stored.namespace, &stored.name, &stored.uid);
    match std::fs::remove_dir_all(&logs) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The last status, then the end of the object; both only if it is still the same pod.
async fn delete_object(ctx: &Context, stored: &Stored, last: serde_json::Value) -> kube::Result<()> {
    let api: Api<Pod> = Api::namespaced(ctx.client.clone(), &stored.namespace);
    status::write(&api, stored, last).await?;
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: Some(stored.uid.clone()), resource_version: None }),
        ..DeleteParams::default()
    };
    match api.delete(&stored.name, &params).await {
        Err(error) if !status::is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}

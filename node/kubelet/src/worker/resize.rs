//! The effects of a resize: asking the node, and bringing to cgroups what was given.

use std::sync::Arc;

use keelson_runtime::v1;
use keelson_sys::cgroups::Limits;

use super::{Message, Worker};
use crate::allocation::{ByContainer, Replace};
use crate::container::resources::{linux_resources, pod_cgroup, pod_limits, read_back};
use crate::context::Context;
use crate::machine::resize::{Amounts, Applying, Asking, ReadBack, Refusal};
use crate::machine::{Event, Machine, Run};
use crate::pod::Stored;

/// A container whose amounts are to be changed.
struct Target {
    slot: usize,
    id: String,
    name: String,
    given: Amounts,
    has: Amounts,
}

struct Job {
    ctx: Arc<Context>,
    stored: Arc<Stored>,
    names: Vec<String>,
    targets: Vec<Target>,
}

impl Worker {
    fn names(&self) -> Vec<String> {
        self.machine.shape.containers.iter().map(|container| container.name.clone()).collect()
    }

    /// The object with what was given in place of what it asks for.
    pub(super) fn overlay(&mut self) {
        let given = self.names().into_iter().zip(self.machine.allocated.iter().cloned()).collect();
        self.stored = match self.asked.with_resources(&given) {
            Some(stored) => Arc::new(stored),
            None => Arc::clone(&self.asked),
        };
    }

    pub(super) fn allocate(&mut self, wanted: Vec<Amounts>) {
        let by_name: ByContainer = self.names().into_iter().zip(wanted.iter().cloned()).collect();
        let (ctx, stored, outbox) = (Arc::clone(&self.ctx), Arc::clone(&self.stored), self.outbox.clone());
        self.tasks.spawn(async move {
            let (asked, uid) = (Arc::clone(&ctx), stored.uid.clone());
            let asking = move || asked.allocations.ask(&asked.config, &uid, &by_name);
            let refusal =
                match tokio::task::spawn_blocking(asking).await.map_err(std::io::Error::other).flatten() {
                    Ok(answer) => answer.err(),
                    // As no room: tried again with the next change on the node.
                    Err(error) => {
                        Some(Refusal::Deferred(format!("what is given cannot be written down: {error}")))
                    }
                };
            let _ = outbox.send(Message::Event(Event::Allocated { wanted, refusal })).await;
        });
    }

    pub(super) fn resize(&mut self, first: Vec<Amounts>, slots: &[usize], last: Vec<Amounts>) {
        let targets = slots.iter().filter_map(|&slot| {
            let Run::Running(live) = &self.machine.slots[slot].run else { return None };
            Some(Target {
                slot,
                id: live.id.clone(),
                name: self.machine.shape.containers[slot].name.clone(),
                given: Arc::clone(&self.machine.allocated[slot]),
                has: self.machine.slots[slot].has.clone()?,
            })
        });
        let job = Job {
            targets: targets.collect(),
            names: self.names(),
            ctx: Arc::clone(&self.ctx),
            stored: Arc::clone(&self.stored),
        };
        let outbox = self.outbox.clone();
        self.tasks.spawn(async move {
            let event = job.run(first, last).await;
            let _ = outbox.send(Message::Event(event)).await;
        });
    }

    /// Tells users what a step has changed.
    pub(super) fn report_resize(&self, before: &Machine) {
        let now = &self.machine;
        let tell = |warning: bool, reason: &'static str, word: &str, error: Option<&str>| {
            let text = format!("Pod resize {word}: {}", self.resize_text(error));
            let subject = self.stored.reference(None);
            match warning {
                true => self.ctx.recorder.warning(subject, reason, text),
                false => self.ctx.recorder.normal(subject, reason, text),
            }
        };
        if let Asking::Refused { refusal, .. } = &now.resize.asking
            && before.resize.asking == Asking::Asked
        {
            match refusal {
                Refusal::Deferred(why) => tell(true, "ResizeDeferred", "deferred", Some(why)),
                Refusal::Infeasible(why) => tell(true, "ResizeInfeasible", "infeasible", Some(why)),
            }
        }
        if now.resize.generation != before.resize.generation {
            tell(false, "ResizeStarted", "started", None);
        }
        match &now.resize.applying {
            Applying::Failed { failures: 1, message, .. }
                if matches!(before.resize.applying, Applying::Working { .. }) =>
            {
                tell(true, "ResizeError", "error", Some(message));
            }
            _ if before.is_resizing() && !now.is_resizing() && now.resize.generation.is_some() => {
                tell(false, "ResizeCompleted", "completed", None);
            }
            _ => {}
        }
    }

    /// As upstream's events have it: `{"containers":[..],"generation":5,"error":".."}`.
    fn resize_text(&self, error: Option<&str>) -> String {
        let containers =
            self.machine.shape.containers.iter().map(
                |container| serde_json::json!({"name": container.name, "resources": *container.resources}),
            );
        let mut text = serde_json::json!({"containers": containers.collect::<Vec<_>>()});
        if let Some(generation) = self.machine.shape.generation {
            text["generation"] = generation.into();
        }
        if let Some(error) = error {
            text["error"] = error.into();
        }
        text.to_string()
    }
}

impl Job {
    /// The pod's cgroup to `first`, the containers, the pod's cgroup to `last`. Ends at the first failure, with what is known by then.
    async fn run(&self, first: Vec<Amounts>, last: Vec<Amounts>) -> Event {
        let (mut cgroup, mut read) = (None, Vec::new());
        let outcome = async {
            self.check_memory(&last)?;
            self.set_pod(&first)?;
            cgroup = Some(first);
            for target in &self.targets {
                let linux = linux_resources(&target.given, self.stored.qos, self.ctx.capacity.memory_bytes);
                let updated = self.ctx.runtime.update_resources(&target.id, linux).await;
                let found = container_has(&self.ctx, &self.stored, &target.id, &target.given).await;
                if let Ok(has) = &found {
                    read.push(ReadBack { slot: target.slot, id: target.id.clone(), has: Arc::clone(has) });
                }
                updated.map_err(|error| error.to_string())?;
                if found? != target.given {
                    return Err(format!("container \"{}\" has not what it was given", target.name));
                }
            }
            self.set_pod(&last)?;
            cgroup = Some(last);
            Ok::<_, String>(())
        };
        let error = outcome.await.err();
        Event::Resized { cgroup, read, error }
    }

    fn cgroup(&self) -> String {
        pod_cgroup(&self.ctx.config, self.stored.qos, &self.stored.uid)
    }

    fn limits(&self, amounts: &[Amounts]) -> Limits {
        let mut resources = self.stored.resources();
        resources.replace(&self.names.iter().cloned().zip(amounts.iter().cloned()).collect());
        pod_limits(&resources)
    }

    fn set_pod(&self, amounts: &[Amounts]) -> Result<(), String> {
        let (path, limits) = (self.cgroup(), self.limits(amounts));
        self.ctx
            .cgroups
            .create(&path, &limits)
            .map_err(|error| format!("cannot set the limits of {path}: {error}"))
    }

    /// No memory limit goes below what is in use: the kernel would kill somebody for it.
    fn check_memory(&self, last: &[Amounts]) -> Result<(), String> {
        let below = |path: &str, limit: Option<u64>| -> Result<Option<(u64, u64)>, String> {
            let Some(limit) = limit else { return Ok(None) };
            let used = self.ctx.cgroups.memory_used(path).map_err(|error| error.to_string())?;
            Ok((used > limit).then_some((limit, used)))
        };
        let memory = |amounts: &Amounts| {
            amounts.limits.get("memory").and_then(|limit| u64::try_from(limit.value()).ok())
        };
        let mut wrong = Vec::new();
        for target in &self.targets {
            let (limit, had) = (memory(&target.given), memory(&target.has));
            if limit.is_none_or(|limit| had.is_some_and(|had| limit >= had)) {
                continue;
            }
            if let Some((limit, used)) = below(&format!("{}/{}", self.cgroup(), target.id), limit)? {
                let name = &target.name;
                wrong.push(format!(
                    "attempting to set container \"{name}\" memory limit ({limit}) below current usage ({used})"
                ));
            }
        }
        if let Some((limit, used)) = below(&self.cgroup(), self.limits(last).memory_bytes)? {
            wrong.insert(
                0,
                format!("attempting to set pod memory limit ({limit}) below current usage ({used})"),
            );
        }
        match wrong.as_slice() {
            [] => Ok(()),
            [one] => Err(format!("cannot decrease memory limits: {one}")),
            more => Err(format!("cannot decrease memory limits: [{}]", more.join(", "))),
        }
    }
}

/// What a container has: as the runtime says, or its cgroup where the runtime (containerd before 1.7) does not.
pub(crate) async fn container_has(
    ctx: &Context,
    stored: &Stored,
    id: &str,
    given: &Amounts,
) -> Result<Amounts, String> {
    let status = ctx.runtime.container_status(id).await.map_err(|error| error.to_string())?;
    let actual = match status.resources.and_then(|resources| resources.linux) {
        Some(linux) => limits_of(&linux),
        None => {
            let path = format!("{}/{id}", pod_cgroup(&ctx.config, stored.qos, &stored.uid));
            ctx.cgroups.read(&path).map_err(|error| error.to_string())?
        }
    };
    Ok(Arc::new(read_back(given, &actual)))
}

fn limits_of(linux: &v1::LinuxContainerResources) -> Limits {
    let positive = |number: i64| u64::try_from(number).ok().filter(|number| *number > 0);
    Limits {
        cpu_shares: positive(linux.cpu_shares),
        cpu_quota_us: positive(linux.cpu_quota),
        memory_bytes: positive(linux.memory_limit_in_bytes),
    }
}

//! What a daemon before us left running: read once at the start from the runtime's lists, by the labels
//! that every sandbox and container carries. Nothing found is restarted; what belongs to no pod of the
//! API is removed, but only after a complete list of the node's pods.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{ContainerStatus as ApiStatus, Pod};
use k8s_openapi::jiff::Timestamp;
use keelson_runtime::{Runtime, keys, v1};

use crate::allocation::{ByContainer, Replace};
use crate::container::fields::requirements;
use crate::container::resources::{is_as_wanted, pod_cgroup, pod_limits};
use crate::context::Context;
use crate::machine::{Adopted, AdoptedContainer, Amounts, Exit, Live, SandboxInfo};
use crate::pod::{self, Stored};
use crate::volumes;
use crate::worker::{container_has, exit_of, gone};

/// What the runtime holds at the start.
#[derive(Debug, Default)]
pub(crate) struct Found {
    sandboxes: Vec<v1::PodSandbox>,
    containers: Vec<v1::Container>,
}

fn owner(labels: &std::collections::HashMap<String, String>) -> &str {
    labels.get(keys::POD_UID).map_or("", String::as_str)
}

impl Found {
    /// Reads the runtime's lists. Containers that were created and never started are removed: whoever
    /// would have started them is gone.
    pub(crate) async fn read(runtime: &dyn Runtime) -> keelson_runtime::Result<Self> {
        let (sandboxes, mut containers) = (runtime.sandboxes().await?, runtime.containers().await?);
        for container in &containers {
            if container.state() == v1::ContainerState::ContainerCreated {
                runtime.remove_container(&container.id).await?;
            }
        }
        containers.retain(|container| container.state() != v1::ContainerState::ContainerCreated);
        Ok(Self { sandboxes, containers })
    }

    /// Ids of containers and sandboxes of one pod.
    pub(crate) fn ids(&self, uid: &str) -> Vec<String> {
        let sandboxes = self.sandboxes.iter().filter(|s| owner(&s.labels) == uid).map(|s| s.id.clone());
        let containers = self.containers.iter().filter(|c| owner(&c.labels) == uid).map(|c| c.id.clone());
        sandboxes.chain(containers).collect()
    }

    /// Everything about one pod.
    pub(crate) async fn of(
        &self,
        ctx: &Context,
        pod: &Pod,
        given: &ByContainer,
    ) -> keelson_runtime::Result<Adopted> {
        let runtime = ctx.runtime.as_ref();
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let mut adopted = Adopted {
            started_at: pod.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| t.0),
            finished: pod::is_terminal(pod.status.as_ref()),
            given: given.clone(),
            ..Adopted::default()
        };
        if let Some(newest) = self.newest_sandbox(uid) {
            adopted.sandbox_attempt = Some(sandbox_attempt(newest));
            if newest.state() == v1::PodSandboxState::SandboxReady {
                let network = runtime.sandbox_status(&newest.id).await?.network.unwrap_or_default();
                let all = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|i| i.ip));
                adopted.sandbox = Some(SandboxInfo {
                    id: newest.id.clone(),
                    ips: all.filter(|ip| !ip.is_empty()).collect(),
                    attempt: sandbox_attempt(newest),
                });
            }
        }
        for name in names(pod) {
            let reported = reported(pod, name);
            if let Some(found) =
                self.container(runtime, uid, name, reported, adopted.sandbox.as_ref()).await?
            {
                adopted.containers.push(found);
            } else if let Some(once) = reported.filter(|_| is_ephemeral(pod, name)).and_then(ended) {
                adopted.containers.push(AdoptedContainer { exit: Some(once), ..remembered(name, 0) });
            } else if let Some(reported) = reported.filter(|r| r.container_id.is_some()) {
                let restarts = u32::try_from(reported.restart_count).unwrap_or(0).saturating_add(1);
                adopted.containers.push(remembered(name, restarts));
            }
        }
        if !adopted.finished {
            amounts(ctx, pod, &mut adopted).await;
        }
        Ok(adopted)
    }

    fn newest_sandbox(&self, uid: &str) -> Option<&v1::PodSandbox> {
        let own = self.sandboxes.iter().filter(|sandbox| owner(&sandbox.labels) == uid);
        own.max_by_key(|sandbox| sandbox_attempt(sandbox))
    }

    /// Those of one name in one pod, the newest first.
    fn containers_of(&self, uid: &str, name: &str) -> Vec<&v1::Container> {
        let named = |c: &&v1::Container| {
            owner(&c.labels) == uid && c.labels.get(keys::CONTAINER_NAME).is_some_and(|n| n == name)
        };
        let mut own: Vec<&v1::Container> = self.containers.iter().filter(named).collect();
        own.sort_by_key(|container| std::cmp::Reverse((attempt(container), container.created_at)));
        own
    }

    async fn container(
        &self,
        runtime: &dyn Runtime,
        uid: &str,
        name: &str,
        reported: Option<&ApiStatus>,
        sandbox: Option<&SandboxInfo>,
    ) -> keelson_runtime::Result<Option<AdoptedContainer>> {
        let own = self.containers_of(uid, name);
        let Some(newest) = own.first() else { return Ok(None) };
        let status = runtime.container_status(&newest.id).await?;
        let mut found = AdoptedContainer {
            name: name.to_owned(),
            restarts: attempt(newest),
            hash: newest.annotations.get(keys::CONTAINER_HASH).cloned().unwrap_or_default(),
            live: None,
            exit: None,
            last: None,
            has: None,
        };
        let in_sandbox = sandbox.is_some_and(|info| info.id == newest.pod_sandbox_id);
        if newest.state() == v1::ContainerState::ContainerRunning && in_sandbox {
            let same =
                reported.filter(|r| r.container_id.as_deref().is_some_and(|id| id.ends_with(&newest.id)));
            found.live = Some(Live {
                id: newest.id.clone(),
                image_id: status.image_ref,
                // What was told stays as it was told: the runtime's own time is a little earlier.
                started_at: same.and_then(told_start).unwrap_or_else(|| {
                    Timestamp::from_nanosecond(i128::from(status.started_at)).unwrap_or(Timestamp::UNIX_EPOCH)
                }),
                hooked: true,
                started: same.is_some_and(|r| r.started == Some(true)),
                ready: same.is_some_and(|r| r.ready),
            });
        } else {
            found.exit = Some(exit_of(&status, String::new()));
        }
        if let Some(older) = own.get(1) {
            found.last = Some(exit_of(&runtime.container_status(&older.id).await?, String::new()));
        }
        Ok(Some(found))
    }

    /// Removes what belongs to none of `known`, and the folders of such pods.
    pub(crate) async fn remove_orphans(&self, ctx: &Context, known: &HashSet<String>) {
        for sandbox in &self.sandboxes {
            let uid = owner(&sandbox.labels);
            if known.contains(uid) {
                continue;
            }
            tracing::info!(sandbox = %sandbox.id, pod_uid = uid, "removing a sandbox whose pod does not exist");
            let removed = async {
                ctx.runtime.stop_sandbox(&sandbox.id).await?;
                ctx.runtime.remove_sandbox(&sandbox.id).await
            };
            if let Err(error) = removed.await {
                tracing::warn!(sandbox = %sandbox.id, %error, "an orphaned sandbox could not be removed");
            }
        }
        let folders = std::fs::read_dir(ctx.config.root.join("pods")).into_iter().flatten().flatten();
        for uid in folders.filter_map(|entry| entry.file_name().into_string().ok()) {
            if !known.contains(&uid)
                && let Err(error) = volumes::tear_down(ctx, &uid)
            {
                tracing::warn!(pod_uid = %uid, %error, "the folder of a pod that does not exist could not be removed");
            }
        }
    }
}

fn attempt(container: &v1::Container) -> u32 {
    container.metadata.as_ref().map_or(0, |metadata| metadata.attempt)
}

fn sandbox_attempt(sandbox: &v1::PodSandbox) -> u32 {
    sandbox.metadata.as_ref().map_or(0, |metadata| metadata.attempt)
}

/// Names of all containers in the spec.
fn names(pod: &Pod) -> Vec<&str> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let lasting = spec.init_containers.iter().flatten().chain(&spec.containers).map(|one| &one.name);
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|one| &one.name);
    lasting.chain(ephemeral).map(String::as_str).collect()
}

fn is_ephemeral(pod: &Pod, name: &str) -> bool {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| spec.ephemeral_containers.iter().flatten()).any(|one| one.name == name)
}

/// How a container ended that has run, as the API has been told, and that the runtime has no more. None where it has not run.
fn ended(reported: &ApiStatus) -> Option<Exit> {
    let id = reported.container_id.as_deref()?;
    let id = id.split_once("://").map_or(id, |(_, id)| id);
    let unknown = gone(id.to_owned());
    let Some(told) = reported.state.as_ref().and_then(|state| state.terminated.as_ref()) else {
        return Some(Exit { image_id: reported.image_id.clone(), ..unknown });
    };
    Some(Exit {
        image_id: reported.image_id.clone(),
        code: told.exit_code,
        reason: told.reason.clone().unwrap_or_default(),
        message: told.message.clone().unwrap_or_default(),
        started_at: told.started_at.as_ref().map(|at| at.0),
        finished_at: told.finished_at.as_ref().map_or(unknown.finished_at, |at| at.0),
        ..unknown
    })
}

fn reported<'a>(pod: &'a Pod, name: &str) -> Option<&'a ApiStatus> {
    let status = pod.status.as_ref()?;
    let lasting = status.init_container_statuses.iter().chain(&status.container_statuses);
    let all = lasting.chain(&status.ephemeral_container_statuses).flatten();
    all.into_iter().find(|status| status.name == name)
}

/// When the API was told that it started.
fn told_start(reported: &ApiStatus) -> Option<Timestamp> {
    let running = reported.state.as_ref()?.running.as_ref()?;
    running.started_at.as_ref().map(|at| at.0)
}

/// A container that only the API remembers: the runtime lost it (a reboot). It starts as a restart.
fn remembered(name: &str, restarts: u32) -> AdoptedContainer {
    AdoptedContainer {
        name: name.to_owned(),
        restarts,
        hash: String::new(),
        live: None,
        exit: None,
        last: None,
        has: None,
    }
}

/// What the containers that run have, and whether the pod's cgroup fits. What cannot be read is taken to be as it was given.
async fn amounts(ctx: &Context, pod: &Pod, adopted: &mut Adopted) {
    let Ok(stored) = Stored::new(pod.clone()) else { return };
    let spec = stored.spec();
    for container in adopted.containers.iter_mut() {
        let (Some(live), Some(asked)) = (&container.live, pod::container(&spec, &container.name)) else {
            continue;
        };
        let asked = || Amounts::new(requirements(asked.resources.as_ref()));
        let given = adopted.given.get(&container.name).cloned().unwrap_or_else(asked);
        let has = container_has(ctx, &stored, &live.id, &given).await;
        container.has = Some(has.unwrap_or_else(|error| {
            tracing::warn!(pod = stored.name, container = container.name, error, "what it has is not known");
            given
        }));
    }
    let mut resources = stored.resources();
    resources.replace(&adopted.given);
    let (wanted, path) = (pod_limits(&resources), pod_cgroup(&ctx.config, stored.qos, &stored.uid));
    adopted.unsettled = ctx.cgroups.read(&path).is_ok_and(|has| !is_as_wanted(&has, &wanted));
}

//! The effect that makes a container run: image, configuration, create, start, postStart.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::jiff::Timestamp;
use keelson_runtime::v1;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Message, Worker};
use crate::container::{ConfigError, Inputs, PodFacts, container_config};
use crate::context::Context;
use crate::machine::{Event, Exit, Role};
use crate::pod::Stored;
use crate::probe::Target;
use crate::sandbox::sandbox_config;
use crate::{hooks, image, unsupported};

/// Exit code and reason of a container that the runtime could create but not start, as upstream shows it.
const START_ERROR: (i32, &str) = (128, "StartError");

struct Job {
    ctx: Arc<Context>,
    stored: Arc<Stored>,
    facts: PodFacts,
    slot: usize,
    name: String,
    role: Role,
    /// The container whose processes it sees, by its id in the runtime: only of an ephemeral one.
    target: Option<Result<String, ConfigError>>,
    restarts: u32,
    sandbox: String,
    sandbox_attempt: u32,
    stopping: CancellationToken,
    outbox: mpsc::Sender<Message>,
}

impl Worker {
    pub(super) fn start_container(&mut self, slot: usize, restarts: u32) {
        let info = self.machine.sandbox_info().cloned().unwrap_or_default();
        let job = Job {
            ctx: Arc::clone(&self.ctx),
            stored: Arc::clone(&self.stored),
            facts: self.facts(),
            slot,
            name: self.machine.shape.containers[slot].name.clone(),
            role: self.role(slot),
            target: self.target(slot),
            restarts,
            sandbox: info.id,
            sandbox_attempt: info.attempt,
            stopping: self.stopping.clone(),
            outbox: self.outbox.clone(),
        };
        self.tasks.spawn(job.run());
    }

    /// The runtime's id of the container that an ephemeral one is to look into, where it names one. Rules: upstream's
    /// `ephemeralContainerStartSpec`.
    fn target(&self, slot: usize) -> Option<Result<String, ConfigError>> {
        let name = self.machine.shape.containers[slot].target.as_deref()?;
        let at = self.machine.shape.containers.iter().position(|container| container.name == name);
        let id = at.and_then(|at| self.machine.slots[at].id());
        Some(
            id.map(str::to_owned)
                .ok_or_else(|| ConfigError::config(format!("unable to find target container {name}"))),
        )
    }

    pub(super) fn remove_container(&mut self, id: String) {
        let ctx = Arc::clone(&self.ctx);
        self.tasks.spawn(async move {
            if let Err(error) = ctx.runtime.remove_container(&id).await {
                tracing::warn!(%id, %error, "an old container could not be removed");
            }
        });
    }
}

impl Job {
    async fn run(mut self) {
        let spec = self.stored.spec();
        let Some(container) = crate::pod::container(&spec, &self.name).map(Cow::into_owned) else { return };
        let container = &container;
        let target = match self.target.take().transpose() {
            Ok(target) => target,
            Err(error) => return self.failed(container, error).await,
        };
        // Once the pod is on its way down, what has not been created is not created any more.
        let prepared = tokio::select! {
            biased;
            () = self.stopping.cancelled() => {
                Err(ConfigError { reason: "ContainerCreating", message: "the pod is being stopped".into() })
            }
            prepared = self.prepare(&spec, container, target) => prepared,
        };
        let (config, image_id) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return self.failed(container, error).await,
        };
        let created = self.create(&spec, config).await;
        let id = match created {
            Ok(id) => id,
            Err(message) => {
                let image = container.image.as_deref().unwrap_or_default();
                // Perhaps the image was removed since it was last seen.
                self.ctx.images.forget(image);
                return self.failed(container, ConfigError { reason: "CreateContainerError", message }).await;
            }
        };
        self.start(container, id, image_id).await;
    }

    async fn tell(&self, event: Event) {
        // The worker is gone only when the pod is.
        let _ = self.outbox.send(Message::Event(event)).await;
    }

    async fn failed(&self, container: &Container, error: ConfigError) {
        // Image errors have told the user already.
        if matches!(error.reason, "CreateContainerConfigError" | "CreateContainerError") {
            let subject = self.stored.reference(Some((&container.name, self.role)));
            self.ctx.recorder.warning(subject, "Failed", format!("Error: {}", error.message));
        }
        let (reason, message) = (error.reason.to_owned(), error.message);
        self.tell(Event::StartFailed { slot: self.slot, reason, message }).await;
    }

    fn sandbox_config(&self, spec: &PodSpec) -> v1::PodSandboxConfig {
        let ctx = &self.ctx;
        sandbox_config(&ctx.config, &self.stored, spec, &ctx.resolver, self.sandbox_attempt)
    }

    /// The container's configuration, and what the API calls its image.
    async fn prepare(
        &self,
        spec: &PodSpec,
        container: &Container,
        target: Option<String>,
    ) -> Result<(v1::ContainerConfig, String), ConfigError> {
        // Of the others it was found out before anything of the pod was started.
        if self.role == Role::Ephemeral
            && let Some(refused) = unsupported::in_container(container)
        {
            return Err(ConfigError::config(refused));
        }
        let need = image::Need {
            ctx: &self.ctx,
            stored: &self.stored,
            spec,
            container,
            role: self.role,
            sandbox: self.sandbox_config(spec),
        };
        let image = need.ensure().await?;
        let input = Inputs {
            ctx: &self.ctx,
            stored: &self.stored,
            spec,
            container,
            facts: &self.facts,
            restarts: self.restarts,
            image: &image,
            target: target.as_deref(),
        };
        Ok((container_config(&input).await?, image::api_id(&image)))
    }

    async fn create(&self, spec: &PodSpec, config: v1::ContainerConfig) -> Result<String, String> {
        let sandbox = self.sandbox_config(spec);
        let created = self.ctx.runtime.create_container(&self.sandbox, config, sandbox).await;
        let id = created.map_err(|error| error.to_string())?;
        // Before the start: its exit must find the way.
        self.ctx.routes.add(&id, &self.outbox);
        self.tell(Event::Created { slot: self.slot, id: id.clone() }).await;
        Ok(id)
    }

    async fn start(&self, container: &Container, id: String, image_id: String) {
        let subject = || self.stored.reference(Some((&container.name, self.role)));
        self.ctx.recorder.normal(subject(), "Created", "Container created".to_owned());
        if let Err(error) = self.ctx.runtime.start_container(&id).await {
            self.ctx.recorder.warning(subject(), "Failed", format!("Error: {error}"));
            let exit = Exit {
                id,
                image_id,
                code: START_ERROR.0,
                reason: START_ERROR.1.to_owned(),
                message: error.to_string(),
                started_at: None,
                finished_at: Timestamp::now(),
            };
            return self.tell(Event::Exited { exit }).await;
        }
        self.ctx.recorder.normal(subject(), "Started", "Container started".to_owned());
        let at = Timestamp::now();
        self.tell(Event::Started { slot: self.slot, id: id.clone(), image_id, at }).await;
        let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else { return };
        let host = self.facts.pod_ips.first().map_or("", String::as_str);
        let target = Target { ctx: &self.ctx, host, id: &id, container };
        let result = hooks::run(&target, hook).await;
        if let Err(why) = &result {
            self.ctx.recorder.warning(
                subject(),
                "FailedPostStartHook",
                format!("PostStartHook failed: {why}"),
            );
        }
        self.tell(Event::Hooked { id, ok: result.is_ok() }).await;
    }
}

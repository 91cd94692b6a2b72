//! Having a container's image: pull policy, pull secrets, who may use what is there, and a short memory of what is
//! present, so that a burst of pods with one image asks the runtime once.

mod credentials;
mod files;
mod keyring;
mod pull;
mod record;
mod reference;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, PodSpec};
use keelson_runtime::{Runtime, v1};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::container::ConfigError;
use crate::context::{Context, PULLS_MAX};
use crate::machine::Role;
use crate::pod::Stored;
use record::{Records, Standing};

/// For how long an image that was seen is believed to be there. Removing an image is rare, and creating
/// a container from a removed one fails with its name.
const SEEN_FOR: Duration = Duration::from_secs(10);
/// Images remembered at most.
const SEEN_MAX: usize = 64;

/// What is remembered, and how many pulls may run.
#[derive(Debug)]
pub(crate) struct Images {
    seen: Mutex<HashMap<String, (Instant, v1::Image)>>,
    records: Mutex<Records>,
    pulls: Semaphore,
}

impl Images {
    /// Reads the records below `root`; those of images that the runtime no longer has are forgotten.
    pub(crate) async fn open(root: &Path, runtime: &dyn Runtime) -> std::io::Result<Self> {
        let mut records = Records::open(root)?;
        match runtime.images().await {
            Ok(images) => records.retain(|id| images.iter().any(|image| image.id == id))?,
            Err(error) => tracing::warn!(%error, "cannot list images; records of removed ones stay"),
        }
        Ok(Self { seen: Mutex::default(), records: Mutex::new(records), pulls: Semaphore::new(PULLS_MAX) })
    }

    fn recall(&self, reference: &str) -> Option<v1::Image> {
        let seen = self.seen.lock();
        seen.get(reference).filter(|(at, _)| at.elapsed() < SEEN_FOR).map(|(_, image)| image.clone())
    }

    fn remember(&self, reference: &str, image: &v1::Image) {
        let mut seen = self.seen.lock();
        if seen.len() >= SEEN_MAX {
            seen.retain(|_, (at, _)| at.elapsed() < SEEN_FOR);
        }
        if seen.len() < SEEN_MAX {
            seen.insert(reference.to_owned(), (Instant::now(), image.clone()));
        }
    }

    /// The image is not there after all.
    pub(crate) fn forget(&self, reference: &str) {
        self.seen.lock().remove(reference);
    }
}

/// When an image is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Always,
    IfNotPresent,
    Never,
}

fn policy(container: &Container) -> Policy {
    match container.image_pull_policy.as_deref() {
        Some("Always") => Policy::Always,
        Some("Never") => Policy::Never,
        _ => Policy::IfNotPresent,
    }
}

/// What the API calls an image that is on the node: where its content was pulled from, else its id.
pub(crate) fn api_id(image: &v1::Image) -> String {
    image.repo_digests.first().unwrap_or(&image.id).clone()
}

/// A container whose image is wanted.
pub(crate) struct Need<'a> {
    /// The kubelet.
    pub ctx: &'a Context,
    /// Its pod.
    pub stored: &'a Stored,
    /// The pod's spec, read once.
    pub spec: &'a PodSpec,
    /// The container.
    pub container: &'a Container,
    /// What the container is in its pod.
    pub role: Role,
    /// For runtimes that place images by sandbox.
    pub sandbox: v1::PodSandboxConfig,
}

impl Need<'_> {
    /// The image, fetched if its policy says so. What happens is told as events, a failure too.
    pub(crate) async fn ensure(&self) -> Result<v1::Image, ConfigError> {
        let outcome = self.find().await;
        if let Err(error) = &outcome {
            self.warn("Failed", format!("Error: {}", error.reason));
        }
        outcome
    }

    fn reference(&self) -> &str {
        self.container.image.as_deref().unwrap_or_default()
    }

    fn tell(&self, reason: &'static str, text: String) {
        let subject = self.stored.reference(Some((&self.container.name, self.role)));
        self.ctx.recorder.normal(subject, reason, text);
    }

    fn warn(&self, reason: &'static str, text: String) {
        let subject = self.stored.reference(Some((&self.container.name, self.role)));
        self.ctx.recorder.warning(subject, reason, text);
    }

    fn refuse(&self, reason: &'static str, event: &'static str, message: String) -> ConfigError {
        self.warn(event, message.clone());
        ConfigError { reason, message }
    }

    async fn find(&self) -> Result<v1::Image, ConfigError> {
        let (reference, policy) = (self.reference(), policy(self.container));
        reference::check(reference).map_err(|why| {
            let text = format!(
                "Failed to apply default image tag \"{reference}\": couldn't parse image name \"{reference}\": {why}"
            );
            self.refuse("InvalidImageName", "InspectFailed", text)
        })?;
        let repository = reference::repository(reference);
        if policy != Policy::Always
            && let Some(image) = self.present().await?
            && self.may_use(&image, &repository).await?
        {
            let text = format!(
                "Container image \"{reference}\" already present on machine and can be accessed by the pod"
            );
            self.tell("Pulled", text);
            return Ok(image);
        }
        if policy == Policy::Never {
            let text = format!("Container image \"{reference}\" is not present with pull policy of Never");
            return Err(self.refuse("ErrImageNeverPull", "ErrImageNeverPull", text));
        }
        self.tell("Pulling", format!("Pulling image \"{reference}\""));
        self.pull(&repository).await.map_err(|error| {
            self.warn("Failed", format!("Failed to pull image \"{reference}\": {error}"));
            ConfigError { reason: "ErrImagePull", message: error }
        })
    }

    async fn present(&self) -> Result<Option<v1::Image>, ConfigError> {
        let (images, reference) = (&self.ctx.images, self.reference());
        if let Some(image) = images.recall(reference) {
            return Ok(Some(image));
        }
        let found = self.ctx.runtime.image(reference).await.map_err(|error| {
            let text = format!("Failed to inspect image \"{reference}\": {error}");
            self.refuse("ImageInspectError", "InspectFailed", text)
        })?;
        if let Some(image) = &found {
            images.remember(reference, image);
        }
        Ok(found)
    }

    /// Whether the pod may use an image that is there. Its secrets are read only where that depends on them.
    async fn may_use(&self, image: &v1::Image, repository: &str) -> Result<bool, ConfigError> {
        if self.ctx.images.records.lock().standing(&image.id, repository) == Standing::Open {
            return Ok(true);
        }
        let credentials = self.credentials(repository).await.map_err(|error| {
            self.warn("Failed", format!("Failed to pull image \"{}\": {error}", self.reference()));
            ConfigError { reason: "ErrImagePull", message: error }
        })?;
        Ok(match self.ctx.images.records.lock().standing(&image.id, repository) {
            Standing::Open => true,
            Standing::Closed(holders) => holders.admit(&credentials),
        })
    }
}

//! Having a container's image: pull policy, pull secrets, and a short memory of what is present, so
//! that a burst of pods with one image asks the runtime once.

mod credentials;
mod reference;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, PodSpec};
use keelson_runtime::v1;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::container::ConfigError;
use crate::context::{Context, PULLS_MAX};
use crate::pod::Stored;

/// For how long an image that was seen is believed to be there. Removing an image is rare, and creating
/// a container from a removed one fails with its name.
const SEEN_FOR: Duration = Duration::from_secs(10);
/// Images remembered at most.
const SEEN_MAX: usize = 64;

/// What is remembered, and how many pulls may run.
#[derive(Debug)]
pub(crate) struct Images {
    seen: Mutex<HashMap<String, (Instant, v1::Image)>>,
    pulls: Semaphore,
}

impl Default for Images {
    fn default() -> Self {
        Self { seen: Mutex::default(), pulls: Semaphore::new(PULLS_MAX) }
    }
}

impl Images {
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

/// The image of `container`, fetched if its policy says so. Reports what happens as events.
pub(crate) async fn ensure(
    ctx: &Context,
    stored: &Stored,
    spec: &PodSpec,
    container: &Container,
    init: bool,
) -> Result<v1::Image, ConfigError> {
    let reference = container.image.as_deref().unwrap_or_default();
    if let Err(why) = reference::check(reference) {
        let message = format!(
            "Failed to apply default image tag \"{reference}\": couldn't parse image reference \"{reference}\": {why}"
        );
        return Err(ConfigError { reason: "InvalidImageName", message });
    }
    let policy = policy(container);
    if policy != Policy::Always
        && let Some(image) = present(ctx, reference).await?
    {
        let text = format!(
            "Container image \"{reference}\" already present on machine and can be accessed by the pod"
        );
        ctx.recorder.normal(stored.reference(Some((&container.name, init))), "Pulled", text);
        return Ok(image);
    }
    if policy == Policy::Never {
        let message = format!("Container image \"{reference}\" is not present with pull policy of Never");
        ctx.recorder.warning(
            stored.reference(Some((&container.name, init))),
            "ErrImageNeverPull",
            message.clone(),
        );
        return Err(ConfigError { reason: "ErrImageNeverPull", message });
    }
    pull(ctx, stored, spec, reference, &container.name, init).await
}

async fn present(ctx: &Context, reference: &str) -> Result<Option<v1::Image>, ConfigError> {
    if let Some(image) = ctx.images.recall(reference) {
        return Ok(Some(image));
    }
    let found = ctx.runtime.image(reference).await.map_err(|e| ConfigError {
        reason: "ImageInspectError",
        message: format!("Failed to inspect image \"{reference}\": {e}"),
    })?;
    if let Some(image) = &found {
        ctx.images.remember(reference, image);
    }
    Ok(found)
}

async fn pull(
    ctx: &Context,
    stored: &Stored,
    spec: &PodSpec,
    reference: &str,
    container: &str,
    init: bool,
) -> Result<v1::Image, ConfigError> {
    let subject = || stored.reference(Some((container, init)));
    ctx.recorder.normal(subject(), "Pulling", format!("Pulling image \"{reference}\""));
    let asked = Instant::now();
    let _permit = ctx.images.pulls.acquire().await;
    let began = Instant::now();
    let failed = |error: String| {
        let text = format!("Failed to pull image \"{reference}\": {error}");
        ctx.recorder.warning(subject(), "Failed", text);
        ctx.recorder.warning(subject(), "Failed", "Error: ErrImagePull".to_owned());
        ConfigError { reason: "ErrImagePull", message: error }
    };
    let mut last = None;
    for auth in credentials::matching(ctx, &stored.namespace, spec, reference).await {
        match ctx.runtime.pull_image(reference, auth, None).await {
            Ok(_) => {
                last = None;
                break;
            }
            Err(error) => last = Some(error.to_string()),
        }
    }
    if let Some(error) = last {
        return Err(failed(error));
    }
    ctx.images.forget(reference);
    let image = present(ctx, reference)
        .await?
        .ok_or_else(|| failed("the image is not there after its pull".into()))?;
    let seconds = |since: Instant| format!("{:.3}s", since.elapsed().as_secs_f64());
    let text = format!(
        "Successfully pulled image \"{reference}\" in {} ({} including waiting). Image size: {} bytes.",
        seconds(began),
        seconds(asked),
        image.size
    );
    ctx.recorder.normal(subject(), "Pulled", text);
    Ok(image)
}

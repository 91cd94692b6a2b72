//! One pull: the pod's credentials in turn, and the record of what came of it.

use std::time::{Duration, Instant};

use keelson_runtime::{Fault, v1};

use super::keyring::Credential;
use super::{Images, Need, credentials, keyring, reference};

impl Need<'_> {
    /// The pod's credentials for a repository, in the order in which they are tried.
    pub(super) async fn credentials(&self, repository: &str) -> Result<Vec<Credential>, String> {
        let all = credentials::read(self.ctx, self.stored, self.spec).await?;
        Ok(keyring::choose(all, repository))
    }

    /// Fetches the image with the pod's credentials in turn, or without any if none fits.
    pub(super) async fn pull(&self, repository: &str) -> Result<v1::Image, String> {
        let images = &self.ctx.images;
        let asked = Instant::now();
        let credentials = self.credentials(repository).await?;
        let _permit = images.pulls.acquire().await.map_err(|closed| closed.to_string())?;
        let began = Instant::now();
        let unrecorded = |error: std::io::Error| format!("the pull cannot be recorded: {error}");
        let present = self.present().await.map_err(|error| error.message)?.map(|image| image.id);
        images.records.lock().begin(repository, present.as_deref()).map_err(unrecorded)?;
        let mut intent = Intent { images, repository, open: true };
        let by = match self.try_each(&credentials).await {
            Ok(by) => by,
            Err(refusal) if refusal.is_certain => {
                intent.open = false;
                images.records.lock().failed(repository).map_err(unrecorded)?;
                return Err(refusal.message);
            }
            Err(refusal) => return Err(refusal.message),
        };
        images.forget(self.reference());
        let image = self.present().await.map_err(|error| error.message)?;
        let image = image.ok_or("the image is not there after its pull")?;
        intent.open = false;
        let names = image.repo_tags.iter().chain(&image.repo_digests);
        let known_as: Vec<String> = names.map(|name| reference::repository(name)).collect();
        images.records.lock().succeeded(repository, &image.id, &known_as, by).map_err(unrecorded)?;
        let text = format!(
            "Successfully pulled image \"{}\" in {} ({} including waiting). Image size: {} bytes.",
            self.reference(),
            shown(began.elapsed()),
            shown(asked.elapsed()),
            image.size
        );
        self.tell("Pulled", text);
        Ok(image)
    }

    /// The credential that the registry took. Otherwise what it said, each answer once.
    async fn try_each<'c>(&self, credentials: &'c [Credential]) -> Result<Option<&'c Credential>, Refusal> {
        let attempts = credentials.iter().map(Some).chain(credentials.is_empty().then_some(None));
        let (mut errors, mut is_certain) = (Vec::<String>::new(), true);
        for credential in attempts {
            // Without the registry's address: they have been chosen for it, and runtimes compare it as a URL.
            let auth = credential.map(|credential| v1::AuthConfig {
                username: credential.username.clone(),
                password: credential.password.clone(),
                ..v1::AuthConfig::default()
            });
            match self.ctx.runtime.pull_image(self.reference(), auth, Some(self.sandbox.clone())).await {
                Ok(_) => return Ok(credential),
                Err(error) => {
                    is_certain &= !matches!(error.fault, Fault::Timeout | Fault::Unavailable);
                    errors.push(error.to_string());
                }
            }
        }
        errors.dedup();
        let message = match &errors[..] {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        Err(Refusal { message, is_certain })
    }
}

/// Why no credential brought the image.
struct Refusal {
    message: String,
    /// The runtime has said so, rather than not answered.
    is_certain: bool,
}

/// A pull under way. One whose end is not known when this goes, as that of a pod that is deleted meanwhile, counts as
/// given up.
struct Intent<'a> {
    images: &'a Images,
    repository: &'a str,
    open: bool,
}

impl Drop for Intent<'_> {
    fn drop(&mut self) {
        if self.open {
            self.images.records.lock().given_up(self.repository);
        }
    }
}

/// Whole milliseconds, as Go prints a duration: `393ms`, `8.658s`, `1m2.5s`.
fn shown(time: Duration) -> String {
    let (minutes, seconds) = (time.as_secs() / 60, time.as_secs() % 60);
    let fraction = format!("{seconds}.{:03}", time.subsec_millis());
    let seconds = fraction.trim_end_matches('0').trim_end_matches('.');
    match (minutes, time.as_millis()) {
        (0, 0) => "0s".to_owned(),
        (0, millis @ ..1000) => format!("{millis}ms"),
        (0, _) => format!("{seconds}s"),
        (minutes, _) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_shown_as_users_know_them() {
        for (millis, text) in [
            (0, "0s"),
            (393, "393ms"),
            (1000, "1s"),
            (8658, "8.658s"),
            (10_020, "10.02s"),
            (62_500, "1m2.5s"),
        ] {
            assert_eq!(shown(Duration::from_millis(millis)), text);
        }
    }
}

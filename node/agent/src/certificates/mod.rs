//! The node's own certificates, each asked for anew before it ends, with a new key and the names that it has: that by which
//! the daemon is known to the API server, and that of the kubelet's API.
//!
//! ```text
//!  in use ──▶ due? ──▶ CertificateSigningRequest ──▶ signed ──▶ fits? ──▶ on disk ──▶ read again by whoever uses it
//!    ▲                        │ refused, denied, no answer: told once                 (`client`, `api::tls`)
//!    └── goes on ◀────────────┘ and tried again, ever later
//! ```
//! What another authority or another's name is on is its owner's to renew: nothing is asked for that no signer would sign.

mod ask;
mod held;
mod place;
mod request;
#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use ask::Signer;
use held::Held;
use place::Place;
use request::Request;

/// Between two looks at what is due, if nothing is sooner: a clock may jump, and files may be replaced.
const LOOK_AFTER_MAX: Duration = Duration::from_secs(60);
const LOOK_AFTER_MIN: Duration = Duration::from_secs(1);
/// After a failure, and after the tenth.
const RETRY_MIN: Duration = Duration::from_secs(10);
const RETRY_MAX: Duration = Duration::from_secs(600);
/// Who signs for nodes signs for this group alone.
const NODES: &str = "system:nodes";

/// One of the node's certificates.
pub(crate) struct Kept {
    /// For the log.
    what: &'static str,
    signer: Signer,
    place: Place,
    node: String,
}

impl Kept {
    /// The client certificate of a kubeconfig; none where it knows the node otherwise (by a token, say).
    pub(crate) fn client(kubeconfig: &Path, node: &str) -> anyhow::Result<Option<Self>> {
        let kept =
            |place| Self { what: "client certificate", signer: ask::CLIENT, place, node: node.to_owned() };
        let kept = Place::of_client(kubeconfig)?.map(kept);
        if let Some(kept) = &kept {
            kept.place.recover()?;
        }
        Ok(kept)
    }

    /// The certificate of the kubelet's API.
    pub(crate) fn serving(cert: &Path, key: &Path, node: &str) -> anyhow::Result<Self> {
        let place = Place::Files { cert: cert.to_owned(), key: key.to_owned() };
        place.recover()?;
        Ok(Self { what: "serving certificate", signer: ask::SERVING, place, node: node.to_owned() })
    }

    /// Renews it whenever it is due, until `shutdown`.
    pub(crate) async fn keep(self, client: kube::Client, shutdown: CancellationToken) {
        let mut retry = RETRY_MIN;
        let mut told = String::new();
        loop {
            let look = tokio::select! {
                () = shutdown.cancelled() => return,
                look = self.look(&client, OffsetDateTime::now_utc) => look,
            };
            let pause = match look {
                Ok(due) => {
                    told.clear();
                    retry = RETRY_MIN;
                    let left = Duration::try_from(due - OffsetDateTime::now_utc()).unwrap_or_default();
                    left.clamp(LOOK_AFTER_MIN, LOOK_AFTER_MAX)
                }
                Err(error) => {
                    let text = format!("{error:#}");
                    if told != text {
                        tracing::warn!(error = text, "the {} is not renewed; the old one goes on", self.what);
                        told = text;
                    }
                    let pause = retry;
                    retry = (retry * 2).min(RETRY_MAX);
                    pause
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Renews it if it is due by `clock`. Answers when it is due next.
    async fn look(
        &self,
        client: &kube::Client,
        clock: impl Fn() -> OffsetDateTime,
    ) -> anyhow::Result<OffsetDateTime> {
        let held = Held::read(&self.place.read()?)?;
        if clock() < held.due {
            return Ok(held.due);
        }
        let user = format!("system:node:{}", self.node);
        ensure!(
            held.common_name == user && held.organizations == [NODES],
            "it ends on {} and is {} of {:?}, not {user} of {NODES}: replace it yourself",
            held.not_after,
            held.common_name,
            held.organizations
        );
        let request = Request::like(&held)?;
        let answer = ask::ask(client, self.signer, &request.pem).await;
        let pem = answer.with_context(|| format!("it ends on {}", held.not_after))?;
        let pair = request.answered(&pem, &held, clock());
        let pair = pair.with_context(|| format!("{} signed what cannot be used", self.signer.name))?;
        let place = self.place.clone();
        tokio::task::spawn_blocking(move || place.write(&pair)).await??;
        let new = Held::read(&pem)?;
        tracing::info!(until = %new.not_after, "the {} was renewed", self.what);
        Ok(new.due)
    }
}

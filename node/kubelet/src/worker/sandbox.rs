//! Effects on the sandbox: create, remove after its death, release at the end.

use std::sync::Arc;
use std::time::Duration;

use keelson_runtime::keys;

use super::{Message, Worker};
use crate::container::resources::{pod_cgroup, pod_limits};
use crate::context::Context;
use crate::machine::{Event, SandboxInfo};
use crate::pod::Stored;
use crate::runtime_class;
use crate::sandbox::{check_bandwidth, sandbox_config};

/// Pause between two tries of a step that must succeed in the end.
pub(super) const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

impl Worker {
    pub(super) fn run_sandbox(&mut self, attempt: u32) {
        let (ctx, stored, outbox) = (Arc::clone(&self.ctx), Arc::clone(&self.stored), self.outbox.clone());
        self.tasks.spawn(async move {
            let event = match create(&ctx, &stored, attempt).await {
                Ok(info) => {
                    ctx.routes.add(&info.id, &outbox);
                    Event::SandboxReady(info)
                }
                Err(why) => {
                    let text = format!("Failed to create pod sandbox: {why}");
                    ctx.recorder.warning(stored.reference(None), "FailedCreatePodSandBox", text);
                    Event::SandboxFailed
                }
            };
            let _ = outbox.send(Message::Event(event)).await;
        });
    }

    pub(super) fn remove_sandbox(&mut self, id: String) {
        let (ctx, stored, outbox) = (Arc::clone(&self.ctx), Arc::clone(&self.stored), self.outbox.clone());
        let text = "Pod sandbox changed, it will be killed and re-created.".to_owned();
        self.ctx.recorder.normal(self.stored.reference(None), "SandboxChanged", text);
        self.tasks.spawn(async move {
            ctx.routes.remove(&id);
            until_done(&stored, "remove sandbox", || async {
                // Stopping first releases the network; removing alone would do it only sometimes.
                ctx.runtime.stop_sandbox(&id).await?;
                ctx.runtime.remove_sandbox(&id).await
            })
            .await;
            let _ = outbox.send(Message::Event(Event::SandboxReleased)).await;
        });
    }

    /// Stops every sandbox of the pod, those of failed attempts too.
    pub(super) fn release_sandbox(&mut self) {
        let (ctx, stored, outbox) = (Arc::clone(&self.ctx), Arc::clone(&self.stored), self.outbox.clone());
        self.tasks.spawn(async move {
            until_done(&stored, "stop sandbox", || async {
                for id in sandboxes_of(&ctx, &stored.uid).await? {
                    ctx.routes.remove(&id);
                    ctx.runtime.stop_sandbox(&id).await?;
                }
                Ok::<_, keelson_runtime::RuntimeError>(())
            })
            .await;
            let _ = outbox.send(Message::Event(Event::SandboxReleased)).await;
        });
    }
}

async fn create(ctx: &Context, stored: &Stored, attempt: u32) -> Result<SandboxInfo, String> {
    let pod = stored.pod();
    let spec = pod.spec.unwrap_or_default();
    if spec.host_network != Some(true) {
        check_bandwidth(&pod.metadata.annotations.unwrap_or_default())?;
    }
    let handler = runtime_class::handler(&ctx.client, &spec).await?;
    let cgroup = pod_cgroup(&ctx.config, stored.qos, &stored.uid);
    ctx.cgroups
        .create(&cgroup, &pod_limits(&stored.resources()))
        .map_err(|e| format!("cannot create cgroup {cgroup}: {e}"))?;
    let logs = ctx.config.log_dir(&stored.namespace, &stored.name, &stored.uid);
    std::fs::create_dir_all(&logs).map_err(|e| format!("cannot create {}: {e}", logs.display()))?;
    let config = sandbox_config(&ctx.config, stored, &spec, &ctx.resolver, attempt);
    let _permit = ctx.sandbox_starts.acquire().await.map_err(|e| e.to_string())?;
    let id = ctx.runtime.run_sandbox(config, &handler).await.map_err(|e| e.to_string())?;
    let mut ips = Vec::new();
    if spec.host_network != Some(true) {
        let status = ctx.runtime.sandbox_status(&id).await.map_err(|e| e.to_string())?;
        let network = status.network.unwrap_or_default();
        let all = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
        ips = primary_first(all.filter(|ip| !ip.is_empty()), &ctx.config.node_ips);
    }
    Ok(SandboxInfo { id, ips, attempt })
}

/// Ids of all sandboxes of a pod.
pub(super) async fn sandboxes_of(ctx: &Context, uid: &str) -> keelson_runtime::Result<Vec<String>> {
    let all = ctx.runtime.sandboxes().await?;
    let own = all.into_iter().filter(|s| s.labels.get(keys::POD_UID).is_some_and(|owner| owner == uid));
    Ok(own.map(|sandbox| sandbox.id).collect())
}

/// Tries again, ever more slowly, until it works.
pub(super) async fn until_done<F, E>(stored: &Stored, what: &str, mut attempt: impl FnMut() -> F)
where
    F: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let mut pause = RETRY.0;
    while let Err(error) = attempt().await {
        tracing::warn!(pod = %stored.name, namespace = %stored.namespace, %error, retry_in = ?pause, "cannot {what}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

/// A pod's addresses as the API shows them: one of each family, that of the node's primary address first
/// (<https://kubernetes.io/docs/concepts/services-networking/dual-stack/>); the runtime has an order of its own.
fn primary_first(ips: impl Iterator<Item = String>, node_ips: &[String]) -> Vec<String> {
    let is_v6 = |ip: &str| ip.contains(':');
    let mut found: Vec<String> = Vec::new();
    for ip in ips {
        if !found.iter().any(|other| is_v6(other) == is_v6(&ip)) {
            found.push(ip);
        }
    }
    let primary = node_ips.first().is_some_and(|ip| is_v6(ip));
    found.sort_by_key(|ip| is_v6(ip) != primary);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_of_the_nodes_primary_address_comes_first() {
        let rows: [(&[&str], &[&str], &[&str]); 5] = [
            (&["10.244.1.2", "fd00::2"], &["192.0.2.1", "2001:db8::1"], &["10.244.1.2", "fd00::2"]),
            (&["10.244.1.2", "fd00::2"], &["2001:db8::1", "192.0.2.1"], &["fd00::2", "10.244.1.2"]),
            (&["fd00::2"], &["192.0.2.1"], &["fd00::2"]),
            (&["10.244.1.2", "10.244.1.3", "fd00::2", "fd00::3"], &["192.0.2.1"], &["10.244.1.2", "fd00::2"]),
            (&[], &["192.0.2.1"], &[]),
        ];
        for (ips, node, expected) in rows {
            let owned = |list: &[&str]| list.iter().map(|ip| ip.to_string()).collect::<Vec<_>>();
            assert_eq!(primary_first(owned(ips).into_iter(), &owned(node)), owned(expected));
        }
    }
}

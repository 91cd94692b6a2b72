//! `keelson wait`: returns once the cluster's nodes are Ready, told by a watch, not by asking again and again.

use anyhow::{Context, bail};
use clap::Args;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, Config, ResourceExt,
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{WatchStreamExt, watcher},
};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};

/// The options of `wait`.
#[derive(Args)]
pub(crate) struct WaitArgs {
    /// How to reach the API server.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// How many nodes have to be Ready.
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// How long to wait (e.g. 60s).
    #[arg(long, default_value = "60s", value_parser = crate::serve::duration)]
    timeout: Duration,
}

/// Runs `wait`.
pub(crate) fn run(args: &WaitArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut ready = BTreeSet::new();
        match tokio::time::timeout(args.timeout, nodes_ready(args, &mut ready)).await {
            Ok(result) => result,
            Err(_) => {
                bail!("{} of {} nodes are Ready after {:?}: {ready:?}", ready.len(), args.nodes, args.timeout)
            }
        }
    })
}

async fn nodes_ready(args: &WaitArgs, ready: &mut BTreeSet<String>) -> anyhow::Result<()> {
    let kubeconfig = Kubeconfig::read_from(&args.kubeconfig).context("cannot read the kubeconfig")?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let nodes = Api::<Node>::all(Client::try_from(config)?);
    let mut events = watcher(nodes, watcher::Config::default()).default_backoff().applied_objects().boxed();
    while ready.len() < args.nodes {
        // A watch that fails is tried again; the time-out bounds that.
        match events.try_next().await {
            Ok(Some(node)) if is_ready(&node) => drop(ready.insert(node.name_any())),
            Ok(Some(node)) => drop(ready.remove(&node.name_any())),
            Ok(None) => bail!("the watch of nodes ended"),
            Err(error) => tracing::debug!(%error, "watching nodes"),
        }
    }
    Ok(())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

//! The pods' network: what the host needs for it, the plugin's server, the watch of Nodes, and whether all of it is ready.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use keelson_cni::nodes::{self, Own, Told};
use keelson_cni::ranges::PodRanges;
use keelson_cni::routes::Underlay;
use keelson_cni::server::{Config, Endpoints, Server};
use keelson_kubelet::NetworkState;
use keelson_runtime::Runtime;
use keelson_sys::net::{Netlink, Network, TUNNEL_LINK};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::RunArgs;
use crate::host;

/// A sandbox whose network was set up is one within this, or never.
const SANDBOX_MADE_WITHIN: Duration = Duration::from_secs(60);

/// How long the API server may take to tell of the nodes before this one is called not ready.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// Starts it. Pods can have addresses once the answer says so: the node's ranges may be yet to come.
pub(crate) async fn start(
    args: &RunArgs,
    client: &kube::Client,
    runtime: Arc<dyn Runtime>,
    endpoints: Arc<dyn Endpoints>,
    departures: bool,
    shutdown: &CancellationToken,
) -> anyhow::Result<watch::Receiver<NetworkState>> {
    let network: Arc<dyn Network> = Arc::new(Netlink::open()?);
    host::link_loopback(&args.cni_bin_dir)?;
    host::set_sysctls(&args.root, &args.node_ip)?;
    host::add_dns_addresses(network.as_ref(), &args.cluster_dns).await?;
    let underlay = Underlay { addresses: args.node_ip.clone(), mtu: args.mtu, mode: args.tunnel.into() };
    // Until the other nodes are known, as an earlier daemon had it.
    let tunnelled = network.tunnel(TUNNEL_LINK).await?.is_some();
    let (tell_mtu, mtu) = watch::channel(underlay.pod_mtu(tunnelled));
    let own = Own { name: args.name.clone(), given: args.pod_cidr.clone(), underlay };
    let (tell_ranges, ranges) = watch::channel(own.at_start());
    let config = Config {
        root: args.root.clone(),
        socket: args.run_dir.as_ref().unwrap_or(&args.root).join("cni.sock"),
        conf_dir: args.cni_conf_dir.clone(),
        mtu,
        departures,
    };
    // The maps follow the API within the rest that an address has; nothing holds it longer.
    let (to_server, named) = (Arc::clone(&endpoints), Arc::new(|_| false));
    let server = Server::open(config, Arc::clone(&network), to_server, ranges.clone(), named)?;
    let sandboxes = sandboxes(runtime.as_ref()).await?;
    let unmade = server.adopt(&sandboxes).await.context("comparing addresses with sandboxes")?;
    if !unmade.is_empty() {
        tokio::spawn(release_unmade(Arc::clone(&server), runtime, unmade));
    }
    tokio::spawn(serve(server, shutdown.clone()));
    let told = Told { ranges: tell_ranges, mtu: tell_mtu };
    let unheard = own.at_start();
    tokio::spawn(nodes::run(client.clone(), own, network, endpoints, told, shutdown.clone()));
    if matches!(unheard, PodRanges::Unknown { .. }) {
        let mut ranges = ranges.clone();
        // Else a node that comes back would be called not ready for a moment, and its pods with it.
        let heard = ranges.wait_for(|now| *now != unheard);
        let _ = tokio::time::timeout(HEARD_WITHIN, heard).await;
    }
    Ok(states(ranges))
}

async fn sandboxes(runtime: &dyn Runtime) -> anyhow::Result<BTreeSet<String>> {
    Ok(runtime.sandboxes().await?.into_iter().map(|sandbox| sandbox.id).collect())
}

/// Sandboxes that were in the making when the daemon started, and that the runtime does not have after all.
async fn release_unmade(server: Arc<Server>, runtime: Arc<dyn Runtime>, mut unmade: Vec<String>) {
    loop {
        tokio::time::sleep(SANDBOX_MADE_WITHIN).await;
        let released = async {
            let made = sandboxes(runtime.as_ref()).await?;
            unmade.retain(|sandbox| !made.contains(sandbox));
            anyhow::Ok(server.release(&unmade).await?)
        };
        match released.await {
            Ok(()) => return,
            Err(error) => tracing::warn!(error = &*error, "cannot release addresses; it is tried again"),
        }
    }
}

async fn serve(server: Arc<Server>, shutdown: CancellationToken) {
    if let Err(error) = server.serve(shutdown).await {
        // Without it no pod can start or end: better to be started again than to limp.
        tracing::error!(error = &error as &dyn std::error::Error, "the CNI server ended");
        std::process::exit(1);
    }
}

/// What the kubelet is told, for as long as the ranges are followed.
fn states(mut ranges: watch::Receiver<PodRanges>) -> watch::Receiver<NetworkState> {
    let state = |ranges: &PodRanges| match ranges {
        PodRanges::Known(_) => NetworkState::Ready,
        PodRanges::Unknown { reason, message } => NetworkState::NotReady { reason, message: message.clone() },
    };
    let (tell, states) = watch::channel(state(&ranges.borrow_and_update()));
    tokio::spawn(async move {
        while ranges.changed().await.is_ok() {
            tell.send_replace(state(&ranges.borrow_and_update()));
        }
    });
    states
}

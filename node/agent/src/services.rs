//! `keelson-node --services-only`: the Service data plane alone, in kube-proxy's place, on a node whose kubelet and network are
//! another's. Asks for the rights of the cluster role `system:node-proxier` and no others.
//!
//! Sockets of the node and its pods are translated; with `--uplink`, so are packets from outside of the cluster. The pods'
//! network is another's, which the node's stack knows: packets to pods of this node go that way, those to pods of others by the uplink or
//! by that network's own device ([`overlay`]).

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::{Router, extract::State, http::StatusCode, routing::get};
use clap::Args;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use keelson_dataplane::PacketOptions;
use keelson_sys::cgroups::Hierarchies;
use kube::Api;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::client::client;
use crate::config::{ProxyArgs, port_range};
use crate::observe::{Observer, prometheus::Exporter};
use crate::{overlay, run};

/// Between two looks whether the node has been registered.
const NODE_PAUSE: Duration = Duration::from_secs(1);

/// Settings of the data plane alone.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  keelson-node --services-only --kubeconfig /var/lib/kube-proxy/kubeconfig.conf\n  keelson-node --services-only --name \"$NODE_NAME\" --uplink eth0        in a pod, with its service account\n  keelson-node --services-only --cleanup\nRemove kube-proxy and its rules (`kube-proxy --cleanup`) first, or they translate what is left to them."
)]
pub(crate) struct ServicesArgs {
    /// Name of the Node object [default: the host's name]
    #[arg(long, env = "NODE_NAME")]
    name: Option<String>,
    /// Address and credentials of the API server [default: those of the pod that this runs in]
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Addresses of the node, the primary one first [default: the Node object's InternalIPs]
    #[arg(long, value_delimiter = ',')]
    node_ip: Vec<IpAddr>,
    /// Addresses of the node's pods [default: the Node object's podCIDRs]
    #[arg(long, value_delimiter = ',')]
    pod_cidr: Vec<IpNet>,
    /// cgroup v2 folder whose processes' connections to Services are translated [default: all of the host's]
    #[arg(long)]
    cgroup_root: Option<PathBuf>,
    /// Device by which clients outside of the cluster, and pods of other nodes, are reached; without it, node ports, external
    /// and load balancer addresses are not answered to them
    #[arg(long)]
    uplink: Option<String>,
    /// Ports of Services on nodes, as the API server hands them out
    #[arg(long, default_value = "30000-32767", value_parser = port_range)]
    service_node_port_range: RangeInclusive<u16>,
    /// Where /metrics, /readyz and what is measured (/keelson/) are served, unencrypted; `none` for nowhere
    #[arg(long, default_value = "127.0.0.1:10249")]
    metrics_bind_address: String,
    /// Do not measure connections
    #[arg(long)]
    without_metrics: bool,
    /// Detach everything that an earlier run left on this node, and end
    #[arg(long)]
    cleanup: bool,
    #[command(flatten)]
    proxy: ProxyArgs,
}

/// Runs until told to stop; the kernel's state stays.
pub(crate) async fn run(args: ServicesArgs) -> anyhow::Result<()> {
    let name = args.name.clone().map_or_else(host_name, Ok)?;
    if args.cleanup {
        return keelson_dataplane::remove_all(&args.proxy.bpffs, &name).context("detaching the data plane");
    }
    let shutdown = CancellationToken::new();
    let client = match &args.kubeconfig {
        Some(path) => client(path, "kube-proxy").await?,
        None => {
            let config = kube::Config::incluster()
                .context("no --kubeconfig, and not in a pod with a service account")?;
            kube::Client::try_from(config)?
        }
    };
    let node = Registered::of(&client, &args, &name).await?;
    let config = keelson_dataplane::Config {
        node_name: name.clone(),
        node_ips: node.addresses.clone(),
        pod_cidrs: node.pod_cidrs,
        port_addresses: args.proxy.nodeport_addresses.clone(),
        healthz: Some(args.proxy.healthz(&node.addresses)),
        cgroup_root: args.cgroup_root.clone().map_or_else(whole_host, Ok)?,
        bpffs: args.proxy.bpffs.clone(),
        object: args.proxy.object(),
        packets: args.packets(&node.addresses),
        measure: !args.without_metrics,
        talk: args.proxy.talk(),
        host_ports: false,
        policies: false,
    };
    let handle =
        keelson_dataplane::run(client, config, shutdown.clone()).await.context("starting the data plane")?;
    if let Some(uplink) = args.uplink.clone() {
        overlay::follow(handle.clone(), uplink, node.addresses).await?;
    }
    if let Some(address) = metrics_address(&args.metrics_bind_address)? {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listening on {address} (--metrics-bind-address)"))?;
        let routes = routes(Observer::new(&name, handle.clone()), handle.clone());
        tokio::spawn(axum::serve(listener, routes).into_future());
    }
    tokio::spawn(async move {
        handle.ready().await;
        tracing::info!(node = %name, "Services are in the kernel");
    });
    run::asked_to_stop().await;
    tracing::info!("stopping; Services go on");
    shutdown.cancel();
    Ok(())
}

impl ServicesArgs {
    /// What the per-packet programs are told, if there is something for them to do.
    fn packets(&self, node_addresses: &[IpAddr]) -> Option<PacketOptions> {
        let uplink = self.uplink.clone()?;
        Some(PacketOptions {
            object: self.proxy.object(),
            uplink: Some(uplink),
            node_addresses: node_addresses.to_vec(),
            foreign_pods: true,
            talk: self.proxy.talk(),
            node_ports: self.service_node_port_range.clone(),
            wire: None,
            ..PacketOptions::default()
        })
    }
}

/// What the data plane has to know of its node.
#[derive(Debug, Default, PartialEq)]
struct Registered {
    addresses: Vec<IpAddr>,
    pod_cidrs: Vec<IpNet>,
}

impl Registered {
    /// Waits until the node has an address, unless all is given.
    async fn of(client: &kube::Client, args: &ServicesArgs, name: &str) -> anyhow::Result<Self> {
        let nodes: Api<Node> = Api::all(client.clone());
        let mut told = false;
        while args.node_ip.is_empty() || args.pod_cidr.is_empty() {
            let found = nodes.get_opt(name).await.with_context(|| format!("reading Node {name}"))?;
            let found = found.map(|node| Self::read(&node)).unwrap_or_default();
            let given =
                |own: &[IpAddr]| if args.node_ip.is_empty() { own.to_vec() } else { args.node_ip.clone() };
            let addresses = given(&found.addresses);
            if !addresses.is_empty() {
                let pod_cidrs =
                    if args.pod_cidr.is_empty() { found.pod_cidrs } else { args.pod_cidr.clone() };
                return Ok(Self { addresses, pod_cidrs });
            }
            if !std::mem::replace(&mut told, true) {
                tracing::info!(node = %name, "waiting until it is registered with an address (or give --node-ip)");
            }
            tokio::time::sleep(NODE_PAUSE).await;
        }
        Ok(Self { addresses: args.node_ip.clone(), pod_cidrs: args.pod_cidr.clone() })
    }

    fn read(node: &Node) -> Self {
        let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        let internal = addresses.filter(|address| address.type_ == "InternalIP");
        let ranges = node.spec.iter().flat_map(|spec| spec.pod_cidrs.iter().flatten());
        Self {
            addresses: internal.filter_map(|address| address.address.parse().ok()).collect(),
            pod_cidrs: ranges.filter_map(|range| range.parse().ok()).collect(),
        }
    }
}

/// As kubelet and kube-proxy name a node that nobody names.
fn host_name() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").context("reading the host's name")?;
    Ok(name.trim().to_lowercase())
}

fn whole_host() -> anyhow::Result<PathBuf> {
    let hierarchies = Hierarchies::read().context("finding out the host's cgroups")?;
    hierarchies.unified.context("cgroup v2 is not mounted, and --cgroup-root is not given")
}

fn metrics_address(text: &str) -> anyhow::Result<Option<SocketAddr>> {
    match text {
        "none" => Ok(None),
        text => match text.parse() {
            Ok(address) => Ok(Some(address)),
            Err(_) => bail!("--metrics-bind-address {text} is not ADDRESS:PORT"),
        },
    }
}

fn routes(observer: Observer, handle: keelson_dataplane::Handle) -> Router {
    let ready = async |State(handle): State<keelson_dataplane::Handle>| match handle.status().await {
        Ok(status) if status.ready => (StatusCode::OK, "ok"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "not in the kernel yet"),
    };
    let exporter = Arc::new(Exporter::default());
    let source = observer.clone();
    let metrics = async move || {
        let failed = |error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{:#}", anyhow::Error::new(error)));
        let (services, status) =
            (source.services().await.map_err(failed)?, source.status().await.map_err(failed)?);
        Ok::<_, (StatusCode, String)>(exporter.render(&services, &status))
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/readyz", get(ready))
        .with_state(handle)
        .nest("/keelson", crate::observe::router(Some(observer)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_known_by_its_internal_addresses() {
        let node = serde_json::from_value(json!({
            "spec": { "podCIDRs": ["10.244.1.0/24", "fd00:1::/64"] },
            "status": { "addresses": [
                { "type": "Hostname", "address": "one" },
                { "type": "InternalIP", "address": "192.0.2.1" },
                { "type": "ExternalIP", "address": "203.0.113.1" },
                { "type": "InternalIP", "address": "2001:db8::1" },
            ] },
        }))
        .unwrap();
        let expected = Registered {
            addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            pod_cidrs: vec!["10.244.1.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()],
        };
        assert_eq!(Registered::read(&node), expected);
        assert_eq!(Registered::read(&Node::default()), Registered::default());
    }
}

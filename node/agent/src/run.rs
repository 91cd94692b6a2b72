//! Wiring of the node daemon: who is started in which order, and what happens when it is told to stop.
//!
//! Stopping stops nothing but this process: pods run on, programs stay attached, the network stays
//! configured. The next daemon adopts all of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use keelson_cni::server::{EndpointError, Endpoints, NoEndpoints, PodEnd};
use keelson_dataplane::{PodEndpoint, TunnelDevice};
use keelson_kubelet::{Drain, NoDrain, Parts};
use keelson_runtime::{CriRuntime, Runtime};
use keelson_sys::cgroups::Hierarchies;
use keelson_sys::mounts::KernelMounts;
use keelson_sys::net::{Departures, TUNNEL_LINK, keep_departures};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::certificates::Kept;
use crate::client::client;
use crate::config::RunArgs;
use crate::observe::Observer;
use crate::{api, network, observe};

/// Runtime events that wait for the kubelet at most; the stream waits when it is full.
const RUNTIME_EVENTS_MAX: usize = 256;
/// How often the runtime is asked whether it is there, before the daemon goes on.
const RUNTIME_PAUSE: Duration = Duration::from_millis(50);
/// Time for streams to end when the daemon is told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Returns when the process gets SIGTERM or SIGINT.
pub(crate) async fn asked_to_stop() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("cannot listen for signals; only SIGKILL ends this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// The data plane's knowledge of endpoints, for the kubelet.
struct DataplaneDrain(keelson_dataplane::Handle);

#[async_trait::async_trait]
impl Drain for DataplaneDrain {
    async fn endpoint_terminating(&self, pod_uid: &str) {
        self.0.endpoint_terminating(pod_uid).await;
    }
}

/// The data plane's programs at pods' links, for the network.
struct DataplaneEndpoints(keelson_dataplane::Handle);

/// One for each address.
fn endpoints(pod: &PodEnd) -> impl Iterator<Item = PodEndpoint> {
    let of = |address: &IpAddr| PodEndpoint {
        address: *address,
        link: pod.link.clone(),
        mac: pod.mac,
        host_mac: pod.host_mac,
        shaped: pod.shaped,
        pod: (pod.namespace.as_str().into(), pod.name.as_str().into()),
        uid: pod.uid.as_str().into(),
    };
    pod.addresses.iter().map(of)
}

#[async_trait::async_trait]
impl Endpoints for DataplaneEndpoints {
    async fn add(&self, pod: PodEnd) -> Result<(), EndpointError> {
        if pod.paced_bytes_per_s != 0 {
            self.0.pace(pod.link.clone(), pod.paced_bytes_per_s).await?;
        }
        for endpoint in endpoints(&pod) {
            self.0.add_endpoint(endpoint).await?;
        }
        self.0.policed(&pod.namespace, &pod.name, &pod.uid).await;
        let of = (&*pod.namespace, &*pod.name, &*pod.uid);
        Ok(self.0.settle_socket_lb(of, &pod.link, &pod.netns).await?)
    }

    async fn remove(&self, pod: PodEnd) -> Result<(), EndpointError> {
        for endpoint in endpoints(&pod) {
            self.0.remove_endpoint(endpoint).await?;
        }
        Ok(())
    }

    async fn replace(&self, pods: Vec<PodEnd>) -> Result<(), EndpointError> {
        Ok(self.0.replace_endpoints(pods.iter().flat_map(endpoints).collect()).await?)
    }

    async fn tunnel(&self, addresses: Option<Vec<IpAddr>>) -> Result<(), EndpointError> {
        let device = |addresses| TunnelDevice { name: TUNNEL_LINK.to_owned(), addresses };
        Ok(self.0.set_tunnels(addresses.map(device).into_iter().collect()).await?)
    }
}

/// Runs the daemon until it is told to stop.
pub(crate) async fn run(args: RunArgs) -> anyhow::Result<()> {
    args.check()?;
    std::fs::create_dir_all(&args.root).with_context(|| format!("creating {}", args.root.display()))?;
    let shutdown = CancellationToken::new();
    let client_certificate = Kept::client(&args.kubeconfig, &args.name)?;
    let serving_certificate = Kept::serving(&args.tls_cert, &args.tls_key, &args.name)?;
    let client = client(&args.kubeconfig, "kubelet").await?;
    match client_certificate {
        Some(kept) => drop(tokio::spawn(kept.keep(client.clone(), shutdown.clone()))),
        None => tracing::info!("the kubeconfig has no client certificate: there is none to renew"),
    }
    let socket = args.runtime_socket()?;
    let runtime: Arc<dyn Runtime> = Arc::new(CriRuntime::new(&socket));
    wait_for_runtime(runtime.as_ref()).await;

    let dataplane = start_dataplane(&args, &client, &shutdown).await?;
    let departures = departures(&args).await?;
    let bounds = match &departures {
        Departures::Kept => "times of departure, fq at the uplink".to_owned(),
        Departures::Ignored(why) => format!("queues in the pods: {why}"),
    };
    tracing::info!(%bounds, "bounds of what pods send");
    let observer = dataplane.clone().map(|handle| Observer::new(&args.name, handle).with_bounds(bounds));
    if let Some(observer) = observer.clone() {
        let socket = args.run_dir.as_ref().unwrap_or(&args.root).join(keelson_observer::SOCKET);
        observe::serve(observer, socket, shutdown.clone())?;
    }
    let mut network = None;
    if args.has("cni") {
        let endpoints: Arc<dyn Endpoints> = match &dataplane {
            Some(handle) => Arc::new(DataplaneEndpoints(handle.clone())),
            None => Arc::new(NoEndpoints),
        };
        let kept = departures == Departures::Kept;
        let started = network::start(&args, &client, Arc::clone(&runtime), endpoints, kept, &shutdown);
        network = Some(started.await?);
    }
    let drain: Arc<dyn Drain> = match dataplane {
        Some(handle) => Arc::new(DataplaneDrain(handle)),
        None => Arc::new(NoDrain),
    };
    let (events_in, events) = mpsc::channel(RUNTIME_EVENTS_MAX);
    tokio::spawn(keelson_runtime::follow(socket, events_in));
    let api_client = client.clone();
    let parts = Parts {
        client,
        runtime,
        events,
        drain,
        network,
        mounts: Arc::new(KernelMounts),
        cgroups: Arc::new(Hierarchies::read().context("finding out the host's cgroups")?),
    };
    let kubelet = keelson_kubelet::start(args.kubelet()?, parts).await?;
    let server = api::start(&args, api_client.clone(), kubelet, observer, shutdown.clone()).await?;
    // Its renewal is approved by what the API shows.
    tokio::spawn(serving_certificate.keep(api_client, shutdown.clone()));
    asked_to_stop().await;
    tracing::info!("stopping; pods and Services go on");
    shutdown.cancel();
    let _ = tokio::time::timeout(DRAIN_MAX, server).await;
    Ok(())
}

/// Whether times of departure are kept: who would set them has to run, too.
async fn departures(args: &RunArgs) -> anyhow::Result<Departures> {
    for part in ["fq", "dataplane", "packets"] {
        if !args.has(part) {
            return Ok(Departures::Ignored(format!("--without {part}")));
        }
    }
    match &args.uplink {
        Some(uplink) => keep_departures(uplink).await.context("asking for fq at the uplink"),
        None => Ok(Departures::Ignored("no --uplink".into())),
    }
}

async fn wait_for_runtime(runtime: &dyn Runtime) {
    let mut told = false;
    while let Err(error) = runtime.version().await {
        if !std::mem::replace(&mut told, true) {
            tracing::info!(%error, "waiting for the container runtime");
        }
        tokio::time::sleep(RUNTIME_PAUSE).await;
    }
}

async fn start_dataplane(
    args: &RunArgs,
    client: &kube::Client,
    shutdown: &CancellationToken,
) -> anyhow::Result<Option<keelson_dataplane::Handle>> {
    if !args.has("dataplane") {
        return Ok(None);
    }
    let object = args.proxy.object();
    let config = keelson_dataplane::Config {
        node_name: args.name.clone(),
        node_ips: args.node_ip.clone(),
        pod_cidrs: args.pod_cidr.clone(),
        port_addresses: args.proxy.nodeport_addresses.clone(),
        healthz: Some(args.proxy.healthz(&args.node_ip)),
        cgroup_root: args.cgroup_root.clone(),
        bpffs: args.proxy.bpffs.clone(),
        packets: args.packets(&object),
        object,
        measure: args.has("metrics"),
        talk: args.proxy.talk(),
        host_ports: args.has("cni"),
        policies: args.has("cni"),
    };
    let handle = keelson_dataplane::run(client.clone(), config, shutdown.clone())
        .await
        .context("starting the data plane")?;
    Ok(Some(handle))
}

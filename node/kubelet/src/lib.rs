//! The pod machine, probes, volumes and status of a node.
//!
//! `machine` decides (pure), `worker` carries out, `pods` follows the API, `node` keeps the Node object.
//! Speaks the Kubernetes API through `kube::Client` and the runtime through [`keelson_runtime::Runtime`];
//! owns neither pod networking (the CNI plugin's) nor Services (the data plane's).
#![forbid(unsafe_code)]

mod adopt;
mod allocation;
pub mod config;
mod container;
mod context;
mod hooks;
mod image;
pub mod logs;
pub mod machine;
mod node;
mod patch;
mod pod;
mod pods;
mod probe;
mod recorder;
mod runtime_class;
mod sandbox;
mod services;
mod tls;
mod unsupported;
mod volumes;
mod worker;

use std::path::Path;
use std::sync::Arc;

use keelson_runtime::{Runtime, RuntimeEvent};
use keelson_sys::cgroups::Cgroups;
use keelson_sys::mounts::Mounts;
use kube::Client;
use tokio::sync::{Semaphore, mpsc, watch};

pub use config::Config;
pub use context::{Drain, NetworkState, NoDrain};
pub use pod::Stored;
pub use pods::Pods;

/// What a kubelet works with beside its settings.
pub struct Parts {
    /// The API, as this node.
    pub client: Client,
    /// Containers.
    pub runtime: Arc<dyn Runtime>,
    /// The runtime's events; see [`keelson_runtime::follow`].
    pub events: mpsc::Receiver<RuntimeEvent>,
    /// When pods stop getting connections.
    pub drain: Arc<dyn Drain>,
    /// The pods' network; None where others give it to pods, who also write the condition NetworkUnavailable.
    pub network: Option<watch::Receiver<NetworkState>>,
    /// Mounts.
    pub mounts: Arc<dyn Mounts>,
    /// The host's cgroups.
    pub cgroups: Arc<dyn Cgroups>,
}

/// A kubelet that runs.
#[derive(Clone)]
pub struct Kubelet {
    /// Its settings.
    pub config: Config,
    /// The pods on the node.
    pub pods: Pods,
    /// Containers.
    pub runtime: Arc<dyn Runtime>,
}

/// Why a kubelet does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder or fact of the host.
    #[error("{what}: {source}")]
    Host {
        /// What we were doing.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// TLS of probes.
    #[error("cannot set up TLS for probes: {0}")]
    Tls(#[from] rustls::Error),
    /// The runtime.
    #[error("cannot read what the container runtime holds: {0}")]
    Runtime(#[from] keelson_runtime::RuntimeError),
}

/// Starts a kubelet: reads what the runtime holds, then follows API and runtime in tasks of its own, which
/// end with the tokio runtime. Pods keep running when it ends and are adopted by the next one.
pub async fn start(config: Config, parts: Parts) -> Result<Kubelet, StartError> {
    let host = |what: &str| {
        let what = what.to_owned();
        move |source| StartError::Host { what, source }
    };
    std::fs::create_dir_all(&config.root).map_err(host("cannot create the root folder"))?;
    let capacity = node::capacity(&config.root).map_err(host("cannot read the node's size"))?;
    let resolver = sandbox::HostResolver::read(Path::new("/etc/resolv.conf"))
        .map_err(host("cannot read /etc/resolv.conf"))?;
    let images = image::Images::open(&config.root, parts.runtime.as_ref())
        .await
        .map_err(host("cannot read the records of pulled images"))?;
    let found = adopt::Found::read(parts.runtime.as_ref()).await?;
    let ctx = Arc::new(context::Context {
        recorder: recorder::Recorder::start(parts.client.clone(), config.node_name.clone()),
        services: services::Services::start(parts.client.clone()),
        client: parts.client,
        runtime: Arc::clone(&parts.runtime),
        drain: parts.drain,
        network: parts.network,
        mounts: parts.mounts,
        cgroups: parts.cgroups,
        allocations: allocation::Allocations::new(node::left_for_pods(capacity)),
        capacity,
        images,
        tokens: volumes::Tokens::default(),
        probe_tls: tls::probe_config()?,
        resolver,
        sandbox_starts: Semaphore::new(context::SANDBOX_STARTS_MAX),
        routes: context::Routes::default(),
        config: config.clone(),
    });
    let pods = Pods::default();
    tokio::spawn(node::run(Arc::clone(&ctx)));
    tokio::spawn(logs::rotate(config.clone(), Arc::clone(&parts.runtime)));
    let (following, events) = (pods.clone(), parts.events);
    tokio::spawn(async move {
        // Without Services a container would miss its environment variables.
        ctx.services.wait_synced().await;
        following.run(ctx, found, events).await;
    });
    Ok(Kubelet { config, pods, runtime: parts.runtime })
}

//! What all workers of a kubelet share: settings, the ways to the API and the runtime, and limits.

use std::collections::HashMap;
use std::sync::Arc;

use keelson_runtime::Runtime;
use keelson_semantics::Quantity;
use keelson_semantics::quantity::Format;
use keelson_sys::cgroups::Cgroups;
use keelson_sys::mounts::Mounts;
use kube::Client;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::allocation::Allocations;
use crate::config::Config;
use crate::image::Images;
use crate::recorder::Recorder;
use crate::sandbox::HostResolver;
use crate::services::Services;
use crate::volumes::Tokens;
use crate::worker::Message;

/// Sandboxes that are created at a time. Each is a shim, a CNI call and a runc on the node's CPUs; more
/// at once only makes all of them slower (measured with containerd 1.6 on 2 cores).
pub(crate) const SANDBOX_STARTS_MAX: usize = 8;
/// Image pulls at a time.
pub(crate) const PULLS_MAX: usize = 4;

/// Tells when a pod no longer gets new connections. The data plane implements it.
#[async_trait::async_trait]
pub trait Drain: Send + Sync + 'static {
    /// Returns once this node has seen the pod terminating in its EndpointSlices, or that it is in none.
    /// The caller bounds the wait.
    async fn endpoint_terminating(&self, pod_uid: &str);
}

/// Whether pods can have a network, as whoever gives it to them says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkState {
    /// They can.
    Ready,
    /// They cannot.
    NotReady {
        /// One word, for the condition NetworkUnavailable.
        reason: &'static str,
        /// For people.
        message: String,
    },
}

/// For a node without data plane: nothing to wait for.
#[derive(Clone, Copy, Debug)]
pub struct NoDrain;

#[async_trait::async_trait]
impl Drain for NoDrain {
    async fn endpoint_terminating(&self, _pod_uid: &str) {}
}

/// What the node can give to pods.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Capacity {
    /// CPUs in thousandths.
    pub cpu_milli: i64,
    /// Memory of the machine in bytes.
    pub memory_bytes: i64,
    /// Bytes of the file system below the root folder.
    pub storage_bytes: i64,
}

impl Capacity {
    /// One resource, by its name in a ResourceList.
    pub(crate) fn get(&self, resource: &str) -> Option<Quantity> {
        match resource {
            "cpu" => Some(Quantity::from_milli(self.cpu_milli)),
            "memory" => Some(Quantity::from_units(self.memory_bytes, Format::BinarySi)),
            "ephemeral-storage" => Some(Quantity::from_units(self.storage_bytes, Format::DecimalSi)),
            _ => None,
        }
    }
}

/// Shared by all workers.
pub(crate) struct Context {
    /// Settings.
    pub config: Config,
    /// The API, as this node.
    pub client: Client,
    /// Containers.
    pub runtime: Arc<dyn Runtime>,
    /// Events for users.
    pub recorder: Recorder,
    /// Services, for environment variables.
    pub services: Services,
    /// When pods stop getting connections.
    pub drain: Arc<dyn Drain>,
    /// The pods' network; None where others give it to pods, who also say how it is.
    pub network: Option<watch::Receiver<NetworkState>>,
    /// Mounts.
    pub mounts: Arc<dyn Mounts>,
    /// The host's cgroups.
    pub cgroups: Arc<dyn Cgroups>,
    /// The node's size.
    pub capacity: Capacity,
    /// What of it pods have been given.
    pub allocations: Allocations,
    /// Images that were lately seen, and who may use those that were pulled.
    pub images: Images,
    /// ServiceAccount tokens that are still fresh.
    pub(crate) tokens: Tokens,
    /// TLS of probes.
    pub(crate) probe_tls: Arc<rustls::ClientConfig>,
    /// The host's resolver.
    pub resolver: HostResolver,
    /// Permits for creating sandboxes.
    pub sandbox_starts: Semaphore,
    /// Who is told about which container or sandbox.
    pub routes: Routes,
}

/// From a container's or sandbox's id to the worker of its pod.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    workers: Mutex<HashMap<String, mpsc::Sender<Message>>>,
}

impl Routes {
    /// Events about `id` go to `worker` from now on.
    pub(crate) fn add(&self, id: &str, worker: &mpsc::Sender<Message>) {
        self.workers.lock().insert(id.to_owned(), worker.clone());
    }

    /// Nobody is told about `id` any more.
    pub(crate) fn remove(&self, id: &str) {
        self.workers.lock().remove(id);
    }

    /// Whom to tell about `id`.
    pub(crate) fn get(&self, id: &str) -> Option<mpsc::Sender<Message>> {
        self.workers.lock().get(id).cloned()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Settings as a test cluster has them.
    pub(crate) fn config() -> Config {
        Config {
            node_name: "node-1".into(),
            root: "/var/lib/keelson-test".into(),
            node_ips: vec!["192.0.2.10".into()],
            pod_cidrs: vec!["10.244.0.0/24".into()],
            cgroup_parent: "/keelson/node-1".into(),
            cluster_dns: vec!["10.96.0.10".into()],
            cluster_domain: "cluster.local".into(),
            api_port: 10250,
            pods_max: 110,
        }
    }
}

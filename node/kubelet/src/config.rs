//! What a kubelet is told at its start, and the paths that follow from it.

use std::path::PathBuf;

/// The settings of a kubelet.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the Node object.
    pub node_name: String,
    /// Everything the kubelet keeps on disk is below it.
    pub root: PathBuf,
    /// The node's addresses, the primary one first.
    pub node_ips: Vec<String>,
    /// Ranges of the node's pod addresses, for `spec.podCIDRs`; none where the control plane gives them.
    pub pod_cidrs: Vec<String>,
    /// Parent of the `kubepods` cgroup, absolute in every hierarchy.
    pub cgroup_parent: String,
    /// Name servers of pods with `dnsPolicy: ClusterFirst`.
    pub cluster_dns: Vec<String>,
    /// Domain below which Services have their names.
    pub cluster_domain: String,
    /// Port of the kubelet's HTTPS API, for `status.daemonEndpoints`.
    pub api_port: u16,
    /// Most pods on the node.
    pub pods_max: u32,
}

/// Version that the node reports: the API level that it implements, and whose it is.
pub const VERSION: &str = concat!("v1.36.0+keelson.", env!("CARGO_PKG_VERSION"));

impl Config {
    /// Folder of one pod.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }

    /// Folder of one volume. Plugin names have their slash escaped as upstream does.
    pub fn volume_dir(&self, uid: &str, plugin: &str, volume: &str) -> PathBuf {
        self.pod_dir(uid).join("volumes").join(plugin).join(volume)
    }

    /// The pod's /etc/hosts.
    pub fn hosts_file(&self, uid: &str) -> PathBuf {
        self.pod_dir(uid).join("etc-hosts")
    }

    /// File that receives the termination message of one run of a container.
    pub fn termination_file(&self, uid: &str, container: &str, restarts: u32) -> PathBuf {
        self.pod_dir(uid).join("containers").join(container).join(format!("termination-{restarts}"))
    }

    /// Folder of the pod's container logs: `<namespace>_<name>_<uid>`, as log collectors expect.
    pub fn log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.root.join("logs").join("pods").join(format!("{namespace}_{name}_{uid}"))
    }

    /// Log of one run of a container, relative to [`Config::log_dir`].
    pub fn log_path(container: &str, restarts: u32) -> String {
        format!("{container}/{restarts}.log")
    }
}

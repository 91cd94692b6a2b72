//! A node of the local cluster: its containerd, its daemon, its DNS.

use super::{
    Spec, cgroup,
    control_plane::{kubeconfig_for, node_certificate},
    daemon::Daemon,
    spec::{CLUSTER_DOMAIN, Place, joined},
};
use anyhow::{Context, Result};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

pub(crate) const BPFFS: &str = "/sys/fs/bpf";

/// Everything a node daemon needs before it starts.
pub(crate) fn prepare(spec: &Spec, bin: &Path, place: &Place) -> Result<()> {
    fs::create_dir_all(place.root())?;
    let kubeconfig = kubeconfig(place);
    if !kubeconfig.exists() {
        kubeconfig_for(spec, bin, &format!("system:node:{}", place.name), Some("system:nodes"), &kubeconfig)?;
    }
    node_certificate(spec, bin, place)?;
    let plugin = place.run().join("cni/bin/keelson-cni");
    // Under another name first: a plugin that is being run cannot be overwritten.
    let fresh = plugin.with_extension("new");
    fs::copy(bin.join("keelson-cni"), &fresh).with_context(|| format!("installing {}", plugin.display()))?;
    fs::rename(fresh, &plugin)?;
    // containerd asks a plugin of this name for each pod's `lo`; ours stands for it.
    let loopback = plugin.with_file_name("loopback");
    if loopback.exists() {
        fs::remove_file(&loopback)?;
    }
    fs::hard_link(&plugin, &loopback).with_context(|| format!("installing {}", loopback.display()))
}

fn kubeconfig(place: &Place) -> PathBuf {
    place.root().join("kubeconfig")
}

/// The node daemon.
pub(crate) fn daemon(spec: &Spec, bin: &Path, place: &Place) -> Result<Daemon> {
    let mut args = vec![OsString::from("run")];
    let mut flag = |name: &str, value: &dyn AsRef<std::ffi::OsStr>| {
        args.push(format!("--{name}").into());
        args.push(value.as_ref().to_os_string());
    };
    flag("name", &place.name);
    flag("kubeconfig", &kubeconfig(place));
    flag("root", &place.root());
    flag("run-dir", &place.run());
    flag("runtime-endpoint", &format!("unix://{}", place.containerd_socket().display()));
    flag("cgroup-root", &attach_point(spec, place)?);
    flag("cgroup-parent", &format!("/keelson/{}", place.name));
    flag("bpffs", &BPFFS);
    flag("node-ip", &joined(&spec.node_addresses(place.number)?));
    flag("service-cidr", &spec.service_cidr());
    flag("cluster-dns", &spec.cluster_dns());
    flag("cluster-domain", &CLUSTER_DOMAIN);
    flag("cni-bin-dir", &place.run().join("cni/bin"));
    flag("cni-conf-dir", &place.run().join("cni/conf"));
    flag("tls-cert", &place.root().join("pki/kubelet.crt"));
    flag("tls-key", &place.root().join("pki/kubelet.key"));
    flag("client-ca", &super::control_plane::data().join("pki/ca.crt"));
    // Alone on a machine a node touches the machine's own device only when told to.
    let uplink = if spec.is_split() { Some("eth0") } else { spec.uplink.as_deref() };
    if let Some(uplink) = uplink {
        flag("uplink", &uplink);
        flag("cluster-cidr", &spec.cluster_cidr());
        flag("translation", &spec.translation.flag());
    }
    if spec.is_split() {
        flag("non-masquerade-cidr", &spec.nodes_cidr(place.number));
        flag("tunnel", &spec.tunnel.flag());
    }
    flag("ebpf-object", &crate::paths::root().join("target/ebpf/sock.o"));
    if spec.load_balancer_pool().is_some() {
        args.push("--announce".into());
    }
    Ok(Daemon {
        name: format!("{}-node", place.name),
        cgroup: format!("{}/daemons", place.name),
        netns: place.netns.clone(),
        program: bin.join("keelson-node"),
        args,
        env: vec![],
    })
}

/// Node-local DNS: a process of its own, so that it outlives the daemon.
pub(crate) fn dns(spec: &Spec, bin: &Path, place: &Place) -> Daemon {
    let args = ["dns", "--listen", spec.cluster_dns(), "--cluster-domain", CLUSTER_DOMAIN, "--kubeconfig"];
    Daemon {
        name: format!("{}-dns", place.name),
        cgroup: format!("{}/daemons", place.name),
        netns: place.netns.clone(),
        program: bin.join("keelson-node"),
        args: args.map(OsString::from).into_iter().chain([kubeconfig(place).into()]).collect(),
        env: vec![],
    }
}

/// Where the node's socket programs are attached: alone on a machine at the root, so that the host's own processes count.
fn attach_point(spec: &Spec, place: &Place) -> Result<PathBuf> {
    if spec.is_split() { cgroup::ensure(&place.name) } else { cgroup::v2_root() }
}

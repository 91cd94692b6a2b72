//! The control plane of the local cluster: `keelson init`, an etcd if asked for, `keelson serve` in one process or three.

use super::{
    Spec, Store,
    daemon::{self, Daemon, within},
    network,
    spec::{API_PORT, CLUSTER_DOMAIN, Place, joined},
};
use crate::{
    paths,
    shell::{cmd, output},
};
use anyhow::{Context, Result};
use std::{
    ffi::OsString,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

/// Above the ports of an etcd that the machine may run itself.
const ETCD_PORT: u16 = 23790;
const ETCD_PEER_PORT: u16 = 23800;

/// Where the API server keeps its keys and its data.
pub(crate) fn data() -> PathBuf {
    paths::cluster().join("control-plane")
}

/// Keys, certificates and kubeconfigs; made once.
pub(crate) fn init(spec: &Spec, bin: &Path) -> Result<()> {
    let mut advertise = spec.advertise_addresses()?;
    advertise.push(spec.api_address().into());
    let service_cidr = spec.service_cidr();
    let mut keelson = cmd(
        bin.join("keelson"),
        ["init", "--service-cidr", &service_cidr, "--cluster-domain", CLUSTER_DOMAIN],
    );
    keelson.arg("--data").arg(data()).arg("--advertise").arg(joined(&advertise));
    output(&mut keelson)?;
    let kubeconfig = kubeconfig_file();
    if !kubeconfig.exists() {
        kubeconfig_for(spec, bin, "kubernetes-admin", Some("system:masters"), &kubeconfig)?;
    }
    Ok(())
}

/// The administrator's kubeconfig, which `up` names at its end.
pub(crate) fn kubeconfig_file() -> PathBuf {
    paths::cluster().join("kubeconfig")
}

/// Writes a kubeconfig with a fresh client certificate.
pub(crate) fn kubeconfig_for(
    spec: &Spec,
    bin: &Path,
    user: &str,
    group: Option<&str>,
    file: &Path,
) -> Result<()> {
    let mut keelson = cmd(bin.join("keelson"), ["kubeconfig", "--user", user, "--server", &spec.api_url()]);
    keelson.arg("--data").arg(data()).arg("--out").arg(file);
    if let Some(group) = group {
        keelson.args(["--group", group]);
    }
    output(&mut keelson).map(drop)
}

/// A kubelet's serving certificate, signed by the cluster's CA.
pub(crate) fn node_certificate(spec: &Spec, bin: &Path, place: &Place) -> Result<()> {
    let folder = place.root().join("pki");
    if folder.join("kubelet.crt").exists() {
        return Ok(());
    }
    fs::create_dir_all(&folder)?;
    let mut keelson = cmd(bin.join("keelson"), ["node-serving", "--node", &place.name]);
    keelson.arg("--data").arg(data()).arg("--out").arg(&folder);
    keelson.arg("--ip").arg(joined(&spec.node_addresses(place.number)?));
    output(&mut keelson).map(drop)
}

/// etcd, if the cluster is to run on one.
pub(crate) fn etcd(spec: &Spec) -> Option<Daemon> {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let word = OsString::from;
    (spec.store == Store::Etcd).then(|| Daemon {
        name: "etcd".into(),
        cgroup: "control-plane".into(),
        netns: network::control_plane_netns(spec),
        program: "etcd".into(),
        args: vec![
            word("--data-dir"),
            paths::cluster().join("etcd").into(),
            word("--listen-client-urls"),
            url(ETCD_PORT).into(),
            word("--advertise-client-urls"),
            url(ETCD_PORT).into(),
            word("--listen-peer-urls"),
            url(ETCD_PEER_PORT).into(),
            word("--initial-advertise-peer-urls"),
            url(ETCD_PEER_PORT).into(),
            word("--initial-cluster"),
            format!("default={}", url(ETCD_PEER_PORT)).into(),
        ],
        env: vec![],
    })
}

/// The API server, and unless the cluster is to have them apart, controllers and scheduler in its process.
pub(crate) fn keelson(spec: &Spec, bin: &Path) -> Result<Daemon> {
    let advertise = spec.advertise_addresses()?;
    let mut bind: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into(), spec.api_address().into()];
    bind.extend(&advertise);
    bind.sort_unstable();
    bind.dedup();
    let bind: Vec<String> = bind.iter().map(|ip| SocketAddr::new(*ip, API_PORT).to_string()).collect();
    let primary = advertise.first().context("a cluster has an IP family")?.to_string();
    let mut args: Vec<OsString> =
        ["serve", "--bind", &bind.join(","), "--advertise", &primary].map(Into::into).to_vec();
    args.extend(["--data".into(), data().into()]);
    args.extend(ranges(spec));
    match spec.store {
        Store::Embedded => args.extend(["--store", "embedded"].map(OsString::from)),
        Store::Etcd => {
            let url = format!("http://127.0.0.1:{ETCD_PORT}");
            args.extend(["--store", "etcd", "--etcd", &url].map(OsString::from));
        }
    }
    if spec.separate {
        args.extend(["--components", "apiserver"].map(OsString::from));
    }
    args.extend(controller_flags(spec));
    if let Some(seconds) = spec.toleration_s {
        args.extend(["--not-ready-toleration".into(), seconds.to_string().into()]);
    }
    Ok(Daemon {
        name: "keelson".into(),
        cgroup: "control-plane".into(),
        netns: network::control_plane_netns(spec),
        program: bin.join("keelson"),
        args,
        env: vec![],
    })
}

/// What the controllers are told.
fn controller_flags(spec: &Spec) -> Vec<OsString> {
    let grace = |seconds| ["--node-monitor-grace".into(), format!("{seconds}s").into()];
    let grace = spec.node_grace_s.map(grace).into_iter().flatten();
    // On the wire of several nodes they answer for these.
    let pool = |ranges: String| ["--load-balancer-pool".into(), ranges.into()];
    grace.chain(spec.load_balancer_pool().map(pool).into_iter().flatten()).collect()
}

/// What Services and pods have addresses of: the API server is to know the one, the controllers both.
fn ranges(spec: &Spec) -> [OsString; 4] {
    let (services, pods) = (spec.service_cidr(), spec.cluster_cidr());
    ["--service-cidr".into(), services.into(), "--cluster-cidr".into(), pods.into()]
}

/// A component that may run apart from the API server.
struct Apart {
    component: &'static str,
    /// Upstream's name, to which the default roles are bound.
    user: &'static str,
}

const APART: [Apart; 2] = [
    Apart { component: "controllers", user: "system:kube-controller-manager" },
    Apart { component: "scheduler", user: "system:kube-scheduler" },
];

/// Controllers and scheduler as processes of their own, if the cluster is to have them so: each reaches the API server over
/// TLS, as the user of its own certificate.
pub(crate) fn apart(spec: &Spec, bin: &Path) -> Result<Vec<Daemon>> {
    if !spec.separate {
        return Ok(vec![]);
    }
    APART.iter().map(|apart| apart.daemon(spec, bin)).collect()
}

impl Apart {
    fn daemon(&self, spec: &Spec, bin: &Path) -> Result<Daemon> {
        let kubeconfig = paths::cluster().join(format!("{}.kubeconfig", self.component));
        if !kubeconfig.exists() {
            kubeconfig_for(spec, bin, self.user, None, &kubeconfig)?;
        }
        let mut args: Vec<OsString> = ["serve", "--components", self.component].map(Into::into).to_vec();
        // Of the data folder it reads the cluster's CA alone.
        args.extend(["--kubeconfig".into(), kubeconfig.into(), "--data".into(), data().into()]);
        args.extend(ranges(spec));
        args.extend(controller_flags(spec));
        Ok(Daemon {
            name: format!("keelson-{}", self.component),
            cgroup: "control-plane".into(),
            netns: network::control_plane_netns(spec),
            program: bin.join("keelson"),
            args,
            env: vec![],
        })
    }
}

/// Waits until a socket listens on etcd's port, as its namespace's /proc/net/tcp tells.
pub(crate) fn wait_etcd(spec: &Spec, etcd: &Daemon) -> Result<()> {
    let cgroup = super::cgroup::ensure("control-plane")?;
    // State 0A is LISTEN (include/net/tcp_states.h).
    let listening = format!(":{ETCD_PORT:04X} 00000000:0000 0A");
    etcd.wait(Duration::from_secs(20), || {
        let mut probe = within(&cgroup, network::control_plane_netns(spec).as_deref());
        output(probe.args(["cat", "/proc/self/net/tcp"])).is_ok_and(|sockets| sockets.contains(&listening))
    })
}

/// Waits until the API server takes connections.
pub(crate) fn wait(spec: &Spec, keelson: &Daemon) -> Result<()> {
    let address = SocketAddr::from((spec.api_address(), API_PORT));
    keelson.wait(Duration::from_secs(30), || {
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
    })
}

/// Waits until every node is Ready, by a watch on the API; fails early when a node daemon ends meanwhile.
pub(crate) fn wait_nodes(spec: &Spec, bin: &Path) -> Result<()> {
    let mut keelson =
        cmd(bin.join("keelson"), ["wait", "--timeout", "60s", "--nodes", &spec.nodes.to_string()]);
    let mut child =
        keelson.arg("--kubeconfig").arg(kubeconfig_file()).spawn().context("starting `keelson wait`")?;
    let mut daemons: Vec<String> = spec.node_names().map(|name| format!("{name}-node")).collect();
    if spec.separate {
        daemons.extend(APART.iter().map(|apart| format!("keelson-{}", apart.component)));
    }
    loop {
        if let Some(status) = child.try_wait()? {
            anyhow::ensure!(
                status.success(),
                "not every node is Ready; the daemons said:\n{}",
                logs(&daemons)
            );
            return Ok(());
        }
        for name in &daemons {
            if daemon::pid(name)?.is_none() {
                child.kill()?;
                anyhow::bail!("{name} ended while starting:\n{}", daemon::log_end(name));
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn logs(daemons: &[String]) -> String {
    daemons.iter().map(|name| daemon::log_end(name)).collect::<Vec<_>>().join("\n")
}

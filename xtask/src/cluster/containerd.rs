//! A containerd of the node's own: its root, state, socket and CNI folders, never the host's.

use super::{daemon::Daemon, spec::Place};
use crate::{
    images, paths,
    shell::{cmd, output},
};
use anyhow::{Context, Result};
use std::{fs, os::unix::net::UnixStream, path::Path, time::Duration};

/// The daemon's description; its configuration is written by [`configure`].
pub(crate) fn daemon(place: &Place) -> Daemon {
    Daemon {
        name: format!("{}-containerd", place.name),
        cgroup: format!("{}/daemons", place.name),
        netns: place.netns.clone(),
        program: "containerd".into(),
        args: vec!["--config".into(), place.run().join("containerd.toml").into()],
        env: vec![],
    }
}

/// Folders with a `<host[:port]>/hosts.toml` a registry, which containerd reads at every pull: mirrors, certificates, plain
/// HTTP (<https://github.com/containerd/containerd/blob/main/docs/hosts.md>). Before this one, the machine's, the cluster's
/// own is looked through: /run/keelson/certs.d, which goes with the cluster.
const MACHINE_REGISTRIES: &str = "/etc/containerd/certs.d";

/// A handler for RuntimeClasses beside the usual `runc`: the same program under another name.
const SECOND_HANDLER: &str = "runc-too";

/// Writes the configuration (containerd's own format, version 2).
pub(crate) fn configure(place: &Place) -> Result<()> {
    let run = place.run();
    fs::create_dir_all(&run)?;
    let text = format!(
        "version = 2\n\
         root = \"{root}\"\n\
         state = \"{state}\"\n\
         disabled_plugins = [\"io.containerd.snapshotter.v1.aufs\", \"io.containerd.snapshotter.v1.btrfs\", \
         \"io.containerd.snapshotter.v1.devmapper\", \"io.containerd.snapshotter.v1.zfs\", \"io.containerd.tracing.processor.v1.otlp\", \
         \"io.containerd.internal.v1.tracing\"]\n\
         [grpc]\n  address = \"{socket}\"\n\
         [ttrpc]\n  address = \"{socket}.ttrpc\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\n\
         \x20 sandbox_image = \"{pause}\"\n\
         \x20 restrict_oom_score_adj = true\n\
         \x20 netns_mounts_under_state_dir = true\n\
         \x20 [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n\
         \x20   runtime_type = \"io.containerd.runc.v2\"\n\
         \x20 [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.{SECOND_HANDLER}]\n\
         \x20   runtime_type = \"io.containerd.runc.v2\"\n\
         \x20 [plugins.\"io.containerd.grpc.v1.cri\".cni]\n\
         \x20   bin_dir = \"{cni_bin}\"\n\
         \x20   conf_dir = \"{cni_conf}\"\n\
         \x20 [plugins.\"io.containerd.grpc.v1.cri\".registry]\n\
         \x20   config_path = \"{registries}\"\n",
        root = place.root().join("containerd").display(),
        state = run.join("containerd").display(),
        socket = place.containerd_socket().display(),
        pause = images::PAUSE,
        cni_bin = run.join("cni/bin").display(),
        cni_conf = run.join("cni/conf").display(),
        registries = format_args!("{}/certs.d:{MACHINE_REGISTRIES}", paths::RUN),
    );
    for folder in ["cni/bin", "cni/conf"] {
        fs::create_dir_all(run.join(folder))?;
    }
    fs::write(run.join("containerd.toml"), text).context("writing containerd's configuration")
}

/// Waits for the socket, then brings in the images that are not there.
pub(crate) fn wait_and_import(place: &Place, daemon: &Daemon, archives: &[std::path::PathBuf]) -> Result<()> {
    let socket = place.containerd_socket();
    daemon.wait(Duration::from_secs(20), || UnixStream::connect(&socket).is_ok())?;
    let marker = place.root().join("images.imported");
    for archive in archives {
        if imported(&marker, archive)? {
            continue;
        }
        output(ctr(&socket).args(["images", "import"]).arg(archive))
            .with_context(|| format!("importing {}", archive.display()))?;
        remember(&marker, archive)?;
    }
    Ok(())
}

fn ctr(socket: &Path) -> std::process::Command {
    let mut command = cmd("ctr", ["--namespace", "k8s.io", "--address"]);
    command.arg(socket);
    command
}

/// An archive as of its last change.
fn line(archive: &Path) -> Result<String> {
    let modified = archive.metadata()?.modified()?.duration_since(std::time::UNIX_EPOCH)?;
    Ok(format!("{} {}\n", archive.display(), modified.as_nanos()))
}

fn imported(marker: &Path, archive: &Path) -> Result<bool> {
    let line = line(archive)?;
    Ok(fs::read_to_string(marker).is_ok_and(|text| text.contains(&line)))
}

fn remember(marker: &Path, archive: &Path) -> Result<()> {
    use std::io::Write;
    let mut file = fs::File::options().append(true).create(true).open(marker)?;
    Ok(file.write_all(line(archive)?.as_bytes())?)
}

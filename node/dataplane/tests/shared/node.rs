//! What every laboratory of the per-packet programs needs: the compiled programs, a node's options with pins and a cgroup of its own,
//! and frontends in few words.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use keelson_dataplane::{
    Object, Options, PacketOptions, Talk,
    plan::{ExternalFrontend, Frontend, FrontendKey, Protocol},
    remove_all,
};
use keelson_sys::bpf::is_bpffs;

const BPFFS: &str = "/sys/fs/bpf";

/// The object of the socket programs, beside which the others lie; or why nothing can be tested here.
pub(crate) fn object() -> Result<PathBuf, String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("not root".into());
    }
    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ebpf/sock.o");
    let object = std::env::var_os("KEELSON_EBPF_OBJ").map_or(object, Into::into);
    for name in ["tc.o", "xdp.o"] {
        if !object.with_file_name(name).exists() {
            return Err(format!("no {name} beside {}: run `cargo xtask ebpf`", object.display()));
        }
    }
    if !is_bpffs(Path::new(BPFFS)).unwrap_or(false) {
        return Err(format!("no bpffs at {BPFFS}"));
    }
    Ok(object)
}

/// The value; without one the reason goes to stderr.
pub(crate) fn or_skipped<T>(prepared: Result<T, String>) -> Option<T> {
    prepared.inspect_err(|reason| eprintln!("skipped: {reason}")).ok()
}

/// Of a node with this name, and a cgroup in which no process is: the socket programs, where they are attached, see nothing. Ends with
/// [`clean`].
pub(crate) fn options(node: String, object: PathBuf, packets: PacketOptions) -> Result<Options, String> {
    let cgroup_root = cgroup2().ok_or("no cgroup2 mount")?.join(&node);
    fs::create_dir(&cgroup_root).map_err(|e| format!("making {}: {e}", cgroup_root.display()))?;
    Ok(Options {
        node,
        bpffs: BPFFS.into(),
        cgroup_root,
        object: Object::File(object),
        packets: Some(packets),
        measure: true,
        talk: Talk::Silent,
    })
}

/// Leaves nothing of a node behind.
pub(crate) fn clean(options: &Options) {
    let removed = remove_all(&options.bpffs, &options.node);
    let cgroup = fs::remove_dir(&options.cgroup_root);
    if !std::thread::panicking() {
        removed.unwrap();
        cgroup.unwrap();
    }
}

pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

pub(crate) fn key(protocol: Protocol, service: &str) -> FrontendKey {
    let service: SocketAddr = service.parse().unwrap();
    FrontendKey { address: service.ip(), port: service.port(), protocol }
}

pub(crate) fn frontend(protocol: Protocol, service: &str, backends: &[&str]) -> Frontend {
    let backends = backends.iter().map(|b| b.parse().unwrap()).collect();
    Frontend { key: key(protocol, service), backends, affinity_s: 0 }
}

pub(crate) fn external(protocol: Protocol, service: &str, backends: &[&str]) -> ExternalFrontend {
    ExternalFrontend {
        key: key(protocol, service),
        backends: backends.iter().map(|b| b.parse().unwrap()).collect(),
        local_backends_only: false,
        source_ranges: Vec::new(),
        affinity_s: 0,
        forwarding: None,
    }
}

fn cgroup2() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    line.split(' ').nth(4).map(Into::into)
}

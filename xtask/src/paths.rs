//! Where things are: in the checkout's target folder, and under /run while a cluster runs.

use std::path::{Path, PathBuf};

/// The checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout").to_path_buf()
}

/// Cargo's target folder, also when the environment moved it.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Everything that lasts of a local cluster that this checkout starts: PKI, data, node roots, kubeconfig.
pub(crate) fn cluster() -> PathBuf {
    cluster_of(&root())
}

/// The same of another checkout.
pub(crate) fn cluster_of(checkout: &Path) -> PathBuf {
    checkout.join("target/cluster")
}

/// Everything of the local cluster that does not outlive a boot: sockets, pid files, namespaces' names. Short, because a
/// Unix socket's path has at most 107 bytes.
pub(crate) const RUN: &str = "/run/keelson";

/// Tools that are built from crates.io for this project alone.
pub(crate) fn tools() -> PathBuf {
    root().join("target/tools")
}

/// The built container images, one archive each.
pub(crate) fn images() -> PathBuf {
    root().join("target/images")
}

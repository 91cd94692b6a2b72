//! What the store takes where it lasts, in the Prometheus text format under upstream's name: asked when it is told.

use crate::server::Inner;
use std::{fmt::Write, time::Duration};

/// How long the store may take to answer; of one that does not nothing is told.
const TIMEOUT: Duration = Duration::from_secs(2);

/// One series a copy of the store: `etcd-0` and so on in the order of `--etcd`, or `embedded`.
pub(crate) async fn render(inner: &Inner, out: &mut String) {
    let sizes = match tokio::time::timeout(TIMEOUT, inner.registry.store_sizes()).await {
        Ok(Ok(sizes)) => sizes,
        Ok(Err(status)) => return tracing::warn!(%status, "the size of the store cannot be told"),
        Err(_) => {
            return tracing::warn!(timeout_s = TIMEOUT.as_secs(), "the store did not tell its size in time");
        }
    };
    if sizes.is_empty() {
        return;
    }
    out.push_str("# HELP apiserver_storage_size_bytes [STABLE] Size of the storage database file physically allocated in bytes.\n# TYPE apiserver_storage_size_bytes gauge\n");
    for (copy, bytes) in sizes {
        let _ = writeln!(out, "apiserver_storage_size_bytes{{storage_cluster_id=\"{copy}\"}} {bytes}");
    }
}

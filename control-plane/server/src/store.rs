//! Which store, and opening it.

use anyhow::Context;
use clap::ValueEnum;
use keelson_store::{
    Store,
    embedded::{Embedded, EmbeddedConfig},
    etcd::{Etcd, EtcdConfig},
};
use std::{path::Path, sync::Arc};

/// The backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreKind {
    /// In the data folder, for one process on one machine.
    Embedded,
    /// An etcd cluster, for any number of API servers.
    Etcd,
}

/// Opens the store; for etcd this waits until the cluster answers.
pub(crate) async fn open(
    kind: StoreKind,
    data: &Path,
    endpoints: &[String],
) -> anyhow::Result<Arc<dyn Store>> {
    match kind {
        StoreKind::Embedded => {
            let folder = data.join("store");
            let store = Embedded::open(&folder, &EmbeddedConfig::default())
                .with_context(|| format!("cannot open the store in {}", folder.display()))?;
            Ok(Arc::new(store))
        }
        StoreKind::Etcd => {
            let store = Etcd::connect(EtcdConfig::new(endpoints.to_vec()))
                .await
                .with_context(|| format!("cannot use etcd at {}", endpoints.join(", ")))?;
            Ok(Arc::new(store))
        }
    }
}

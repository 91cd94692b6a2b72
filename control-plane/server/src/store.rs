//! Which store, and opening it.

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use keelson_store::{
    Store,
    embedded::{Embedded, EmbeddedConfig},
    etcd::{Etcd, EtcdConfig, EtcdTls},
};
use keelson_watched::Watched;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// The backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreKind {
    /// In the data folder, for one process on one machine.
    Embedded,
    /// An etcd cluster, for any number of API servers.
    Etcd,
}

/// How etcd is reached; the certificates' options have the names that kube-apiserver gives them.
#[derive(Args, Clone, Debug)]
pub(crate) struct EtcdArgs {
    /// Members of the etcd cluster: http://HOST:PORT or https://HOST:PORT, one or several.
    #[arg(long, alias = "etcd-servers", value_delimiter = ',')]
    pub(crate) etcd: Vec<String>,
    /// The authorities (PEM) that the certificates of members over https come from.
    #[arg(long, requires = "etcd")]
    etcd_cafile: Option<PathBuf>,
    /// Our certificate (PEM), for members that ask for one.
    #[arg(long, requires = "etcd", requires = "etcd_keyfile")]
    etcd_certfile: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, requires = "etcd", requires = "etcd_certfile")]
    etcd_keyfile: Option<PathBuf>,
}

impl EtcdArgs {
    /// Connects, and waits until the cluster answers. Only who serves compacts.
    pub(crate) async fn connect(&self, compacts: bool) -> anyhow::Result<Etcd> {
        let mut config = EtcdConfig::new(self.etcd.clone());
        config.tls = self.tls()?;
        if !compacts {
            config.compact_after = None;
        }
        Etcd::connect(config).await.with_context(|| format!("cannot use etcd at {}", self.etcd.join(", ")))
    }

    /// To be made before they are read, so that no change is missed.
    fn watch(&self) -> Watched {
        let files = [&self.etcd_cafile, &self.etcd_certfile, &self.etcd_keyfile];
        Watched::new(files.into_iter().flatten().cloned())
    }

    /// Connects as the files come to say. What cannot be used changes nothing: a pair is two files, and one is written
    /// before the other.
    async fn keep(self, store: Arc<Etcd>, mut watched: Watched, stop: CancellationToken) {
        while self.etcd_cafile.is_some() && watched.changed_until(&stop).await {
            let taken = async {
                let Some(tls) = self.tls()? else { return Ok(()) };
                store.set_tls(tls).await.context("connecting to etcd with them")
            };
            match taken.await {
                Ok(()) => tracing::info!("the certificates for etcd were read again"),
                Err(error) => tracing::warn!(
                    error = format!("{error:#}"),
                    "the certificates for etcd changed and cannot be used yet"
                ),
            }
        }
    }

    fn tls(&self) -> anyhow::Result<Option<EtcdTls>> {
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let Some(ca) = &self.etcd_cafile else {
            ensure!(self.etcd_certfile.is_none(), "--etcd-certfile needs --etcd-cafile");
            return Ok(None);
        };
        let identity = match (&self.etcd_certfile, &self.etcd_keyfile) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            _ => None,
        };
        Ok(Some(EtcdTls { ca_pem: read(ca)?, identity }))
    }
}

/// The embedded store's folder in the data folder.
pub(crate) fn folder(data: &Path) -> PathBuf {
    data.join("store")
}

/// Opens the embedded store.
pub(crate) fn embedded(data: &Path) -> anyhow::Result<Embedded> {
    let folder = folder(data);
    Embedded::open(&folder, &EmbeddedConfig::default())
        .with_context(|| format!("cannot open the store in {}", folder.display()))
}

/// Opens the store; for etcd this waits until the cluster answers, and follows its certificates until `stop`.
pub(crate) async fn open(
    kind: StoreKind,
    data: &Path,
    etcd: &EtcdArgs,
    stop: &CancellationToken,
) -> anyhow::Result<Arc<dyn Store>> {
    Ok(match kind {
        StoreKind::Embedded => Arc::new(embedded(data)?),
        StoreKind::Etcd => {
            let watched = etcd.watch();
            let store = Arc::new(etcd.connect(true).await?);
            tokio::spawn(etcd.clone().keep(store.clone(), watched, stop.clone()));
            store
        }
    })
}

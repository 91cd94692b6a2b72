//! `keelson store`: snapshots of a cluster's objects and what becomes of them: put back, or moved to the other backend.

mod output;
mod socket;

pub(crate) use socket::{path as socket_path, serve};

use crate::store::{self, EtcdArgs};
use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use futures::StreamExt as _;
use keelson_store::{
    Export, Store as _, StoreError,
    embedded::{Snapshot, encode},
    import,
};
use output::{Output, Report};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

/// Every key of ours begins with it, in each backend.
const PREFIX: &str = "/registry/";

/// What `keelson store` does.
#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Write everything at one revision to a file, also while a server runs and is written to.
    #[command(
        visible_alias = "export",
        after_help = "Examples:\n  keelson store snapshot monday.snap --data /var/lib/keelson\n  keelson store export cluster.snap --etcd https://10.0.0.1:2379 --etcd-cafile ca.crt --etcd-certfile c.crt --etcd-keyfile c.key\n\nWhat is encrypted in the store is encrypted in the file: keep pki/encryption.key, or the keys of your encryption\nconfiguration, in another place."
    )]
    Snapshot(SnapshotArgs),
    /// Fill an empty store from such a file: of the same cluster, or of one that moves to the other backend.
    #[command(
        visible_alias = "import",
        after_help = "Examples:\n  keelson store restore monday.snap --data /var/lib/keelson      every resourceVersion as it was\n  keelson store import cluster.snap --etcd http://127.0.0.1:2379  new resourceVersions, in the same order\n\nNo API server may run on the store meanwhile. A store that is not empty is refused."
    )]
    Restore(RestoreArgs),
}

/// The options of `snapshot`.
#[derive(Args)]
pub(crate) struct SnapshotArgs {
    /// The file to make.
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// The options of `restore`.
#[derive(Args)]
pub(crate) struct RestoreArgs {
    /// The file that `snapshot` made.
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// Which store.
#[derive(Args)]
struct Place {
    /// The data folder of a server: for a snapshot whatever store it uses, else its embedded store.
    #[arg(long, required_unless_present = "etcd", conflicts_with = "etcd")]
    data: Option<PathBuf>,
    #[command(flatten)]
    etcd: EtcdArgs,
    /// How to say what was done.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

/// Runs one.
pub(crate) fn run(command: &StoreCommand) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            StoreCommand::Snapshot(args) => snapshot(args).await,
            StoreCommand::Restore(args) => restore(args).await,
        }
    })
}

async fn snapshot(args: &SnapshotArgs) -> anyhow::Result<()> {
    let file = &args.file;
    ensure!(!file.exists(), "{} is there already", file.display());
    let part = PathBuf::from(format!("{}.part", file.display()));
    let written = match &args.place.data {
        Some(data) => from_data(data, &part).await,
        None => to_file(args.place.etcd.connect(false).await?.export().await?, &part).await,
    };
    let made = written.and_then(|()| Ok(Snapshot::open(&part)?));
    let snapshot = match made {
        Ok(snapshot) => snapshot,
        Err(error) => {
            // Half a file helps nobody; perhaps it was never made.
            let _ = std::fs::remove_file(&part);
            return Err(error.context("no snapshot was made"));
        }
    };
    std::fs::rename(&part, file).with_context(|| format!("cannot rename {}", part.display()))?;
    let bytes = std::fs::metadata(file)?.len();
    let report = Report { file, revision: snapshot.revision(), keys: snapshot.keys(), bytes: Some(bytes) };
    report.print(args.place.output, "saved")
}

/// From the server that has the folder, or else from the folder.
async fn from_data(data: &Path, part: &Path) -> anyhow::Result<()> {
    if socket::fetch(data, part).await? {
        return Ok(());
    }
    ensure!(
        store::folder(data).exists(),
        "{} has no store, and no server runs on it; is it the data folder?",
        data.display()
    );
    to_file(store::embedded(data)?.export().await?, part).await
}

async fn to_file(export: Export, part: &Path) -> anyhow::Result<()> {
    let mut file = output::create(part)?;
    let mut pieces = encode(export);
    while let Some(piece) = pieces.next().await {
        file.write_all(&piece?).with_context(|| format!("cannot write {}", part.display()))?;
    }
    file.sync_all().with_context(|| format!("cannot write {}", part.display()))
}

async fn restore(args: &RestoreArgs) -> anyhow::Result<()> {
    let snapshot = Snapshot::open(&args.file).context("nothing was restored")?;
    if let Some(data) = &args.place.data {
        match snapshot.restore(&store::folder(data)) {
            Err(StoreError::Locked { .. }) => bail!("a server runs on {}: stop it first", data.display()),
            other => other.context("nothing was restored")?,
        }
    } else {
        let etcd = args.place.etcd.connect(false).await?;
        let progress = output::progress(args.place.output, snapshot.keys());
        import(&etcd, PREFIX, snapshot.export(), progress).await.context("not everything was restored")?;
    }
    let report =
        Report { file: &args.file, revision: snapshot.revision(), keys: snapshot.keys(), bytes: None };
    report.print(args.place.output, "restored")
}

//! How a snapshot leaves a running server: whoever connects to a socket in its data folder, as the server's user or root, is
//! sent one. A file that is whole says so at its end, so that nothing but the bytes is sent.

use super::output;
use anyhow::Context;
use futures::StreamExt as _;
use keelson_store::{Store, embedded::encode};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{UnixListener, UnixStream},
};
use tokio_util::sync::CancellationToken;

/// The socket of a data folder.
pub(crate) fn path(data: &Path) -> PathBuf {
    data.join("store.sock")
}

/// Answers until it is told to stop. Whoever holds the data folder's lock may take the socket's place.
pub(crate) fn serve(store: Arc<dyn Store>, path: &Path, stop: CancellationToken) -> anyhow::Result<()> {
    if path.exists() {
        std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
    let path = path.to_owned();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                // One at a time: each reads all there is.
                Ok((stream, _)) = listener.accept() => {
                    tokio::select! {
                        () = stop.cancelled() => break,
                        sent = send(&*store, stream) => if let Err(error) = sent {
                            tracing::warn!(error = format!("{error:#}"), "a snapshot was not sent");
                        }
                    }
                }
            }
        }
        // The next process would do it too.
        let _ = std::fs::remove_file(path);
    });
    Ok(())
}

async fn send(store: &dyn Store, mut stream: UnixStream) -> anyhow::Result<()> {
    let uid = stream.peer_cred().context("asking who is there")?.uid();
    anyhow::ensure!(
        uid == 0 || uid == nix::unistd::geteuid().as_raw(),
        "user {uid} is neither root nor the server's own"
    );
    let mut pieces = encode(store.export().await?);
    while let Some(piece) = pieces.next().await {
        stream.write_all(&piece?).await?;
    }
    tracing::info!("a snapshot was sent");
    Ok(stream.shutdown().await?)
}

/// Gets a snapshot from the server of a data folder; `false` where none runs.
pub(super) async fn fetch(data: &Path, part: &Path) -> anyhow::Result<bool> {
    let mut stream = match UnixStream::connect(path(data)).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(false);
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot connect to {}", path(data).display()));
        }
    };
    let file = output::create(part)?;
    let mut writer = tokio::fs::File::from_std(file);
    tokio::io::copy(&mut stream, &mut writer).await.context("receiving the snapshot")?;
    writer.sync_all().await.with_context(|| format!("cannot write {}", part.display()))?;
    Ok(true)
}

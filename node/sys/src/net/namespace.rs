//! Doing something in another network namespace, on a thread of its own.

use super::NetError;
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// Runs `work` on a thread that is in the namespace. The thread is made for this alone and ends: one that came back to a pool
/// in another namespace would mislead whoever runs on it next.
pub(super) async fn within<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce() -> Result<T, NetError> + Send + 'static,
) -> Result<T, NetError> {
    let runtime = tokio::runtime::Handle::current();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let enter = move || {
        let _context = runtime.enter();
        let entered = File::open(&path)
            .and_then(|file| Ok(nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET)?));
        let done = match entered {
            Ok(()) => work(),
            Err(source) => Err(NetError::Namespace { path, source }),
        };
        // The receiver is gone only when the caller was cancelled.
        let _ = sender.send(done);
    };
    std::thread::Builder::new().name("netns".into()).spawn(enter).map_err(NetError::Socket)?;
    receiver
        .await
        .unwrap_or_else(|_| Err(NetError::Socket(io::Error::other("the thread ended without an answer"))))
}

/// The namespace as a file descriptor, for messages that name it.
pub(super) fn open(path: &Path) -> Result<File, NetError> {
    File::open(path).map_err(|source| NetError::Namespace { path: path.into(), source })
}

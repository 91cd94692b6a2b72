//! Files that may change while a process runs: noticed by their content, so that a copy, a rename and a changed link of a
//! mounted volume all count, and a touch does not.
#![forbid(unsafe_code)]

use std::{path::PathBuf, time::Duration};
use tokio_util::sync::CancellationToken;

/// A change is noticed within this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Some files, and what was in them.
pub struct Watched {
    paths: Vec<PathBuf>,
    seen: Vec<Option<Vec<u8>>>,
}

impl Watched {
    /// From what they hold now.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let paths: Vec<PathBuf> = paths.into_iter().collect();
        let seen = paths.iter().map(|path| std::fs::read(path).ok()).collect();
        Self { paths, seen }
    }

    /// Which they are.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Until one of them is another. Cancelled, it has missed nothing.
    pub async fn changed(&mut self) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            if self.look() {
                return;
            }
        }
    }

    /// The same; false where `stop` came first.
    pub async fn changed_until(&mut self, stop: &CancellationToken) -> bool {
        stop.run_until_cancelled(self.changed()).await.is_some()
    }

    /// Whether one of them is another. A file that is being replaced may be missing for a moment: that is no change.
    pub fn look(&mut self) -> bool {
        let mut is_changed = false;
        for (path, seen) in self.paths.iter().zip(&mut self.seen) {
            let now = std::fs::read(path).ok();
            if now.is_some() && now != *seen {
                *seen = now;
                is_changed = true;
            }
        }
        is_changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_file_counts() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
        std::fs::write(&one, "a").unwrap();
        let mut watched = Watched::new([one.clone(), other.clone()]);
        assert!(!watched.look());
        std::fs::write(&one, "a").unwrap();
        assert!(!watched.look(), "written, and the same");
        std::fs::write(&one, "b").unwrap();
        assert!(watched.look() && !watched.look());
        std::fs::remove_file(&one).unwrap();
        assert!(!watched.look(), "missing");
        std::fs::write(&one, "b").unwrap();
        assert!(!watched.look(), "back as it was");
        std::fs::write(&other, "new").unwrap();
        assert!(watched.look());
    }
}

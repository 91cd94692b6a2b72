//! Files that may change while the daemon runs: noticed by their content, so that a copy, a rename and a changed link of a
//! mounted volume all count, and a touch does not.

use std::path::PathBuf;
use std::time::Duration;

/// A change is noticed within this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Some files, and what was in them.
pub(crate) struct Watched {
    paths: Vec<PathBuf>,
    seen: Vec<Option<Vec<u8>>>,
}

impl Watched {
    /// From what they hold now.
    pub(crate) fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let paths: Vec<PathBuf> = paths.into_iter().collect();
        let seen = paths.iter().map(|path| std::fs::read(path).ok()).collect();
        Self { paths, seen }
    }

    /// Until one of them is another. Cancelled, it has missed nothing.
    pub(crate) async fn changed(&mut self) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            if self.look() {
                return;
            }
        }
    }

    /// Whether one of them is another. A file that is being replaced may be missing for a moment: that is no change.
    pub(crate) fn look(&mut self) -> bool {
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
        let file = folder.path().join("one");
        std::fs::write(&file, "a").unwrap();
        let mut watched = Watched::new([file.clone(), folder.path().join("other")]);
        std::fs::write(&file, "a").unwrap();
        assert!(!watched.look(), "written, and the same");
        std::fs::write(&file, "b").unwrap();
        assert!(watched.look() && !watched.look(), "told once");
        std::fs::remove_file(&file).unwrap();
        assert!(!watched.look(), "missing");
        std::fs::write(folder.path().join("other"), "new").unwrap();
        assert!(watched.look());
    }
}

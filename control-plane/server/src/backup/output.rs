//! What the commands say, for people and for programs; and the file that they make.

use anyhow::Context;
use clap::ValueEnum;
use std::{fs::File, os::unix::fs::OpenOptionsExt as _, path::Path};

/// Progress is said after so many keys.
const PROGRESS_KEYS: usize = 1_000;

/// For whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A sentence.
    Text,
    /// A JSON object.
    Json,
}

/// What was done.
pub(super) struct Report<'a> {
    pub(super) file: &'a Path,
    pub(super) revision: u64,
    pub(super) keys: usize,
    pub(super) bytes: Option<u64>,
}

impl Report<'_> {
    pub(super) fn print(&self, output: Output, done: &str) -> anyhow::Result<()> {
        let Self { revision, keys, .. } = self;
        let file = self.file.display();
        match (output, self.bytes) {
            (Output::Json, bytes) => {
                let mut report =
                    serde_json::json!({"file": file.to_string(), "revision": revision, "keys": keys});
                if let Some(bytes) = bytes {
                    report["bytes"] = bytes.into();
                }
                println!("{report}");
            }
            (Output::Text, Some(bytes)) => {
                println!("{done} {keys} keys at revision {revision} in {file}, {bytes} bytes");
            }
            (Output::Text, None) => println!("{done} {keys} keys of revision {revision} from {file}"),
        }
        Ok(())
    }
}

/// Says on standard error how far it is.
pub(super) fn progress(output: Output, total: usize) -> impl Fn(usize) {
    move |done| {
        if output == Output::Text && done.is_multiple_of(PROGRESS_KEYS) {
            eprintln!("{done} of {total} keys");
        }
    }
}

/// A new file that only its owner reads.
pub(super) fn create(path: &Path) -> anyhow::Result<File> {
    let mut options = File::options();
    let made = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    made.with_context(|| format!("cannot make {}", path.display()))
}

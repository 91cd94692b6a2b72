//! What can go wrong with the folder of keys.

use std::io;
use std::path::{Path, PathBuf};

/// Why a key or certificate could not be read, made or written.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The file system refused.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file is there and is not what its name says.
    #[error("{} does not hold {expected}: {found}; put the right file there, or remove it and run init again", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What belongs into it.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// An authority's certificate is there and its key is not.
    #[error(
        "{} is there but {} is not: this authority was made elsewhere; copy its key here too, init signs with it",
        cert.display(), key.display()
    )]
    AuthorityWithoutKey {
        /// The certificate found.
        cert: PathBuf,
        /// The key missed.
        key: PathBuf,
    },
    /// Certificate and key of an authority do not belong together.
    #[error("{} and {} do not belong together: restore the pair from one copy", cert.display(), key.display())]
    AuthorityMismatch {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// An authority may not sign any longer.
    #[error("the authority in {} expired on {not_after}: every certificate of the cluster must be made anew", path.display())]
    AuthorityExpired {
        /// Its certificate.
        path: PathBuf,
        /// When it ended.
        not_after: String,
    },
    /// No authority there yet.
    #[error("there is no certificate authority in {}: run `keelson init` first", path.display())]
    NotInitialised {
        /// The folder looked into.
        path: PathBuf,
    },
    /// An argument that no certificate can hold.
    #[error("{what} {value:?} cannot be put into a certificate: {why}")]
    Argument {
        /// Which argument.
        what: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        why: &'static str,
    },
    /// The library that makes certificates refused.
    #[error("could not {action}")]
    Certificate {
        /// What was being made.
        action: &'static str,
        /// Why.
        source: rcgen::Error,
    },
}

impl PkiError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(super) fn unreadable(path: &Path, expected: &'static str, found: impl ToString) -> Self {
        Self::Unreadable { path: path.to_owned(), expected, found: found.to_string() }
    }

    pub(super) fn certificate(action: &'static str) -> impl FnOnce(rcgen::Error) -> Self {
        move |source| Self::Certificate { action, source }
    }
}

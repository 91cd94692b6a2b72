//! `metadata.managedFields`: who owns which fields of an object, kept by every write.
//!
//! ```text
//! create, update, patch ── compare old and new ──> what was written is the writer's, and nobody else's
//! server-side apply ── merge, prune, conflicts ──> what is applied is the applier's, shared where values agree
//! ```
//! The entries live as text: in the stored bytes, beside the object while a write works on it, and again in the stored
//! bytes. Only entries that a write touches are read and written anew. What fields are is `keelson_schema::structured`'s.
//! Rules: "Field management" in the Kubernetes documentation of server-side apply.
//!
//! As upstream: what admission and strategies add is nobody's; nor is what a binding or a deletion sets. An object
//! without entries (somebody has reset them) gets none by updates, and "before-first-apply" by the first apply.

mod apply;
mod entry;
mod last_applied;
mod memo;
mod track;
mod versions;

pub(crate) use apply::{Config, apply, new_object};
pub(crate) use memo::{Memo, Unseen};
pub(crate) use track::{Given, Track, of_created};

/// What `metadata.managedFields` becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ledger {
    /// What it was.
    Kept,
    /// This JSON, "" for none.
    Next {
        /// The entries.
        text: String,
        /// Whether it is worth a write when nothing else changes: who applies what is there already owns it from now on,
        /// but who updates nothing (strategies may not have let it through) owns nothing, and a time alone is no news.
        alone: bool,
    },
}

impl Ledger {
    /// The text, given what it was.
    pub(crate) fn text<'a>(&'a self, before: &'a str) -> &'a str {
        match self {
            Self::Kept => before,
            Self::Next { text, .. } => text,
        }
    }

    /// Whether there is nothing to write when nothing but this changes.
    pub(crate) fn is_idle(&self) -> bool {
        !matches!(self, Self::Next { alone: true, .. })
    }
}

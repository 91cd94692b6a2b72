//! Custom kinds: from a CustomResourceDefinition to rows of the kind table, and what such a row has beside a built-in's.
//!
//! ```text
//! CustomResourceDefinition ──Definition──> plan   names accepted or not, established: its status   (names)
//!                                     └──> kinds  a Kind for each served version, once established (build)
//! feed: a change of a definition ──> the table and the caches are replaced whole
//! ```
//! A custom kind takes the way of every kind: its objects are stored, cached, listed and watched as a built-in's. What
//! differs is asked of [`Custom`]: the schema, in which version bodies are stored, columns, where a Scale's numbers are.
//!
//! Objects are stored in the definition's storage version. Whoever reads another version, or an object that was written
//! before the definition last changed, gets a form of it that is derived once and kept with the entry, by the definition's
//! webhook where it has one ([`crate::convert`]); the rest is read as it is stored. A write that was begun under the definition's last state and lands after its change is shown as it was
//! written until it is written again: to compare the definition's revision in each write would cost every writer more.

mod build;
pub mod definition;
mod jsonpath;
pub mod names;
mod print;
mod strategy;

pub(crate) use build::kinds_of;
pub use definition::Definition;
pub(crate) use jsonpath::JsonPath;
pub(crate) use print::row;
pub use strategy::CustomResource;

use crate::convert::Family;
use keelson_schema::TypeRef;
use keelson_store::Revision;
use serde_json::Value;
use std::sync::Arc;

/// Most definitions that are served; the rest is left out of the table, aloud.
pub const DEFINITIONS_MAX: usize = 4_096;

/// The finalizer by which a definition waits until its objects are gone.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// What a custom kind has beside a built-in one.
#[derive(Debug)]
pub struct Custom {
    schema: Arc<keelson_schema::Custom>,
    /// Where another version is not just another name.
    family: Option<Arc<Family>>,
    /// `group/version` of stored bodies.
    storage_version: String,
    /// How bodies that are stored in this kind's version begin.
    head: Vec<u8>,
    /// Whether this is the storage version.
    stores: bool,
    /// Bodies of later revisions were written under this very schema.
    since: Revision,
    scale: Option<ScalePaths>,
    /// Of each column after the name: its path and its type.
    columns: Vec<(JsonPath, String)>,
    deprecation: Option<String>,
    terminating: bool,
}

/// Where a Scale's numbers are in an object.
#[derive(Debug)]
pub(crate) struct ScalePaths {
    pub(crate) replicas: Vec<String>,
    pub(crate) observed: Vec<String>,
    pub(crate) selector: Option<Vec<String>>,
}

impl Custom {
    /// The type of the resource.
    pub fn ty(&self) -> TypeRef<'_> {
        self.schema.ty()
    }

    /// Its schema.
    pub fn schema(&self) -> &keelson_schema::Custom {
        &self.schema
    }

    /// What a user of a deprecated version is told.
    pub fn deprecation(&self) -> Option<&str> {
        self.deprecation.as_deref()
    }

    /// Whether the definition is being deleted, and takes no new objects.
    pub fn is_terminating(&self) -> bool {
        self.terminating
    }

    pub(crate) fn scale(&self) -> Option<&ScalePaths> {
        self.scale.as_ref()
    }

    /// Whether a stored body is what this kind shows.
    pub(crate) fn is_shown_as(&self, body: &[u8], revision: Revision) -> bool {
        revision > self.since && self.stores && body.starts_with(&self.head)
    }

    /// Whether a stored body is in this kind's version.
    pub(crate) fn is_written_in(&self, body: &[u8]) -> bool {
        body.starts_with(&self.head)
    }

    pub(crate) fn family(&self) -> Option<&Family> {
        self.family.as_deref()
    }

    /// The revision of the definition's last change.
    pub(crate) fn since(&self) -> Revision {
        self.since
    }

    /// From the stored version, and whatever schema it was written under, to this kind's.
    pub(crate) fn show(&self, api_version: String, mut object: Value) -> Value {
        object["apiVersion"] = Value::String(api_version);
        self.schema.settle(&mut object);
        object
    }

    /// `group/version` of stored bodies.
    pub(crate) fn storage_version(&self) -> &str {
        &self.storage_version
    }
}

//! The seam to admission: who calls what, when. The plugins are in keelson-admission.
//!
//! Order on a write, as upstream's: default, **mutate**, prepare, validate by strategy, **validate** by admission, commit;
//! on a delete: **mutate**, **validate**, commit.

use crate::{kind::Kind, status::Status};
use async_trait::async_trait;
use keelson_auth::UserInfo;
use serde_json::Value;
use time::OffsetDateTime;

/// admission.k8s.io Operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the API's own")]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    /// The API's text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// What is about to be done, by whom.
#[derive(Clone, Copy)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a UserInfo,
    /// The kind whose resource the request names.
    pub kind: &'a Kind,
    /// Subresource, "" for the object itself.
    pub subresource: &'a str,
    /// Namespace, "" for a cluster-scoped kind.
    pub namespace: &'a str,
    /// Name; may be "" on create with generateName.
    pub name: &'a str,
    /// What is done.
    pub operation: Operation,
    /// Nothing will be stored.
    pub dry_run: bool,
    /// The object as stored, on update and delete, with its resourceVersion.
    pub old: Option<&'a Value>,
    /// CreateOptions, UpdateOptions or DeleteOptions as the client gave them; Null when none.
    pub options: &'a Value,
    /// The request's time.
    pub now: OffsetDateTime,
}

/// The chain of plugins.
#[async_trait]
pub trait Admission: Send + Sync + 'static {
    /// May change the object, or refuse. On a subresource with a body of its own (binding, scale) that body is the object.
    /// The object is absent on delete, which upstream puts through this phase, too.
    async fn mutate(&self, attributes: &Attributes<'_>, object: Option<&mut Value>) -> Result<(), Status>;
    /// May only refuse. The object is absent on delete and connect.
    async fn validate(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<(), Status>;
}

/// Admits everything; what a registry has until [`crate::Registry::set_admission`].
pub struct AdmitAll;

#[async_trait]
impl Admission for AdmitAll {
    async fn mutate(&self, _: &Attributes<'_>, _: Option<&mut Value>) -> Result<(), Status> {
        Ok(())
    }

    async fn validate(&self, _: &Attributes<'_>, _: Option<&Value>) -> Result<(), Status> {
        Ok(())
    }
}

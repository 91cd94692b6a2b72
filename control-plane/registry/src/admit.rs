//! The seam to admission: who calls what, when. The plugins are in keelson-admission.
//!
//! Order on a write, as upstream's: default, **mutate**, prepare, validate by strategy, **validate** by admission, commit;
//! on a delete: **mutate**, **validate**, commit.

use crate::{
    context::{Annotations, Warnings},
    kind::Kind,
    options::{DeleteOptions, Propagation},
    status::Status,
};
use async_trait::async_trait;
use keelson_auth::UserInfo;
use keelson_schema::FieldValidation;
use serde_json::{Map, Value, json};
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
    /// The request's options.
    pub options: Options<'a>,
    /// Where warnings go.
    pub warnings: &'a Warnings,
    /// Where annotations for the audit log go.
    pub annotations: &'a Annotations,
    /// The request's time.
    pub now: OffsetDateTime,
}

/// What a request asks for beside its object.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Name of the writer in managedFields, "" where there is none.
    pub field_manager: &'a str,
    /// How strictly the body is read.
    pub field_validation: Option<FieldValidation>,
    /// Of a deletion.
    pub deletion: Option<&'a DeleteOptions>,
}

impl Attributes<'_> {
    /// The meta.k8s.io/v1 CreateOptions, UpdateOptions or DeleteOptions of the request; Null for a connect. Made on demand:
    /// hardly a request is looked at so closely.
    pub fn options_object(&self) -> Value {
        let kind = match self.operation {
            Operation::Create => "CreateOptions",
            Operation::Update => "UpdateOptions",
            Operation::Delete => "DeleteOptions",
            Operation::Connect => return Value::Null,
        };
        let mut object = Map::new();
        object.insert("apiVersion".to_owned(), json!("meta.k8s.io/v1"));
        object.insert("kind".to_owned(), json!(kind));
        if self.dry_run {
            object.insert("dryRun".to_owned(), json!(["All"]));
        }
        match self.options.deletion {
            Some(deletion) => deletion_fields(deletion, &mut object),
            None => {
                if !self.options.field_manager.is_empty() {
                    object.insert("fieldManager".to_owned(), json!(self.options.field_manager));
                }
                if let Some(validation) = self.options.field_validation {
                    let text = match validation {
                        FieldValidation::Ignore => "Ignore",
                        FieldValidation::Warn => "Warn",
                        FieldValidation::Strict => "Strict",
                    };
                    object.insert("fieldValidation".to_owned(), json!(text));
                }
            }
        }
        Value::Object(object)
    }
}

fn deletion_fields(options: &DeleteOptions, object: &mut Map<String, Value>) {
    if let Some(seconds) = options.grace_period_s {
        object.insert("gracePeriodSeconds".to_owned(), json!(seconds));
    }
    if let Some(orphan) = options.orphan_dependents {
        object.insert("orphanDependents".to_owned(), json!(orphan));
    }
    let propagation = options.propagation.map(|policy| match policy {
        Propagation::Orphan => "Orphan",
        Propagation::Background => "Background",
        Propagation::Foreground => "Foreground",
    });
    if let Some(policy) = propagation {
        object.insert("propagationPolicy".to_owned(), json!(policy));
    }
    let wanted = &options.preconditions;
    let mut preconditions = Map::new();
    for (key, value) in [("uid", &wanted.uid), ("resourceVersion", &wanted.resource_version)] {
        if let Some(value) = value {
            preconditions.insert(key.to_owned(), json!(value));
        }
    }
    if !preconditions.is_empty() {
        object.insert("preconditions".to_owned(), Value::Object(preconditions));
    }
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

//! All versions of one definition with a conversion webhook, served or not: what objects are like in each.

use crate::{
    custom::definition::{Definition, Webhook},
    status::{Reason, Status},
};
use keelson_schema::Custom as Schema;
use serde_json::Value;
use std::sync::Arc;

/// The versions, and who converts between them.
#[derive(Debug)]
pub(crate) struct Family {
    /// The kind's name.
    pub(super) kind: String,
    pub(crate) hook: Hook,
    /// By `group/version`.
    versions: Vec<(String, Arc<Schema>)>,
}

/// A definition's webhook.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hook {
    /// `spec.conversion.webhook.clientConfig`.
    pub(crate) client_config: Value,
    pub(crate) review: ReviewVersion,
}

/// The ConversionReview that a webhook understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReviewVersion {
    V1,
    V1beta1,
}

impl ReviewVersion {
    /// Their names in a definition.
    pub(crate) const NAMES: [&str; 2] = ["v1", "v1beta1"];

    /// The first that a webhook names and this server speaks.
    fn of(webhook: &Webhook) -> Option<Self> {
        webhook.conversion_review_versions.iter().find_map(|version| match version.as_str() {
            "v1" => Some(Self::V1),
            "v1beta1" => Some(Self::V1beta1),
            _ => None,
        })
    }

    pub(super) fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "apiextensions.k8s.io/v1",
            Self::V1beta1 => "apiextensions.k8s.io/v1beta1",
        }
    }
}

impl Hook {
    /// The definition's, where its strategy is Webhook. What it names was validated; one that names no review that is spoken
    /// here came before that, and is as good as none.
    pub(crate) fn of(definition: &Definition) -> Option<Self> {
        let conversion = definition.spec.conversion.as_ref().filter(|own| own.strategy == "Webhook")?;
        let webhook = conversion.webhook.as_ref()?;
        Some(Self { client_config: webhook.client_config.clone(), review: ReviewVersion::of(webhook)? })
    }
}

impl Family {
    pub(crate) fn new(kind: String, hook: Hook, versions: Vec<(String, Arc<Schema>)>) -> Self {
        Self { kind, hook, versions }
    }

    /// Of a version.
    pub(crate) fn schema(&self, version: &str) -> Option<&Arc<Schema>> {
        self.versions.iter().find(|(own, _)| own == version).map(|(_, schema)| schema)
    }

    /// Whether objects may be in a version at all.
    pub(super) fn check(&self, from: &str) -> Result<(), Status> {
        let why = || format!("request to convert CR from an invalid group/version: {from}");
        self.schema(from).map(|_| ()).ok_or_else(|| Status::new(500, Reason::Unknown, why()))
    }

    /// An object as it was stored, cut to the schema of its version as it is now, and with its defaults.
    pub(super) fn settled(&self, mut object: Value) -> Result<Value, Status> {
        let version = object["apiVersion"].as_str().unwrap_or_default().to_owned();
        self.check(&version)?;
        if let Some(schema) = self.schema(&version) {
            schema.settle(&mut object);
        }
        Ok(object)
    }

    /// Cuts what a webhook made to the schema of its version.
    pub(super) fn cut(&self, to: &str, object: &mut Value) -> Result<(), Status> {
        let why = || format!("request to convert CR to an invalid group/version: {to}");
        let schema = self.schema(to).ok_or_else(|| Status::new(500, Reason::Unknown, why()))?;
        schema.prune(object).map_err(Status::internal)
    }
}

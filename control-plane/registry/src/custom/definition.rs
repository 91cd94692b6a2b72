//! A CustomResourceDefinition as the server reads it: the fields that decide what is served. Rules about what may stand
//! in one are `validate::apiextensions`.

use crate::meta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The part of a definition that decides what is served.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Definition {
    /// metadata
    pub metadata: Metadata,
    /// spec
    pub spec: Spec,
    /// status
    #[serde(default)]
    pub status: DefinitionStatus,
}

/// Of metadata.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the API's own")]
pub struct Metadata {
    pub name: String,
    pub generation: i64,
    pub deletion_timestamp: Option<String>,
    pub finalizers: Vec<String>,
    pub annotations: std::collections::BTreeMap<String, String>,
}

/// spec
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the API's own")]
pub struct Spec {
    pub group: String,
    pub scope: String,
    pub names: Names,
    pub versions: Vec<Version>,
    pub conversion: Option<Conversion>,
    pub preserve_unknown_fields: bool,
}

/// spec.names, status.acceptedNames
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the API's own")]
pub struct Names {
    pub plural: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub singular: String,
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub list_kind: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub short_names: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
}

/// spec.versions[]
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the API's own")]
pub struct Version {
    pub name: String,
    pub served: bool,
    pub storage: bool,
    pub deprecated: bool,
    pub deprecation_warning: Option<String>,
    pub schema: Option<SchemaHolder>,
    pub subresources: Option<Subresources>,
    pub additional_printer_columns: Vec<PrinterColumn>,
    pub selectable_fields: Vec<Selectable>,
}

/// spec.versions[].schema
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SchemaHolder {
    /// openAPIV3Schema
    #[serde(rename = "openAPIV3Schema")]
    pub open_api: Option<Value>,
}

/// spec.versions[].subresources
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the API's own")]
pub struct Subresources {
    pub status: Option<Value>,
    pub scale: Option<Scale>,
}

/// spec.versions[].subresources.scale
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the API's own")]
pub struct Scale {
    pub spec_replicas_path: String,
    pub status_replicas_path: String,
    pub label_selector_path: Option<String>,
}

/// spec.versions[].additionalPrinterColumns[]
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the API's own")]
pub struct PrinterColumn {
    pub name: String,
    #[serde(rename = "type")]
    pub type_: String,
    pub format: String,
    pub priority: i32,
    pub json_path: String,
}

/// spec.versions[].selectableFields[]
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the API's own")]
pub struct Selectable {
    pub json_path: String,
}

/// spec.conversion
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Conversion {
    /// `None` or `Webhook`.
    pub strategy: String,
    /// Who converts.
    pub webhook: Option<Webhook>,
}

/// spec.conversion.webhook
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the API's own")]
pub struct Webhook {
    pub client_config: Value,
    pub conversion_review_versions: Vec<String>,
}

/// status
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the API's own")]
pub struct DefinitionStatus {
    pub accepted_names: Names,
    pub conditions: Vec<Value>,
    pub stored_versions: Vec<String>,
}

impl Definition {
    /// Reads a stored definition.
    pub fn read(object: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(object)
    }

    /// Whether a condition is true.
    pub fn is(&self, condition: &str) -> bool {
        self.condition(condition).is_some_and(|found| meta::text(found, &["status"]) == "True")
    }

    /// A condition of the status.
    pub fn condition(&self, of: &str) -> Option<&Value> {
        self.status.conditions.iter().find(|condition| meta::text(condition, &["type"]) == of)
    }

    /// Whether deletion has begun.
    pub fn is_deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// The version that objects are stored in.
    pub fn storage_version(&self) -> Option<&Version> {
        self.spec.versions.iter().find(|version| version.storage)
    }
}

//! The query and path parameters that operations declare; what is not built is not declared.

use serde_json::{Value, json};

use super::operations::Verb;

type Parameters = &'static [(&'static str, &'static str)];

const WRITE: Parameters = &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const PATCH: Parameters =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const LIST: Parameters = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const DELETE: Parameters = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
const DELETE_COLLECTION: Parameters = &[
    ("continue", "string"),
    ("dryRun", "string"),
    ("fieldSelector", "string"),
    ("gracePeriodSeconds", "integer"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("propagationPolicy", "string"),
    ("resourceVersion", "string"),
    ("timeoutSeconds", "integer"),
];

/// Those of an operation.
pub(super) fn of(verb: Verb) -> Value {
    let parameters = match verb {
        Verb::Get => &[],
        Verb::List => LIST,
        Verb::Create | Verb::Update => WRITE,
        Verb::Patch => PATCH,
        Verb::Delete => DELETE,
        Verb::DeleteCollection => DELETE_COLLECTION,
    };
    parameters.iter().map(|(name, ty)| query(name, ty)).collect()
}

/// Those that all operations of a path share.
pub(super) fn of_path(in_namespace: bool, named: bool) -> Value {
    let mut parameters = Vec::new();
    if named {
        parameters.push(in_path("name"));
    }
    if in_namespace {
        parameters.push(in_path("namespace"));
    }
    parameters.push(query("pretty", "string"));
    Value::Array(parameters)
}

fn query(name: &str, ty: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": ty, "uniqueItems": true}})
}

fn in_path(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}})
}

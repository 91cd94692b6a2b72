//! The query and path parameters that operations declare; what is not built is not declared.

use serde_json::{Value, json};

use super::operations::Verb;
use super::options::{self, Parameter};

const WRITE: &[Parameter] = &[options::DRY_RUN, options::FIELD_MANAGER, options::FIELD_VALIDATION];
const PATCH: &[Parameter] =
    &[options::DRY_RUN, options::PATCH_FIELD_MANAGER, options::FIELD_VALIDATION, options::FORCE];
const LIST: &[Parameter] = &[
    options::ALLOW_WATCH_BOOKMARKS,
    options::CONTINUE,
    options::FIELD_SELECTOR,
    options::LABEL_SELECTOR,
    options::LIMIT,
    options::RESOURCE_VERSION,
    options::RESOURCE_VERSION_MATCH,
    options::SEND_INITIAL_EVENTS,
    options::TIMEOUT_SECONDS,
    options::WATCH,
];
const DELETE: &[Parameter] = &[
    options::DRY_RUN,
    options::GRACE_PERIOD_SECONDS,
    options::IGNORE_STORE_READ_ERROR,
    options::ORPHAN_DEPENDENTS,
    options::PROPAGATION_POLICY,
];
const DELETE_COLLECTION: &[Parameter] = &[
    options::CONTINUE,
    options::DRY_RUN,
    options::FIELD_SELECTOR,
    options::GRACE_PERIOD_SECONDS,
    options::LABEL_SELECTOR,
    options::LIMIT,
    options::PROPAGATION_POLICY,
    options::RESOURCE_VERSION,
    options::TIMEOUT_SECONDS,
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
    parameters.iter().map(query).collect()
}

/// Those that all operations of a path share; `named` is the kind whose name it has.
pub(super) fn of_path(in_namespace: bool, named: Option<&str>) -> Value {
    let mut parameters = Vec::new();
    if let Some(kind) = named {
        parameters.push(in_path("name", &format!("name of the {kind}")));
    }
    if in_namespace {
        parameters.push(in_path("namespace", "object name and auth scope, such as for teams and projects"));
    }
    parameters.push(query(&options::PRETTY));
    Value::Array(parameters)
}

fn query(parameter: &Parameter) -> Value {
    let Parameter { name, ty, description } = parameter;
    json!({"name": name, "in": "query", "description": description, "schema": {"type": ty, "uniqueItems": true}})
}

fn in_path(name: &str, description: &str) -> Value {
    json!({"name": name, "in": "path", "description": description, "required": true,
        "schema": {"type": "string", "uniqueItems": true}})
}

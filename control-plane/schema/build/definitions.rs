//! Brings the definitions into the published form of the API server's OpenAPI v3 documents.

use serde_json::{Map, Value, json};

use crate::Definitions;
use crate::kinds::Kind;

pub(crate) const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
pub(crate) const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";

/// Adds kinds and merge rules, and writes references and either-or types as the server does.
pub(crate) fn publish(definitions: &mut Definitions, kinds: &[Kind], list_merge: &str) {
    for (name, definition) in definitions.iter_mut() {
        let object = definition.as_object_mut().expect("a definition is an object");
        object.remove("x-kubernetes-int-or-string");
        match name.as_str() {
            QUANTITY => {
                object.insert("oneOf".into(), json!([{"type": "string"}, {"type": "number"}]));
            }
            INT_OR_STRING => {
                object.insert("format".into(), json!("int-or-string"));
                object.insert("oneOf".into(), json!([{"type": "integer"}, {"type": "string"}]));
            }
            _ => {}
        }
        if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
            properties.values_mut().for_each(wrap_reference);
        }
    }
    for kind in kinds {
        definitions.get_mut(&kind.definition).expect("a kind has a definition")["x-kubernetes-group-version-kind"] =
            json!([{"group": kind.group, "version": kind.version, "kind": kind.kind}]);
    }
    for row in list_merge.lines().skip(1) {
        add_merge_rules(definitions, row);
    }
}

/// A reference may have no siblings in OpenAPI 3.0, so one with a description goes into an `allOf`.
fn wrap_reference(property: &mut Value) {
    let Some(object) = property.as_object_mut() else { return };
    if object.len() > 1
        && let Some(reference) = object.remove("$ref")
    {
        object.insert("allOf".into(), json!([{"$ref": reference}]));
    }
}

fn add_merge_rules(definitions: &mut Definitions, row: &str) {
    let columns: Vec<&str> = row.split('\t').collect();
    let &[schema, property, _, list_type, map_keys, map_type, patch_strategy, merge_key] = columns.as_slice()
    else {
        panic!("facts/list-merge.tsv: eight columns expected: {row:?}");
    };
    // Beta and alpha versions are in the table and not embedded.
    let Some(definition) = definitions.get_mut(schema) else { return };
    let target = if property.is_empty() { definition } else { &mut definition["properties"][property] };
    let target: &mut Map<String, Value> = target
        .as_object_mut()
        .unwrap_or_else(|| panic!("facts/list-merge.tsv: {schema} has no property {property}"));
    for (name, value) in [
        ("list-type", list_type),
        ("map-type", map_type),
        ("patch-strategy", patch_strategy),
        ("patch-merge-key", merge_key),
    ] {
        if !value.is_empty() {
            target.insert(format!("x-kubernetes-{name}"), json!(value));
        }
    }
    if !map_keys.is_empty() {
        let keys: Vec<&str> = map_keys.split(',').collect();
        target.insert("x-kubernetes-list-map-keys".into(), json!(keys));
    }
}

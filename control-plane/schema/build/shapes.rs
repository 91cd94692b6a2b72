//! Compiles definitions to the shapes that the crate walks at run time, and writes them as text.
//!
//! The text has one record a line, fields separated by tabs; `src/load.rs` reads it:
//! `T name required-map-type`, then a `P` for each property of that type and a `W` for each of its protobuf fields, and at
//! the end a `K` for each kind. A shape is one letter, `[` or `{` before the shape of an item or a map's value, or `R` and
//! the number of a type.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::Definitions;
use crate::definitions::{INT_OR_STRING, QUANTITY};
use crate::kinds::Kind;

/// A type with properties.
pub(crate) struct Type {
    pub(crate) name: String,
    pub(crate) map_type: String,
    pub(crate) properties: BTreeMap<String, Property>,
    /// Filled in by `protobuf.rs`.
    pub(crate) wire: Vec<WireField>,
}

/// A protobuf field of a type.
pub(crate) struct WireField {
    /// Its number, after those of the messages that it is inlined from: `2.1`.
    pub(crate) path: String,
    pub(crate) property: String,
    pub(crate) presence: String,
    pub(crate) form: &'static str,
}

/// One of its properties.
pub(crate) struct Property {
    pub(crate) shape: String,
    pub(crate) required: bool,
    pub(crate) list_type: String,
    pub(crate) map_keys: String,
    pub(crate) map_type: String,
    pub(crate) patch_strategy: String,
    pub(crate) merge_key: String,
    /// JSON that is written where the property is unset.
    pub(crate) default: String,
    /// Whether 0 counts as unset.
    pub(crate) zero_is_unset: bool,
}

/// Every definition that is an object with properties, in the order of names: a type's number is its place.
pub(crate) fn compile(definitions: &Definitions) -> Vec<Type> {
    let numbers: BTreeMap<&str, usize> = definitions
        .iter()
        .filter(|(_, definition)| has_properties(definition))
        .enumerate()
        .map(|(number, (name, _))| (name.as_str(), number))
        .collect();
    numbers
        .keys()
        .map(|name| {
            let definition = &definitions[*name];
            let required: Vec<&str> = texts(&definition["required"]);
            let properties = definition["properties"].as_object().expect("filtered on having properties");
            Type {
                name: (*name).to_owned(),
                map_type: text(definition, "x-kubernetes-map-type"),
                properties: properties
                    .iter()
                    .map(|(key, schema)| {
                        (
                            key.clone(),
                            property(schema, required.contains(&key.as_str()), &numbers, definitions),
                        )
                    })
                    .collect(),
                wire: Vec::new(),
            }
        })
        .collect()
}

fn has_properties(definition: &Value) -> bool {
    definition.get("properties").is_some()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().map(|a| a.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

fn text(schema: &Value, key: &str) -> String {
    schema.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn property(
    schema: &Value,
    required: bool,
    numbers: &BTreeMap<&str, usize>,
    definitions: &Definitions,
) -> Property {
    Property {
        shape: shape(schema, numbers, definitions),
        required,
        list_type: text(schema, "x-kubernetes-list-type"),
        map_keys: texts(&schema["x-kubernetes-list-map-keys"]).join(","),
        map_type: text(schema, "x-kubernetes-map-type"),
        patch_strategy: text(schema, "x-kubernetes-patch-strategy"),
        merge_key: text(schema, "x-kubernetes-patch-merge-key"),
        default: String::new(),
        zero_is_unset: false,
    }
}

fn shape(schema: &Value, numbers: &BTreeMap<&str, usize>, definitions: &Definitions) -> String {
    let reference = schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref")).and_then(Value::as_str);
    if let Some(reference) = reference {
        let name = reference.trim_start_matches("#/components/schemas/");
        return match numbers.get(name) {
            Some(number) => format!("R{number}"),
            None => leaf(name, definitions).to_owned(),
        };
    }
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("boolean"), _) => "b".into(),
        (Some("integer"), Some("int32")) => "i".into(),
        (Some("integer"), _) => "l".into(),
        (Some("number"), _) => "f".into(),
        (Some("string"), Some("byte")) => "B".into(),
        (Some("string"), _) => "s".into(),
        (Some("array"), _) => format!("[{}", shape(&schema["items"], numbers, definitions)),
        (Some("object"), _) => match schema.get("additionalProperties") {
            Some(values @ Value::Object(_)) => format!("{{{}", shape(values, numbers, definitions)),
            _ => "O".into(),
        },
        _ => "j".into(),
    }
}

/// The shape of a definition without properties.
fn leaf(name: &str, definitions: &Definitions) -> &'static str {
    match name {
        QUANTITY => "q",
        INT_OR_STRING => "o",
        "io.k8s.apimachinery.pkg.apis.meta.v1.Time" => "t",
        "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime" => "u",
        "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1" | "io.k8s.apimachinery.pkg.runtime.RawExtension" => {
            "O"
        }
        _ if name.contains(".apiextensions.v1.JSON") => "j",
        _ if definitions[name]["type"] == "object" => "O",
        _ => panic!("{name}: a definition without properties that no shape is known for"),
    }
}

/// The text that the crate embeds.
pub(crate) fn write(types: &[Type], kinds: &[Kind]) -> String {
    let mut out = String::new();
    for ty in types {
        writeln!(out, "T\t{}\t{}", ty.name, ty.map_type).expect("writing to memory does not fail");
        for (name, p) in &ty.properties {
            let (required, zero) =
                (if p.required { "!" } else { "" }, if p.zero_is_unset { "0" } else { "" });
            let fields = [
                "P",
                name,
                &p.shape,
                required,
                &p.list_type,
                &p.map_keys,
                &p.map_type,
                &p.patch_strategy,
                &p.merge_key,
                &p.default,
                zero,
            ];
            writeln!(out, "{}", fields.join("\t")).expect("writing to memory does not fail");
        }
        for f in &ty.wire {
            writeln!(out, "W\t{}\t{}\t{}\t{}", f.path, f.property, f.presence, f.form)
                .expect("writing to memory does not fail");
        }
    }
    for kind in kinds {
        let number = types
            .iter()
            .position(|ty| ty.name == kind.definition)
            .unwrap_or_else(|| panic!("{}: a kind without properties", kind.definition));
        writeln!(out, "K\t{}\t{}\t{}\t{number}", kind.group, kind.version, kind.kind)
            .expect("writing to memory does not fail");
    }
    out
}

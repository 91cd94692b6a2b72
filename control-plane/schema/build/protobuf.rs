//! Joins `facts/protobuf.tsv` with the types: which field number of the wire is which property.
//!
//! The join is complete or the build fails: every property but apiVersion and kind (which the envelope carries) has a
//! number, every number has a property, and the message type of the table is the JSON type of the definition.

use std::collections::{BTreeMap, BTreeSet};

use crate::definitions::{INT_OR_STRING, QUANTITY};
use crate::shapes::{Type, WireField};

/// Properties without a number: the envelope says them of the whole body, and nested objects have none.
const IN_ENVELOPE: [&str; 2] = ["apiVersion", "kind"];

struct Row<'a> {
    message: &'a str,
    number: u32,
    field: &'a str,
    label: &'a str,
    kind: &'a str,
    presence: &'a str,
}

impl<'a> Row<'a> {
    fn parse(line: &'a str) -> Row<'a> {
        let columns: Vec<&str> = line.split('\t').collect();
        let &[message, number, field, label, kind, presence] = columns.as_slice() else {
            panic!("facts/protobuf.tsv: six columns expected: {line:?}");
        };
        let number = number.parse().unwrap_or_else(|_| panic!("facts/protobuf.tsv: no number: {line:?}"));
        Row { message, number, field, label, kind, presence }
    }

    /// The shape that the definition must have.
    fn shape(&self, numbers: &BTreeMap<&str, usize>) -> String {
        let one = match self.kind.strip_prefix("items<").and_then(|rest| rest.strip_suffix('>')) {
            Some(item) => format!("[{}", letter(item, numbers)),
            None => letter(self.kind, numbers),
        };
        match self.label {
            "one" => one,
            "many" => format!("[{one}"),
            "map" => format!("{{{one}"),
            other => panic!("facts/protobuf.tsv: {} has the label {other:?}", self.message),
        }
    }
}

/// The shape of a field's type, as `shapes.rs` writes it.
fn letter(kind: &str, numbers: &BTreeMap<&str, usize>) -> String {
    if let Some(number) = numbers.get(kind) {
        return format!("R{number}");
    }
    let short = kind.rsplit('.').next().unwrap_or(kind);
    match (kind, short) {
        ("string", _) => "s",
        ("bool", _) => "b",
        ("int32", _) => "i",
        ("int64", _) => "l",
        ("double", _) => "f",
        ("bytes", _) => "B",
        (QUANTITY, _) => "q",
        (INT_OR_STRING, _) => "o",
        (_, "Time") => "t",
        (_, "MicroTime") => "u",
        (_, "FieldsV1" | "RawExtension" | "CustomResourceSubresourceStatus") => "O",
        (_, "JSON" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray") => {
            "j"
        }
        _ => panic!("facts/protobuf.tsv: the type {kind:?} is not known"),
    }
    .to_owned()
}

/// How the message is written where the shape does not tell; see `Form` in `src/decode/protobuf/table.rs`.
fn form(kind: &str) -> &'static str {
    match kind.rsplit('.').next() {
        _ if kind.starts_with("items<") => "i",
        Some("CustomResourceSubresourceStatus") => "e",
        Some("JSONSchemaPropsOrArray") => "a",
        Some("JSONSchemaPropsOrBool") => "b",
        Some("JSONSchemaPropsOrStringArray") => "s",
        _ => "",
    }
}

/// Fills in the `wire` of every type.
pub(crate) fn compile(table: &str, types: &mut [Type]) {
    let mut messages: BTreeMap<&str, Vec<Row<'_>>> = BTreeMap::new();
    for row in table.lines().skip(1).map(Row::parse) {
        messages.entry(row.message).or_default().push(row);
    }
    let names: Vec<String> = types.iter().map(|ty| ty.name.clone()).collect();
    let numbers = names.iter().enumerate().map(|(number, name)| (name.as_str(), number)).collect();
    for ty in types {
        let mut wire = Vec::new();
        collect(ty, &ty.name, "", &messages, &numbers, &mut wire);
        let numbered: BTreeSet<&str> =
            wire.iter().map(|f: &WireField| f.property.as_str()).chain(IN_ENVELOPE).collect();
        for property in ty.properties.keys() {
            assert!(
                numbered.contains(property.as_str()),
                "facts/protobuf.tsv: {} has no number for the property {property}",
                ty.name
            );
        }
        ty.wire = wire;
    }
}

/// The fields of `message` as properties of `ty`, those of inlined messages too.
fn collect(
    ty: &Type,
    message: &str,
    path: &str,
    messages: &BTreeMap<&str, Vec<Row<'_>>>,
    numbers: &BTreeMap<&str, usize>,
    wire: &mut Vec<WireField>,
) {
    let rows = messages.get(message).unwrap_or_else(|| panic!("facts/protobuf.tsv: nothing about {message}"));
    for row in rows {
        let path = format!("{path}{}", row.number);
        if row.label == "inline" {
            collect(ty, row.kind, &format!("{path}."), messages, numbers, wire);
            continue;
        }
        let property = ty.properties.get(row.field).unwrap_or_else(|| {
            panic!("facts/protobuf.tsv: {} has no property {} (number {path})", ty.name, row.field)
        });
        assert_eq!(
            property.shape,
            row.shape(numbers),
            "facts/protobuf.tsv: {}.{} is something else in the definitions",
            ty.name,
            row.field
        );
        wire.push(WireField {
            path,
            property: row.field.to_owned(),
            presence: row.presence.to_owned(),
            form: form(row.kind),
        });
    }
}

//! The v2 document as `openapi.v2.Document`.
//!
//! Field numbers: <https://github.com/google/gnostic/blob/main/openapiv2/OpenAPIv2.proto>. Extensions are YAML there, of which JSON is
//! a part.

use std::convert::Infallible;

use serde_json::{Map, Value};

use crate::encode::writer::{nested, put_bytes, put_tag_double, put_tag_varint};

/// Methods of a path, and their fields in PathItem.
pub(super) const METHODS: [(&str, u32); 7] =
    [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("options", 6), ("head", 7), ("patch", 8)];

/// Of Document.
const SWAGGER: u32 = 1;
const INFO: u32 = 2;
const PATHS: u32 = 8;
const DEFINITIONS: u32 = 9;

/// A document as it grows.
#[derive(Default)]
pub(super) struct Gnostic {
    paths: Vec<u8>,
    definitions: Vec<u8>,
}

impl Gnostic {
    /// A path of v2: `Paths { path = 2 }`, `NamedPathItem { name = 1, value = 2 }`.
    pub(super) fn path(&mut self, name: &str, item: &Value) {
        named(2, name, &mut self.paths, |out| path_item(item, out));
    }

    /// A definition of v2: `Definitions { additional_properties = 1 }`, `NamedSchema { name = 1, value = 2 }`.
    pub(super) fn definition(&mut self, name: &str, definition: &Value) {
        named(1, name, &mut self.definitions, |out| schema(definition, out));
    }

    pub(super) fn finish(self, title: &str, version: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.paths.len() + self.definitions.len() + 64);
        put_bytes(SWAGGER, b"2.0", &mut out);
        message(INFO, &mut out, |out| {
            put_bytes(1, title.as_bytes(), out);
            put_bytes(2, version.as_bytes(), out);
        });
        put_bytes(PATHS, &self.paths, &mut out);
        put_bytes(DEFINITIONS, &self.definitions, &mut out);
        out
    }
}

fn message(number: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let written: Result<(), Infallible> = nested(number, out, |out| {
        write(out);
        Ok(())
    });
    let Ok(()) = written;
}

/// An entry of one of the maps: a name and a value.
fn named(number: u32, name: &str, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    message(number, out, |out| {
        put_bytes(1, name.as_bytes(), out);
        message(2, out, write);
    });
}

/// Fields of an object by their keys.
struct Fields<'a>(&'a Value);

impl Fields<'_> {
    fn text(&self, key: &str, number: u32, out: &mut Vec<u8>) {
        if let Some(text) = self.0.get(key).and_then(Value::as_str) {
            put_bytes(number, text.as_bytes(), out);
        }
    }

    fn texts(&self, key: &str, number: u32, out: &mut Vec<u8>) {
        for text in self.items(key).iter().filter_map(Value::as_str) {
            put_bytes(number, text.as_bytes(), out);
        }
    }

    fn flag(&self, key: &str, number: u32, out: &mut Vec<u8>) {
        if self.0.get(key).and_then(Value::as_bool) == Some(true) {
            put_tag_varint(number, 1, out);
        }
    }

    fn whole(&self, key: &str, number: u32, out: &mut Vec<u8>) {
        if let Some(value) = self.0.get(key).and_then(Value::as_i64) {
            put_tag_varint(number, value.cast_unsigned(), out);
        }
    }

    fn double(&self, key: &str, number: u32, out: &mut Vec<u8>) {
        if let Some(value) = self.0.get(key).and_then(Value::as_f64) {
            put_tag_double(number, value, out);
        }
    }

    fn any(&self, key: &str, number: u32, out: &mut Vec<u8>) {
        if let Some(value) = self.0.get(key) {
            any(number, value, out);
        }
    }

    fn items(&self, key: &str) -> &[Value] {
        self.0.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn entries(&self, key: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.0.get(key).and_then(Value::as_object).into_iter().flat_map(Map::iter)
    }

    /// `NamedAny { name = 1, value = 2 }` of each key that begins with `x-`.
    fn extensions(&self, number: u32, out: &mut Vec<u8>) {
        let fields = self.0.as_object().into_iter().flat_map(Map::iter);
        for (name, value) in fields.filter(|(name, _)| name.starts_with("x-")) {
            message(number, out, |out| {
                put_bytes(1, name.as_bytes(), out);
                any(2, value, out);
            });
        }
    }
}

/// `Any { yaml = 2 }`
fn any(number: u32, value: &Value, out: &mut Vec<u8>) {
    message(number, out, |out| put_bytes(2, value.to_string().as_bytes(), out));
}

fn path_item(item: &Value, out: &mut Vec<u8>) {
    for (method, number) in METHODS {
        if let Some(said) = item.get(method) {
            message(number, out, |out| operation(said, out));
        }
    }
    let fields = Fields(item);
    fields.items("parameters").iter().for_each(|one| parameters_item(9, one, out));
    fields.extensions(10, out);
}

fn operation(operation: &Value, out: &mut Vec<u8>) {
    let fields = Fields(operation);
    fields.texts("tags", 1, out);
    fields.text("description", 3, out);
    fields.text("operationId", 5, out);
    fields.texts("produces", 6, out);
    fields.texts("consumes", 7, out);
    fields.items("parameters").iter().for_each(|one| parameters_item(8, one, out));
    // Responses { response_code = 1 }, of NamedResponseValue { name = 1, value = 2 }, of ResponseValue { response = 1 }.
    message(9, out, |out| {
        for (code, response) in fields.entries("responses") {
            named(1, code, out, |out| {
                message(1, out, |out| {
                    Fields(response).text("description", 1, out);
                    if let Some(said) = response.get("schema") {
                        // Response { schema = 2 }, of SchemaItem { schema = 1 }.
                        message(2, out, |out| message(1, out, |out| schema(said, out)));
                    }
                });
            });
        }
    });
    fields.flag("deprecated", 11, out);
    fields.extensions(13, out);
}

/// `ParametersItem { parameter = 1 }`, of `Parameter { body_parameter = 1, non_body_parameter = 2 }`.
fn parameters_item(number: u32, parameter: &Value, out: &mut Vec<u8>) {
    let fields = Fields(parameter);
    message(number, out, |out| {
        message(1, out, |out| match parameter.get("in").and_then(Value::as_str) {
            Some("body") => message(1, out, |out| {
                fields.text("description", 1, out);
                fields.text("name", 2, out);
                fields.text("in", 3, out);
                fields.flag("required", 4, out);
                if let Some(said) = parameter.get("schema") {
                    message(5, out, |out| schema(said, out));
                }
            }),
            // NonBodyParameter { query_parameter_sub_schema = 3, path_parameter_sub_schema = 4 }; a path's has no
            // `allow_empty_value`, so that what follows it is numbered one less.
            place => {
                let (kind, less) = if place == Some("path") { (4, 1) } else { (3, 0) };
                message(2, out, |out| {
                    message(kind, out, |out| {
                        fields.flag("required", 1, out);
                        fields.text("in", 2, out);
                        fields.text("description", 3, out);
                        fields.text("name", 4, out);
                        fields.text("type", 6 - less, out);
                        fields.text("format", 7 - less, out);
                        fields.flag("uniqueItems", 20 - less, out);
                    });
                });
            }
        });
    });
}

fn schema(said: &Value, out: &mut Vec<u8>) {
    let fields = Fields(said);
    fields.text("$ref", 1, out);
    fields.text("format", 2, out);
    fields.text("title", 3, out);
    fields.text("description", 4, out);
    fields.any("default", 5, out);
    fields.double("multipleOf", 6, out);
    fields.double("maximum", 7, out);
    fields.flag("exclusiveMaximum", 8, out);
    fields.double("minimum", 9, out);
    fields.flag("exclusiveMinimum", 10, out);
    for (key, number) in [("maxLength", 11), ("minLength", 12), ("maxItems", 14), ("minItems", 15)] {
        fields.whole(key, number, out);
    }
    fields.text("pattern", 13, out);
    fields.flag("uniqueItems", 16, out);
    fields.whole("maxProperties", 17, out);
    fields.whole("minProperties", 18, out);
    fields.texts("required", 19, out);
    fields.items("enum").iter().for_each(|one| any(20, one, out));
    match said.get("additionalProperties") {
        // AdditionalPropertiesItem { schema = 1, boolean = 2 }
        Some(Value::Bool(flag)) => message(21, out, |out| put_tag_varint(2, u64::from(*flag), out)),
        Some(inner) => message(21, out, |out| message(1, out, |out| schema(inner, out))),
        None => {}
    }
    if let Some(ty) = said.get("type").and_then(Value::as_str) {
        message(22, out, |out| put_bytes(1, ty.as_bytes(), out));
    }
    if let Some(items) = said.get("items") {
        message(23, out, |out| message(1, out, |out| schema(items, out)));
    }
    if said.get("properties").is_some() {
        message(25, out, |out| {
            for (name, property) in fields.entries("properties") {
                named(1, name, out, |out| schema(property, out));
            }
        });
    }
    fields.extensions(31, out);
}

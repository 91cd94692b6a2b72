//! OpenAPI v2 of what the v3 documents say, as JSON and as gnostic's protobuf, which is the only form that kubectl reads.
//!
//! kubectl finds kinds, their fields and merge keys in the definitions, and in the parameters of PATCH whether it may ask for a dry
//! run. Made document by document, so that the whole of them is never in memory as values.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::gnostic::{self, Gnostic};

const V3_PREFIX: &str = "#/components/schemas/";
const V2_PREFIX: &str = "#/definitions/";
const TITLE: &str = "Kubernetes";

/// The document in both encodings.
#[derive(Debug)]
pub struct V2 {
    /// JSON.
    pub json: Vec<u8>,
    /// `openapi.v2.Document` of gnostic's OpenAPIv2.proto.
    pub protobuf: Vec<u8>,
}

/// Makes the v2 document of all v3 documents, as [`super::v3_document`] makes them.
///
/// # Errors
/// A document that is not JSON.
pub fn v2_document(documents: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<V2, serde_json::Error> {
    let mut made = Parts::default();
    for document in documents {
        let mut document: Value = serde_json::from_slice(document.as_ref())?;
        if let Value::Object(paths) = document["paths"].take() {
            paths.into_iter().for_each(|(name, item)| made.path(&name, item));
        }
        if let Value::Object(schemas) = document["components"]["schemas"].take() {
            schemas.into_iter().for_each(|(name, schema)| made.definition(name, schema));
        }
    }
    Ok(made.finish())
}

#[derive(Default)]
struct Parts {
    paths: String,
    definitions: String,
    known: BTreeSet<String>,
    gnostic: Gnostic,
}

impl Parts {
    fn path(&mut self, name: &str, item: Value) {
        let item = path_item(item);
        self.gnostic.path(name, &item);
        append(&mut self.paths, name, &item);
    }

    /// Several documents have the same ones.
    fn definition(&mut self, name: String, schema: Value) {
        if self.known.contains(&name) {
            return;
        }
        let schema = definition(schema);
        self.gnostic.definition(&name, &schema);
        append(&mut self.definitions, &name, &schema);
        self.known.insert(name);
    }

    fn finish(self) -> V2 {
        let info = json!({"title": TITLE, "version": super::API_VERSION});
        let json = format!(
            r#"{{"swagger":"2.0","info":{info},"paths":{{{}}},"definitions":{{{}}}}}"#,
            self.paths, self.definitions
        );
        V2 { json: json.into_bytes(), protobuf: self.gnostic.finish(TITLE, super::API_VERSION) }
    }
}

fn append(out: &mut String, name: &str, value: &Value) {
    if !out.is_empty() {
        out.push(',');
    }
    out.push_str(&Value::from(name).to_string());
    out.push(':');
    out.push_str(&value.to_string());
}

/// A schema as v2 has it: references without a wrapping, no alternatives, nothing nullable.
pub(super) fn definition(schema: Value) -> Value {
    let Value::Object(mut schema) = schema else { return schema };
    if let Some(Value::Array(mut all)) = schema.remove("allOf") {
        // v3 may say nothing beside a reference, and wraps it to say it all the same.
        match all.pop() {
            Some(Value::Object(only)) if all.is_empty() && only.contains_key("$ref") => schema.extend(only),
            _ => {}
        }
    }
    if let Some(Value::String(reference)) = schema.get_mut("$ref")
        && let Some(name) = reference.strip_prefix(V3_PREFIX)
    {
        *reference = format!("{V2_PREFIX}{name}");
    }
    let alternatives = ["oneOf", "anyOf", "not", "nullable"].map(|key| schema.remove(key));
    if alternatives.iter().any(Option::is_some)
        && schema.get("format").and_then(Value::as_str) == Some("int-or-string")
    {
        schema.insert("type".to_owned(), "string".into());
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(key) {
            *inner = definition(inner.take());
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(|property| *property = definition(property.take()));
    }
    Value::Object(schema)
}

fn path_item(item: Value) -> Value {
    let Value::Object(item) = item else { return item };
    let converted = item.into_iter().map(|(key, value)| {
        let value = match key.as_str() {
            "parameters" => parameters(value),
            method if gnostic::METHODS.iter().any(|(known, _)| *known == method) => operation(value),
            _ => value,
        };
        (key, value)
    });
    Value::Object(converted.collect())
}

fn parameters(list: Value) -> Value {
    let Value::Array(list) = list else { return Value::Array(Vec::new()) };
    let parameter = |mut parameter: Value| {
        if let Value::Object(schema) = parameter["schema"].take()
            && let Value::Object(fields) = &mut parameter
        {
            fields.remove("schema");
            fields.extend(schema);
        }
        parameter
    };
    list.into_iter().map(parameter).collect()
}

fn operation(operation: Value) -> Value {
    let Value::Object(mut operation) = operation else { return operation };
    let mut parameters = match operation.remove("parameters").map(parameters) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    if let Some(mut body) = operation.remove("requestBody") {
        let (types, schema) = content(body["content"].take());
        let required = body.get("required").cloned().unwrap_or(Value::Bool(false));
        parameters.insert(0, json!({"name": "body", "in": "body", "required": required, "schema": schema}));
        operation.insert("consumes".to_owned(), types);
    }
    if let Some(Value::Object(responses)) = operation.get_mut("responses") {
        let mut produced = Value::Null;
        for response in responses.values_mut().filter_map(Value::as_object_mut) {
            if let Some(said) = response.remove("content") {
                let (types, schema) = content(said);
                response.insert("schema".to_owned(), schema);
                produced = types;
            }
        }
        if !produced.is_null() {
            operation.insert("produces".to_owned(), produced);
        }
    }
    operation.insert("parameters".to_owned(), Value::Array(parameters));
    Value::Object(operation)
}

/// The media types, and the schema that all of them have.
fn content(content: Value) -> (Value, Value) {
    let Value::Object(content) = content else { return (json!([]), json!({})) };
    let types = content.keys().cloned().map(Value::from).collect();
    let schema = content.into_iter().next().map(|(_, mut said)| said["schema"].take());
    (types, definition(schema.unwrap_or_else(|| Value::Object(Map::new()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_lose_what_v2_does_not_know() {
        let rows = [
            (
                json!({"description": "d", "allOf": [{"$ref": "#/components/schemas/a.B"}]}),
                json!({"description": "d", "$ref": "#/definitions/a.B"}),
            ),
            (
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
                json!({"format": "int-or-string", "type": "string"}),
            ),
            (
                json!({"properties": {"a": {"items": {"$ref": "#/components/schemas/c"}, "nullable": true}}}),
                json!({"properties": {"a": {"items": {"$ref": "#/definitions/c"}}}}),
            ),
        ];
        for (v3, v2) in rows {
            assert_eq!(definition(v3), v2);
        }
    }

    #[test]
    fn an_operation_has_its_body_among_the_parameters() {
        let v3 = json!({
            "parameters": [{"name": "dryRun", "in": "query", "schema": {"type": "string", "uniqueItems": true}}],
            "requestBody": {"required": true, "content": {"*/*": {"schema": {"$ref": "#/components/schemas/a"}}}},
            "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": {"type": "object"}}}}},
        });
        let v2 = json!({
            "parameters": [
                {"name": "body", "in": "body", "required": true, "schema": {"$ref": "#/definitions/a"}},
                {"name": "dryRun", "in": "query", "type": "string", "uniqueItems": true},
            ],
            "consumes": ["*/*"],
            "produces": ["application/json"],
            "responses": {"200": {"description": "OK", "schema": {"type": "object"}}},
        });
        assert_eq!(operation(v3), v2);
    }
}

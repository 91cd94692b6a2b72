//! A declared schema as OpenAPI publishes it: with what every object has.

use serde_json::{Map, Value, json};

const OBJECT_META: &str = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
pub(crate) const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
pub(crate) const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

pub(super) fn definition(declared: &Value, group: &str, version: &str, kind: &str) -> Value {
    let mut out = declared.as_object().cloned().unwrap_or_default();
    let properties = out.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(properties) = properties {
        properties.values_mut().for_each(publish);
        properties.insert("apiVersion".into(), json!({"description": API_VERSION, "type": "string"}));
        properties.insert("kind".into(), json!({"description": KIND, "type": "string"}));
        properties
            .insert("metadata".into(), json!({"description": METADATA, "allOf": [{"$ref": OBJECT_META}]}));
    }
    out.insert("type".into(), "object".into());
    let own = json!([{"group": group, "version": version, "kind": kind}]);
    out.insert("x-kubernetes-group-version-kind".into(), own);
    Value::Object(out)
}

/// What only a definition says: an integer or a text is `oneOf` to readers of OpenAPI, and embedded objects have what
/// all objects have.
fn publish(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    if object.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        object.remove("anyOf");
        object.insert("oneOf".into(), json!([{"type": "integer"}, {"type": "string"}]));
    }
    let embedded = object.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true));
    for key in ["items", "additionalProperties"] {
        if let Some(below) = object.get_mut(key) {
            publish(below);
        }
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(publish);
    }
    if embedded {
        let properties = object.entry("properties").or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(properties) = properties {
            properties.insert("apiVersion".into(), json!({"description": API_VERSION, "type": "string"}));
            properties.insert("kind".into(), json!({"description": KIND, "type": "string"}));
            properties.insert(
                "metadata".into(),
                json!({"description": METADATA, "allOf": [{"$ref": OBJECT_META}]}),
            );
        }
    }
}

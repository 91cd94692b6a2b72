//! What embedded objects have of every object: `apiVersion` and `kind` are texts, `metadata` has the fields of all metadata.
//!
//! As upstream's `objectmeta.Coerce`, after pruning: unknown fields of the metadata go, wherever the schema declares an
//! embedded object, though the object itself may preserve unknown fields. Whether names and labels are well formed is
//! not asked here.

use serde::de::DeserializeSeed;
use serde_json::{Map, Value};

use super::OBJECT_META;
use super::schema::{Additional, Schema};
use crate::decode::seed::Seed;
use crate::decode::trail::{Step, Trail};
use crate::decode::{Cx, FieldValidation};
use crate::field::{FieldError, Path};
use crate::types::{Schemas, TypeRef};

/// Brings the embedded objects of what a client or a webhook sent into form, and tells `cx` the unknown fields.
///
/// # Errors
/// The first value of a wrong type.
pub(super) fn coerce(schema: &Schema, object: &mut Value, cx: &Cx) -> Result<(), FieldError> {
    Walk::new(cx, Misfit::Refuse).value(schema, &Path::root(), object)
}

/// Brings the embedded objects of what was stored into form: values of a wrong type go.
pub(super) fn repair(schema: &Schema, object: &mut Value) {
    let cx = Cx::new(FieldValidation::Ignore);
    let repaired = Walk::new(&cx, Misfit::Drop).value(schema, &Path::root(), object);
    debug_assert!(repaired.is_ok(), "what does not fit is dropped");
}

/// What becomes of a value of a wrong type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Misfit {
    Refuse,
    Drop,
}

struct Walk<'c> {
    cx: &'c Cx,
    misfit: Misfit,
    metadata: TypeRef<'static>,
}

impl<'c> Walk<'c> {
    fn new(cx: &'c Cx, misfit: Misfit) -> Self {
        let metadata = Schemas::builtin().definition(OBJECT_META).expect("every table has the meta types");
        Self { cx, misfit, metadata }
    }

    fn value(&self, schema: &Schema, path: &Path, value: &mut Value) -> Result<(), FieldError> {
        if !schema.embeds {
            return Ok(());
        }
        match value {
            Value::Object(object) => {
                if schema.embedded {
                    self.embedded(path, object)?;
                }
                self.entries(schema, path, object)
            }
            Value::Array(items) => {
                let Some(below) = &schema.items else { return Ok(()) };
                let mut items = items.iter_mut().enumerate();
                items.try_for_each(|(index, item)| self.value(below, &path.index(index), item))
            }
            _ => Ok(()),
        }
    }

    fn entries(
        &self,
        schema: &Schema,
        path: &Path,
        object: &mut Map<String, Value>,
    ) -> Result<(), FieldError> {
        for (name, value) in object {
            match (schema.properties.get(name), &schema.additional) {
                (Some(below), _) => self.value(below, &path.child(name), value)?,
                (None, Some(Additional::Of(below))) => self.value(below, &path.key(name), value)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn embedded(&self, path: &Path, object: &mut Map<String, Value>) -> Result<(), FieldError> {
        for key in ["apiVersion", "kind"] {
            match object.get(key).filter(|value| !value.is_string()) {
                Some(value) if self.misfit == Misfit::Refuse => {
                    return Err(FieldError::invalid(&path.child(key), value.clone(), "must be a string"));
                }
                Some(_) => drop(object.remove(key)),
                None => {}
            }
        }
        let Some(given) = object.get_mut("metadata") else { return Ok(()) };
        let path = path.child("metadata");
        let coerced = match (self.read(&path, given), self.misfit) {
            (Ok(read), _) => read,
            (Err(why), Misfit::Refuse) => return Err(FieldError::invalid(&path, given.clone(), why)),
            (Err(_), Misfit::Drop) => match given.as_object() {
                Some(fields) => self.each_apart(&path, fields),
                // As upstream, which leaves to the next write what is no metadata at all.
                None => return Ok(()),
            },
        };
        *given = Value::Object(coerced);
        Ok(())
    }

    /// Metadata as its type has it; none where there is a null. The error is what is wrong with its first misfit.
    fn read(&self, path: &Path, given: &Value) -> Result<Map<String, Value>, String> {
        let path = path.to_string();
        let trail = Trail::ROOT;
        let read = Seed::below(self.cx, self.metadata, trail.then(Step::Key(&path))).deserialize(given);
        match read {
            Ok(Some(Value::Object(mut read))) => {
                read.retain(|name, value| !is_unset(name, value));
                Ok(read)
            }
            Ok(_) => Ok(Map::new()),
            Err(error) => Err(self.cx.take_failure().unwrap_or_else(|| error.to_string())),
        }
    }

    /// Those fields of metadata that can be read.
    fn each_apart(&self, path: &Path, fields: &Map<String, Value>) -> Map<String, Value> {
        let one = |(name, value): (&String, &Value)| {
            let alone = Map::from_iter([(name.clone(), value.clone())]);
            self.read(path, &Value::Object(alone)).unwrap_or_default()
        };
        fields.iter().flat_map(one).collect()
    }
}

/// What is not written because it says nothing. A grace period of zero does.
fn is_unset(name: &str, value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Number(number) => name == "generation" && number.as_i64() == Some(0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::custom::Custom;
    use crate::decode::{ContentType, decode};

    fn kind() -> Custom {
        let template = json!({"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string"}}}}});
        let spec = json!({"type": "object", "properties": {
            "template": template,
            "listed": {"type": "array", "items": template},
            "named": {"type": "object", "additionalProperties": template},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }});
        Custom::new("example.com", "v1", "Holder", json!({"type": "object", "properties": {"spec": spec}}))
    }

    fn template(metadata: &Value) -> Value {
        json!({"apiVersion": "foo/v1", "kind": "Sub", "metadata": metadata, "more": 1})
    }

    #[test]
    fn unknown_fields_of_metadata_go_and_are_told() {
        let custom = kind();
        let given = template(&json!({"unknown": 1, "name": "n", "namespace": "s", "labels": {"a": "b"}}));
        let kept = template(&json!({"name": "n", "namespace": "s", "labels": {"a": "b"}}));
        for (spec, expected, told) in [
            (json!({"template": given}), json!({"template": kept}), "spec.template.metadata.unknown"),
            (json!({"listed": [given]}), json!({"listed": [kept]}), "spec.listed[0].metadata.unknown"),
            (json!({"named": {"a": given}}), json!({"named": {"a": kept}}), "spec.named[a].metadata.unknown"),
            // Nobody says that this is an object.
            (json!({"free": given}), json!({"free": given}), ""),
            (
                json!({"template": template(&json!({"generateName": null, "uid": "", "labels": {"a": null}}))}),
                json!({"template": template(&json!({"labels": {"a": ""}}))}),
                "",
            ),
            (json!({"template": template(&Value::Null)}), json!({"template": template(&json!({}))}), ""),
        ] {
            let body = json!({"spec": spec}).to_string();
            let read = |validation| decode(body.as_bytes(), ContentType::Json, custom.ty(), validation);
            let warned = read(FieldValidation::Warn).expect("it is read");
            assert_eq!(warned.value["spec"], expected);
            let warnings: Vec<String> = match told {
                "" => Vec::new(),
                told => vec![format!("unknown field {told:?}")],
            };
            assert_eq!(warned.warnings, warnings);
            assert_eq!(read(FieldValidation::Strict).is_err(), !told.is_empty());
            assert_eq!(read(FieldValidation::Ignore).expect("it is read").value["spec"], expected);
        }
    }

    #[test]
    fn wrong_types_are_refused_when_sent_and_dropped_when_stored() {
        let custom = kind();
        let good = template(&json!({"name": "n"}));
        let with = |key: &str, value: Value| {
            let mut object = good.clone();
            object[key] = value;
            object
        };
        let mut no_kind = good.clone();
        no_kind.as_object_mut().expect("an object").remove("kind");
        for (given, repaired, why) in [
            (
                template(&json!({"name": "n", "annotations": 11, "unknown": 1})),
                good.clone(),
                "spec.template.metadata: Invalid value: {\"annotations\":11,\"name\":\"n\",\"unknown\":1}: json: cannot unmarshal number into Go struct field ObjectMeta.annotations of type map[string]string",
            ),
            (
                with("metadata", json!("x")),
                with("metadata", json!("x")),
                "spec.template.metadata: Invalid value: \"x\": json: cannot unmarshal string into Go value of type v1.ObjectMeta",
            ),
            (with("kind", json!(1)), no_kind, "spec.template.kind: Invalid value: 1: must be a string"),
        ] {
            let mut object = json!({"spec": {"template": given}});
            let body = object.to_string();
            let refused = decode(body.as_bytes(), ContentType::Json, custom.ty(), FieldValidation::Ignore);
            assert_eq!(refused.expect_err("it is refused").detail(), why);
            assert_eq!(custom.prune(&mut object.clone()).expect_err("it is refused").to_string(), why);
            custom.settle(&mut object);
            assert_eq!(object["spec"]["template"], repaired);
        }
    }

    #[test]
    fn apply_knows_the_metadata_of_embedded_objects() {
        let custom = kind();
        let config = |metadata: Value| json!({"spec": {"template": template(&metadata)}});
        let known = config(json!({"name": "n", "namespace": "s"}));
        assert_eq!(crate::structured::check(custom.ty(), &known), Ok(()));
        let unknown = crate::structured::check(custom.ty(), &config(json!({"unknown": 1})));
        let why = unknown.expect_err("it is refused").to_string();
        assert!(why.contains(".spec.template.metadata.unknown: field not declared in schema"), "{why}");
    }
}

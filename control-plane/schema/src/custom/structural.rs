//! What is wrong with a declared schema: the rules of structural schemas and what a definition may not say.
//!
//! Rules: "Specifying a structural schema" in the Kubernetes documentation.

use serde_json::{Map, Value};

use super::schema::Schema;
use super::{default, embedded, prune, rules, validate};
use crate::decode::{Cx, FieldValidation};
use crate::field::{FieldError, Path};

/// Deepest nesting of a declared schema.
const DEPTH_MAX: usize = 64;
/// What JSON Schema has and a definition has not.
const UNSUPPORTED: [&str; 7] =
    ["$ref", "$schema", "id", "definitions", "dependencies", "patternProperties", "additionalItems"];

/// The part of the skeleton that value validations are about.
#[derive(Clone, Copy)]
struct Declared<'a> {
    json: &'a Value,
    path: &'a Path,
}

/// Where in the structure a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// All that is wrong with a schema, and the schema as far as it could be read.
pub(super) fn check(json: &Value, path: &Path) -> (Schema, Vec<FieldError>) {
    let mut errors = Vec::new();
    if depth(json) > 2 * DEPTH_MAX {
        errors.push(FieldError::forbidden(path, format!("must not be nested deeper than {DEPTH_MAX}")));
        return (Schema::default(), errors);
    }
    let schema = Schema::read(json, path, &mut errors);
    let mut walk = Walk { errors };
    walk.skeleton(json, path, Level::Root);
    let mut schema = schema;
    if walk.errors.is_empty() {
        rules::compile(&mut schema, json, path, &mut walk.errors);
    }
    if walk.errors.is_empty() {
        walk.defaults(&schema, json, path);
    }
    walk.errors.sort_by_key(ToString::to_string);
    walk.errors.dedup();
    (schema, walk.errors)
}

fn depth(json: &Value) -> usize {
    match json {
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

struct Walk {
    errors: Vec<FieldError>,
}

fn text<'a>(json: &'a Value, key: &str) -> &'a str {
    json.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn flag(json: &Value, key: &str) -> bool {
    json.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn objects<'a>(json: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    json.get(key).and_then(Value::as_object).into_iter().flatten()
}

fn listed<'a>(json: &'a Value, key: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    json.get(key).and_then(Value::as_array).into_iter().flatten().enumerate()
}

impl Walk {
    fn forbid(&mut self, path: &Path, why: &str) {
        self.errors.push(FieldError::forbidden(path, why));
    }

    fn skeleton(&mut self, json: &Value, path: &Path, level: Level) {
        self.everywhere(json, path);
        let (ty, free) = (text(json, "type"), flag(json, "x-kubernetes-preserve-unknown-fields"));
        let (either, embedded) =
            (flag(json, "x-kubernetes-int-or-string"), flag(json, "x-kubernetes-embedded-resource"));
        let type_path = path.child("type");
        if embedded && ty != "object" {
            let why = "must be object if x-kubernetes-embedded-resource is true";
            self.errors.push(match ty {
                "" => FieldError::required(&type_path, why),
                ty => FieldError::invalid(&type_path, ty, why),
            });
        } else if ty.is_empty() && !either && !free {
            let why = match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            };
            self.errors.push(FieldError::required(&type_path, why));
        }
        if level == Level::Root && !ty.is_empty() && ty != "object" {
            self.errors.push(FieldError::invalid(&type_path, ty, "must be object at the root"));
        }
        self.extensions(json, path, level);
        if ty == "array" && json.get("items").is_none() {
            self.errors.push(FieldError::required(&path.child("items"), "must be specified"));
        }
        if let Some(items) = json.get("items") {
            self.skeleton(items, &path.child("items"), Level::Item);
        }
        for (name, below) in objects(json, "properties") {
            self.skeleton(below, &path.child("properties").key(name), Level::Field);
        }
        let additional = path.child("additionalProperties");
        match json.get("additionalProperties") {
            Some(_) if level == Level::Root => self.forbid(&additional, "must not be used at the root"),
            Some(_) if embedded => {
                self.forbid(&additional, "must not be used if x-kubernetes-embedded-resource is set");
            }
            Some(below @ Value::Object(_)) => self.skeleton(below, &additional, Level::Field),
            _ => {}
        }
        self.metadata(json, path, level == Level::Root || embedded, level);
        self.junctors(json, path, either);
    }

    /// What no schema may say, nested or not.
    fn everywhere(&mut self, json: &Value, path: &Path) {
        for key in UNSUPPORTED.iter().filter(|key| json.get(**key).is_some()) {
            self.forbid(&path.child(key), &format!("{key} is not supported"));
        }
        if flag(json, "uniqueItems") {
            let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.forbid(&path.child("uniqueItems"), why);
        }
        if json.get("items").is_some_and(Value::is_array) {
            self.forbid(&path.child("items"), "items must be a schema object and not an array");
        }
        let both = objects(json, "properties").next().is_some();
        if both && json.get("additionalProperties").is_some_and(|additional| *additional != Value::Bool(true))
        {
            let why = "additionalProperties and properties are mutual exclusive";
            self.forbid(&path.child("additionalProperties"), why);
        }
    }

    fn extensions(&mut self, json: &Value, path: &Path, level: Level) {
        let either = flag(json, "x-kubernetes-int-or-string");
        let preserve = path.child("x-kubernetes-preserve-unknown-fields");
        if json.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
            self.errors.push(FieldError::invalid(&preserve, false, "must be true or undefined"));
        }
        for key in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
            if either && flag(json, key) {
                let why = "must be false if x-kubernetes-int-or-string is true";
                self.errors.push(FieldError::invalid(&path.child(key), true, why));
            }
        }
        if either && !text(json, "type").is_empty() {
            let why = "must be empty if x-kubernetes-int-or-string is true";
            self.errors.push(FieldError::invalid(&path.child("type"), text(json, "type"), why));
        }
        let empty = objects(json, "properties").next().is_none();
        if flag(json, "x-kubernetes-embedded-resource")
            && !flag(json, "x-kubernetes-preserve-unknown-fields")
            && empty
        {
            let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
            self.errors.push(FieldError::required(&path.child("properties"), why));
        }
        if level == Level::Root && json.get("default").is_some() {
            self.forbid(&path.child("default"), "must not be set at the root");
        }
        if level == Level::Root && flag(json, "nullable") {
            self.forbid(&path.child("nullable"), "nullable cannot be true at the root");
        }
        self.list(json, path);
        let map_type = text(json, "x-kubernetes-map-type");
        if !map_type.is_empty() {
            let path = path.child("x-kubernetes-map-type");
            if !matches!(map_type, "atomic" | "granular") {
                self.errors.push(FieldError::not_supported(&path, map_type, &["atomic", "granular"]));
            } else if text(json, "type") != "object" {
                self.errors.push(FieldError::invalid(
                    &path,
                    map_type,
                    "must be object if x-kubernetes-map-type is specified",
                ));
            }
        }
    }

    fn list(&mut self, json: &Value, path: &Path) {
        let keys: Vec<&str> =
            listed(json, "x-kubernetes-list-map-keys").filter_map(|(_, key)| key.as_str()).collect();
        let (list, list_path) = (text(json, "x-kubernetes-list-type"), path.child("x-kubernetes-list-type"));
        let keys_path = path.child("x-kubernetes-list-map-keys");
        if !matches!(list, "" | "atomic" | "set" | "map") {
            self.errors.push(FieldError::not_supported(&list_path, list, &["atomic", "map", "set"]));
        }
        if !list.is_empty() && text(json, "type") != "array" {
            let why = "must be array if x-kubernetes-list-type is specified";
            self.errors.push(match text(json, "type") {
                "" => FieldError::required(&path.child("type"), why),
                ty => FieldError::invalid(&path.child("type"), ty, why),
            });
        }
        if list != "map" && !keys.is_empty() {
            let why = "must be map if x-kubernetes-list-map-keys is non-empty";
            self.errors.push(match list {
                "" => FieldError::required(&list_path, why),
                list => FieldError::invalid(&list_path, list, why),
            });
        }
        if list == "map" && keys.is_empty() {
            let why = "must not be empty if x-kubernetes-list-type is map";
            self.errors.push(FieldError::required(&keys_path, why));
        }
        let Some(items) = json.get("items") else { return };
        if list == "set" && matches!(text(items, "type"), "object" | "array") {
            let atomic = text(items, "x-kubernetes-map-type") == "atomic"
                || (text(items, "type") == "array"
                    && matches!(text(items, "x-kubernetes-list-type"), "" | "atomic"));
            if !atomic {
                let why = "items must be atomic if x-kubernetes-list-type is set";
                self.errors.push(FieldError::invalid(&path.child("items"), text(items, "type"), why));
            }
        }
        if list == "map" {
            self.list_keys(items, &keys, &path.child("items"), &keys_path);
        }
    }

    fn list_keys(&mut self, items: &Value, keys: &[&str], path: &Path, keys_path: &Path) {
        if text(items, "type") != "object" {
            let why = "must be object if parent array's x-kubernetes-list-type is map";
            self.errors.push(FieldError::invalid(&path.child("type"), text(items, "type"), why));
        }
        for (index, key) in keys.iter().enumerate() {
            let at = keys_path.index(index);
            if keys[..index].contains(key) {
                self.errors.push(FieldError::duplicate(&at, *key));
            }
            let Some(property) = items.pointer("/properties").and_then(|all| all.get(key)) else {
                let why = "entries must all be names of item properties";
                self.errors.push(FieldError::invalid(&at, *key, why));
                continue;
            };
            let path = path.child("properties").key(key);
            if matches!(text(property, "type"), "object" | "array") {
                let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                self.errors.push(FieldError::invalid(&path.child("type"), text(property, "type"), why));
            }
            if flag(property, "nullable") {
                let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                self.forbid(&path.child("nullable"), why);
            }
            let required = listed(items, "required").any(|(_, name)| name.as_str() == Some(key));
            if !required && property.get("default").is_none() {
                let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                self.errors.push(FieldError::required(&path.child("default"), why));
            }
        }
    }

    fn metadata(&mut self, json: &Value, path: &Path, resource: bool, level: Level) {
        if !resource {
            return;
        }
        for key in ["kind", "apiVersion"] {
            let declared = json.pointer("/properties").and_then(|all| all.get(key));
            if let Some(ty) = declared.map(|declared| text(declared, "type")).filter(|ty| *ty != "string") {
                let path = path.child("properties").key(key).child("type");
                self.errors.push(FieldError::invalid(&path, ty, "must be string"));
            }
        }
        let Some(metadata) = json.pointer("/properties/metadata") else { return };
        let path = path.child("properties").key("metadata");
        if text(metadata, "type") != "object" {
            self.errors.push(FieldError::invalid(
                &path.child("type"),
                text(metadata, "type"),
                "must be object",
            ));
        }
        let known = |key: &str| matches!(key, "type" | "properties" | "description");
        let more = metadata.as_object().is_some_and(|all| all.keys().any(|key| !known(key)))
            || objects(metadata, "properties")
                .any(|(name, _)| !matches!(name.as_str(), "name" | "generateName"));
        if level == Level::Root && more {
            let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            self.forbid(&path, why);
        }
    }

    fn junctors(&mut self, json: &Value, path: &Path, either: bool) {
        for key in ["allOf", "anyOf", "oneOf"] {
            // The one pattern that says in words what int-or-string says.
            let listed: Vec<_> = listed(json, key).collect();
            let pattern = either && key == "anyOf" && listed.iter().all(|(_, one)| is_type_alone(one));
            for (index, nested) in listed.into_iter().filter(|_| !pattern) {
                let first = either && key == "allOf" && index == 0;
                self.nested(nested, Declared { json, path }, &path.child(key).index(index), first);
            }
        }
        if let Some(not) = json.get("not") {
            self.nested(not, Declared { json, path }, &path.child("not"), false);
        }
    }

    /// Value validations: they restrict what the skeleton declares and declare nothing themselves.
    fn nested(&mut self, json: &Value, skeleton: Declared<'_>, path: &Path, either: bool) {
        self.everywhere(json, path);
        let empty = Map::new();
        for key in json.as_object().unwrap_or(&empty).keys() {
            let why = match key.as_str() {
                "type" | "title" | "description" | "x-kubernetes-list-map-keys" => {
                    "must be empty to be structural"
                }
                "additionalProperties"
                | "default"
                | "externalDocs"
                | "x-kubernetes-list-type"
                | "x-kubernetes-map-type" => "must be undefined to be structural",
                "nullable"
                | "x-kubernetes-preserve-unknown-fields"
                | "x-kubernetes-embedded-resource"
                | "x-kubernetes-int-or-string" => "must be false to be structural",
                "x-kubernetes-validations" => "must be empty to be structural",
                _ => continue,
            };
            self.forbid(&path.child(key), why);
        }
        for (name, below) in objects(json, "properties") {
            let (path, at) =
                (path.child("properties").key(name), skeleton.path.child("properties").key(name));
            if name == "metadata" {
                self.forbid(&path, "must not be specified in a nested context");
            }
            let declared = skeleton.json.get("properties").and_then(|all| all.get(name));
            self.nested_below(below, declared, &path, &at);
        }
        if let Some(below) = json.get("items") {
            let (path, at) = (path.child("items"), skeleton.path.child("items"));
            self.nested_below(below, skeleton.json.get("items"), &path, &at);
        }
        for key in ["allOf", "anyOf", "oneOf"] {
            let listed: Vec<_> = listed(json, key).collect();
            let pattern = either && key == "anyOf" && listed.iter().all(|(_, one)| is_type_alone(one));
            for (index, below) in listed.into_iter().filter(|_| !pattern) {
                self.nested(below, skeleton, &path.child(key).index(index), false);
            }
        }
        if let Some(not) = json.get("not") {
            self.nested(not, skeleton, &path.child("not"), false);
        }
    }

    fn nested_below(&mut self, json: &Value, declared: Option<&Value>, path: &Path, at: &Path) {
        match declared {
            Some(declared) => self.nested(json, Declared { json: declared, path: at }, path, false),
            None => self.errors.push(FieldError::required(at, format!("because it is defined in {path}"))),
        }
    }

    fn defaults(&mut self, schema: &Schema, json: &Value, path: &Path) {
        if let Some(value) = &schema.default {
            self.one_default(schema, value, &path.child("default"));
        }
        for (name, below) in &schema.properties {
            let json = json.pointer("/properties").and_then(|all| all.get(name)).unwrap_or(&Value::Null);
            self.defaults(below, json, &path.child("properties").key(name));
        }
        if let Some(items) = &schema.items {
            self.defaults(items, json.get("items").unwrap_or(&Value::Null), &path.child("items"));
        }
        if let Some(super::schema::Additional::Of(below)) = &schema.additional {
            let json = json.get("additionalProperties").unwrap_or(&Value::Null);
            self.defaults(below, json, &path.child("additionalProperties"));
        }
    }

    /// A default must hold what its schema says of it, no more and no less.
    fn one_default(&mut self, schema: &Schema, value: &Value, path: &Path) {
        let mut unknown = Vec::new();
        let mut pruned = value.clone();
        prune::prune(schema, &mut pruned, &mut |field| unknown.push(field));
        if !unknown.is_empty() {
            let why = format!("must not have unknown fields: {}", unknown.join(", "));
            self.errors.push(FieldError::invalid(path, value.clone(), why));
            return;
        }
        let coerced = embedded::coerce(schema, &mut pruned, &Cx::new(FieldValidation::Ignore));
        default::apply(schema, &mut pruned);
        for error in coerced.err().into_iter().chain(validate::validate(schema, &pruned, None)) {
            let field = if error.field == "<nil>" { path.clone() } else { path.child(&error.field) };
            self.errors.push(FieldError { field: field.to_string(), ..error });
        }
    }
}

fn is_type_alone(json: &Value) -> bool {
    json.as_object().is_some_and(|object| object.keys().all(|key| key == "type"))
        && matches!(text(json, "type"), "integer" | "string")
}

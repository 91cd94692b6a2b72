//! The schema of a custom resource as it is declared (JSONSchemaProps), read once into what is asked of it.
//!
//! One type serves both parts of a structural schema, the skeleton and the value validations under `allOf` and its like;
//! which fields may stand where is checked by `structural`. What the runtime does not need (titles, examples) is left in
//! the JSON, from which OpenAPI is made.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;
use serde_json::{Map, Value};

use super::rules::Rules;
use crate::field::{FieldError, Path};

/// A schema, or the value validations of one.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    pub(crate) kind: Option<Kind>,
    pub(crate) format: Option<Box<str>>,
    pub(crate) nullable: bool,
    pub(crate) default: Option<Value>,
    pub(crate) properties: BTreeMap<String, Schema>,
    pub(crate) additional: Option<Additional>,
    pub(crate) items: Option<Box<Schema>>,
    pub(crate) limits: Limits,
    pub(crate) required: Vec<String>,
    pub(crate) allowed: Vec<Value>,
    pub(crate) pattern: Option<Regex>,
    pub(crate) all_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) not: Option<Box<Schema>>,
    /// `x-kubernetes-preserve-unknown-fields`
    pub(crate) preserve: bool,
    /// `x-kubernetes-embedded-resource`
    pub(crate) embedded: bool,
    /// `x-kubernetes-int-or-string`
    pub(crate) int_or_string: bool,
    pub(crate) list: Option<List>,
    /// The keys of a [`List::Map`].
    pub(crate) list_keys: Vec<String>,
    /// `x-kubernetes-map-type: atomic`
    pub(crate) map_atomic: bool,
    /// `x-kubernetes-validations`, once they are compiled.
    pub(crate) rules: Option<Arc<Rules>>,
    /// Whether anything below has a default.
    pub(crate) has_defaults: bool,
    /// Whether it or anything below is an embedded object.
    pub(crate) embeds: bool,
}

/// JSON types that a schema may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

/// What may stand beside the declared properties.
#[derive(Clone, Debug)]
pub(crate) enum Additional {
    /// `true`, as good as a schema without a type.
    Any,
    /// `false`
    Nothing,
    Of(Box<Schema>),
}

/// `x-kubernetes-list-type`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Atomic,
    Set,
    Map,
}

/// Bounds of numbers, lengths and counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) minimum: Option<f64>,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) exclusive_maximum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) min_length: Option<u64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) min_properties: Option<u64>,
    pub(crate) max_properties: Option<u64>,
}

impl Kind {
    pub(crate) const NAMES: [&'static str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

    fn parse(text: &str) -> Option<Kind> {
        Some(match text {
            "object" => Kind::Object,
            "array" => Kind::Array,
            "string" => Kind::String,
            "integer" => Kind::Integer,
            "number" => Kind::Number,
            "boolean" => Kind::Boolean,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Object => "object",
            Kind::Array => "array",
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
        }
    }
}

impl Schema {
    /// Reads a declared schema. What cannot be read is told in `errors`, at its path, and left out.
    pub(crate) fn read(json: &Value, path: &Path, errors: &mut Vec<FieldError>) -> Schema {
        let empty = Map::new();
        let json = json.as_object().unwrap_or(&empty);
        let text = |key: &str| json.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let flag = |key: &str| json.get(key).and_then(Value::as_bool).unwrap_or(false);
        let texts = |key: &str| -> Vec<String> {
            let items = json.get(key).and_then(Value::as_array).into_iter().flatten();
            items.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let mut schema = Schema {
            format: text("format").map(Into::into),
            nullable: flag("nullable"),
            default: json.get("default").cloned(),
            limits: Limits::read(json),
            required: texts("required"),
            allowed: json.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            preserve: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            list_keys: texts("x-kubernetes-list-map-keys"),
            map_atomic: text("x-kubernetes-map-type") == Some("atomic"),
            ..Schema::default()
        };
        if let Some(ty) = text("type") {
            schema.kind = Kind::parse(ty);
            if schema.kind.is_none() {
                errors.push(FieldError::not_supported(&path.child("type"), ty, &Kind::NAMES));
            }
        }
        schema.list = text("x-kubernetes-list-type").and_then(|list| match list {
            "atomic" => Some(List::Atomic),
            "set" => Some(List::Set),
            "map" => Some(List::Map),
            _ => None,
        });
        if let Some(pattern) = text("pattern") {
            match Regex::new(pattern) {
                Ok(regex) => schema.pattern = Some(regex),
                Err(error) => {
                    let why = format!("must be a valid regular expression, but isn't: {error}");
                    errors.push(FieldError::invalid(&path.child("pattern"), pattern, why));
                }
            }
        }
        schema.read_below(json, path, errors);
        let has_defaults = schema.below().any(|below| below.default.is_some() || below.has_defaults);
        schema.has_defaults = has_defaults;
        let embeds = schema.embedded || schema.below().any(|below| below.embeds);
        schema.embeds = embeds;
        schema
    }

    fn read_below(&mut self, json: &Map<String, Value>, path: &Path, errors: &mut Vec<FieldError>) {
        if let Some(Value::Object(properties)) = json.get("properties") {
            for (name, property) in properties {
                let path = path.child("properties").key(name);
                self.properties.insert(name.clone(), Schema::read(property, &path, errors));
            }
        }
        self.additional = match json.get("additionalProperties") {
            Some(Value::Bool(true)) => Some(Additional::Any),
            Some(Value::Bool(false)) => Some(Additional::Nothing),
            Some(schema @ Value::Object(_)) => {
                let schema = Schema::read(schema, &path.child("additionalProperties"), errors);
                Some(Additional::Of(Box::new(schema)))
            }
            _ => None,
        };
        self.items =
            json.get("items").map(|items| Box::new(Schema::read(items, &path.child("items"), errors)));
        self.not = json.get("not").map(|not| Box::new(Schema::read(not, &path.child("not"), errors)));
        for (key, list) in
            [("allOf", &mut self.all_of), ("anyOf", &mut self.any_of), ("oneOf", &mut self.one_of)]
        {
            let schemas = json.get(key).and_then(Value::as_array).into_iter().flatten().enumerate();
            list.extend(
                schemas.map(|(index, json)| Schema::read(json, &path.child(key).index(index), errors)),
            );
        }
    }

    /// The schemas of the values below.
    pub(crate) fn below(&self) -> impl Iterator<Item = &Schema> {
        let additional = match &self.additional {
            Some(Additional::Of(schema)) => Some(&**schema),
            _ => None,
        };
        self.properties.values().chain(self.items.as_deref()).chain(additional)
    }

    /// The schema of an entry of an object: a property's, else that of the free entries.
    pub(crate) fn entry(&self, name: &str) -> Option<&Schema> {
        self.properties.get(name).or(match &self.additional {
            Some(Additional::Of(schema)) => Some(schema),
            _ => None,
        })
    }

    /// Whether a null cannot stand here.
    pub(crate) fn refuses_null(&self) -> bool {
        !self.nullable
    }
}

impl Limits {
    fn read(json: &Map<String, Value>) -> Limits {
        let number = |key: &str| json.get(key).and_then(Value::as_f64);
        let count = |key: &str| json.get(key).and_then(Value::as_u64);
        let flag = |key: &str| json.get(key).and_then(Value::as_bool).unwrap_or(false);
        Limits {
            minimum: number("minimum"),
            maximum: number("maximum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            multiple_of: number("multipleOf"),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            min_items: count("minItems"),
            max_items: count("maxItems"),
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
        }
    }
}

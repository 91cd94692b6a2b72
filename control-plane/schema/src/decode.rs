//! Bodies to values, guided by the schema: names unknown and duplicate fields and wrong types in the API server's words,
//! prunes what is unknown, drops nulls, and brings quantities and times into canonical form.
//!
//! Owns what upstream's strict JSON decoder does. Does not check whether required fields are there, as upstream does not.
//! A list or a free map that is optional and empty is dropped, as upstream's encoder does.

mod leaf;
mod protobuf;
pub(crate) mod seed;
pub(crate) mod trail;

use std::cell::{Cell, RefCell};

use serde::Deserialize;
use serde::de::DeserializeSeed;
use serde_json::{Map, Value};

use crate::custom::decode::{Plain, finish};
use crate::types::TypeRef;
pub(crate) use protobuf::{Form, Target, Wire};
use seed::Seed;
use trail::Trail;

/// Most strict errors that are collected from one body.
pub const STRICT_ERRORS_MAX: usize = 100;
/// Deepest nesting of an object; what is deeper could be written and never read again.
pub const DEPTH_MAX: usize = 120;
/// Bytes of a body that an error shows.
const SUMMARY_MAX: usize = 30;

/// How the body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// What unknown and duplicate fields lead to: the query parameter `fieldValidation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Nothing.
    Ignore,
    /// A warning each.
    #[default]
    Warn,
    /// A refusal.
    Strict,
}

/// A value in canonical form, and what to warn of.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// Always an object.
    pub value: Value,
    /// E.g. `unknown field "spec.foo"`; only with [`FieldValidation::Warn`].
    pub warnings: Vec<String>,
}

/// Why a body was refused. All are a 400 BadRequest whose message is the Display; after a patch upstream answers 422
/// instead, with [`DecodeError::detail`] as the detail of the field `patch`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or not YAML.
    #[error(
        "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; {format} parse error: {message} ({summary})"
    )]
    Syntax {
        /// The kind that was expected.
        kind: String,
        /// `json` or `yaml`.
        format: &'static str,
        /// What the parser says.
        message: String,
        /// The body's first bytes.
        summary: String,
    },
    /// Not protobuf, or not in Kubernetes' envelope.
    #[error("the object provided is unrecognized (must be of type {kind}): {message} ({summary})")]
    Unrecognized {
        /// The kind that was expected.
        kind: String,
        /// What is wrong.
        message: String,
        /// The body's first bytes.
        summary: String,
    },
    /// A value of the wrong type, or, when strict, an unknown or duplicate field.
    #[error("{kind} in version {version:?} cannot be handled as a {kind}: {message}")]
    Object {
        /// The kind that was expected.
        kind: String,
        /// Its version.
        version: String,
        /// What is wrong, naming the field.
        message: String,
    },
}

impl DecodeError {
    /// What is wrong, without the kind.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            DecodeError::Syntax { message, .. }
            | DecodeError::Unrecognized { message, .. }
            | DecodeError::Object { message, .. } => message,
        }
    }
}

/// `apiVersion` and `kind` of a body; empty where unset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TypeMeta {
    /// `v1`, `apps/v1`
    pub api_version: String,
    /// `Pod`
    pub kind: String,
}

/// Reads apiVersion and kind only, to choose the type to decode with. `expected` is the kind that an error names.
pub fn peek_type_meta(
    body: &[u8],
    content_type: ContentType,
    expected: &str,
) -> Result<TypeMeta, DecodeError> {
    let (format, read) = match content_type {
        ContentType::Json => ("json", serde_json::from_slice(body).map_err(|e| e.to_string())),
        ContentType::Yaml => {
            let read = parse_yaml(body, true)
                .and_then(|value| TypeMeta::deserialize(value).map_err(|e| e.to_string()));
            ("yaml", read)
        }
        ContentType::Protobuf => return protobuf::type_meta(body, expected),
    };
    read.map_err(|message| syntax(body, format, expected, message))
}

/// Decodes a body as `ty`.
pub fn decode(
    body: &[u8],
    content_type: ContentType,
    ty: TypeRef<'_>,
    validation: FieldValidation,
) -> Result<Decoded, DecodeError> {
    let cx = Cx::new(validation);
    if let Some(schema) = ty.custom() {
        return decode_custom(body, content_type, ty, schema, cx);
    }
    let (format, read) = match content_type {
        ContentType::Json => {
            let mut json = serde_json::Deserializer::from_slice(body);
            let read = Seed::root(&cx, ty).deserialize(&mut json);
            ("json", read.and_then(|value| json.end().map(|()| value)).map_err(|e| e.to_string()))
        }
        ContentType::Yaml => {
            let read = parse_yaml(body, true).and_then(|value| {
                if let Err(message) = parse_yaml(body, false) {
                    cx.strict(|| format!("error converting YAML to JSON: yaml: {message}"));
                }
                Seed::root(&cx, ty).deserialize(value).map_err(|e| e.to_string())
            });
            ("yaml", read)
        }
        ContentType::Protobuf => return protobuf::decode(body, ty, cx),
    };
    cx.finish(ty, read.map_err(|message| syntax(body, format, ty.kind(), message)))
}

/// A custom resource's body: any JSON, then what its schema makes of it.
fn decode_custom(
    body: &[u8],
    content_type: ContentType,
    ty: TypeRef<'_>,
    schema: &crate::custom::Schema,
    cx: Cx,
) -> Result<Decoded, DecodeError> {
    let plain = |cx| Plain { cx, trail: Trail::ROOT };
    let read = match content_type {
        ContentType::Json => {
            let mut json = serde_json::Deserializer::from_slice(body);
            let read = plain(&cx).deserialize(&mut json);
            read.and_then(|value| json.end().map(|()| value)).map_err(|e| ("json", e.to_string()))
        }
        ContentType::Yaml => parse_yaml(body, true)
            .and_then(|value| {
                if let Err(message) = parse_yaml(body, false) {
                    cx.strict(|| format!("error converting YAML to JSON: yaml: {message}"));
                }
                plain(&cx).deserialize(value).map_err(|e| e.to_string())
            })
            .map_err(|e| ("yaml", e)),
        ContentType::Protobuf => Err(("protobuf", "custom resources have no form in protobuf".to_owned())),
    };
    let value = read.map_err(|(format, message)| syntax(body, format, ty.kind(), message))?;
    finish(cx, ty, schema, value)
}

/// Reads an applied configuration, JSON or YAML, as it is: what it says of nulls and empty things counts. Its shape is
/// checked by [`crate::structured::check`]. Err is the message for the client.
pub fn decode_config(body: &[u8], validation: FieldValidation) -> Result<Decoded, String> {
    let value = parse_yaml(body, true).map_err(|error| format!("error decoding YAML: {error}"))?;
    if !value.is_object() {
        return Err("error decoding YAML: the configuration is no object".to_owned());
    }
    let strict = match validation {
        FieldValidation::Ignore => None,
        FieldValidation::Warn | FieldValidation::Strict => parse_yaml(body, false).err(),
    };
    match strict {
        Some(error) if validation == FieldValidation::Strict => {
            Err(format!("error strict decoding YAML: {error}"))
        }
        warning => Ok(Decoded { value, warnings: warning.into_iter().collect() }),
    }
}

/// Decodes a value that was parsed already, e.g. the result of a patch.
pub fn coerce(value: Value, ty: TypeRef<'_>, validation: FieldValidation) -> Result<Decoded, DecodeError> {
    let cx = Cx::new(validation);
    if !is_shallow(&value, DEPTH_MAX) {
        return cx.finish(ty, Err(syntax(b"", "json", ty.kind(), "exceeded max depth".to_owned())));
    }
    if let Some(schema) = ty.custom() {
        let plain = Plain { cx: &cx, trail: Trail::ROOT };
        let read = plain.deserialize(value).map_err(|e| syntax(b"", "json", ty.kind(), e.to_string()))?;
        return finish(cx, ty, schema, read);
    }
    let read = Seed::root(&cx, ty).deserialize(value);
    cx.finish(ty, read.map_err(|e| syntax(b"", "json", ty.kind(), e.to_string())))
}

fn is_shallow(value: &Value, depth_left: usize) -> bool {
    match value {
        Value::Array(items) => depth_left > 0 && items.iter().all(|item| is_shallow(item, depth_left - 1)),
        Value::Object(entries) => {
            depth_left > 0 && entries.values().all(|entry| is_shallow(entry, depth_left - 1))
        }
        _ => true,
    }
}

/// With `lenient`, the last of several equal keys wins; else they are an error.
fn parse_yaml(body: &[u8], lenient: bool) -> Result<Value, String> {
    use serde_saphyr::options::DuplicateKeyPolicy;
    let policy = if lenient { DuplicateKeyPolicy::LastWins } else { DuplicateKeyPolicy::Error };
    let options = serde_saphyr::options! { duplicate_keys: policy, with_snippet: false };
    let value = serde_saphyr::from_slice_with_options(body, options).map_err(|error| yaml_error(&error))?;
    if is_shallow(&value, DEPTH_MAX) { Ok(value) } else { Err("exceeded max depth".to_owned()) }
}

/// What is wrong with a text of YAML. Of a key that is there twice upstream's words are kept, for which clients search.
fn yaml_error(error: &serde_saphyr::Error) -> String {
    let duplicate = match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), location } => Some((key, location.line())),
        _ => None,
    };
    duplicate.map_or_else(
        || error.to_string(),
        |(key, line)| {
            format!(
                "error converting YAML to JSON: yaml: unmarshal errors:\n  line {line}: key {key:?} already set in map"
            )
        },
    )
}

fn syntax(body: &[u8], format: &'static str, kind: &str, message: String) -> DecodeError {
    DecodeError::Syntax { kind: kind.to_owned(), format, message, summary: summary(body) }
}

/// The first bytes of a body, as a text if it looks like JSON.
fn summary(body: &[u8]) -> String {
    let shown = &body[..body.len().min(SUMMARY_MAX)];
    let dots = if body.len() > SUMMARY_MAX { " ..." } else { "" };
    match (body.first(), std::str::from_utf8(shown)) {
        (None, _) => "<empty>".to_owned(),
        (Some(b'{'), Ok(text)) => format!("{text}{dots}"),
        _ => {
            let hex: String = shown.iter().map(|b| format!("{b:02x}")).collect();
            hex + dots
        }
    }
}

pub(crate) fn refused(ty: TypeRef<'_>, message: String) -> DecodeError {
    DecodeError::Object { kind: ty.kind().to_owned(), version: ty.version().to_owned(), message }
}

/// What one decoding collects on its way.
pub(crate) struct Cx {
    validation: FieldValidation,
    strict: RefCell<Vec<String>>,
    /// The first wrong type; decoding ends there.
    failure: Cell<Option<String>>,
}

impl Cx {
    pub(crate) fn new(validation: FieldValidation) -> Cx {
        Cx { validation, strict: RefCell::default(), failure: Cell::new(None) }
    }

    pub(crate) fn strict(&self, message: impl FnOnce() -> String) {
        let mut collected = self.strict.borrow_mut();
        if self.validation != FieldValidation::Ignore && collected.len() < STRICT_ERRORS_MAX {
            let message = message();
            if !collected.contains(&message) {
                collected.push(message);
            }
        }
    }

    /// Keeps the message and makes the parser stop.
    fn fail<E: serde::de::Error>(&self, message: String) -> E {
        self.failure.set(Some(message));
        E::custom("wrong type")
    }

    /// The message of [`Cx::fail`], after which decoding may go on elsewhere.
    pub(crate) fn take_failure(&self) -> Option<String> {
        self.failure.take()
    }

    pub(crate) fn finish(
        self,
        ty: TypeRef<'_>,
        read: Result<Option<Value>, DecodeError>,
    ) -> Result<Decoded, DecodeError> {
        if let Some(message) = self.failure.take() {
            return Err(refused(ty, message));
        }
        let value = read?.unwrap_or_else(|| Value::Object(Map::new()));
        let strict = self.strict.into_inner();
        if self.validation == FieldValidation::Strict && !strict.is_empty() {
            return Err(refused(ty, format!("strict decoding error: {}", strict.join(", "))));
        }
        Ok(Decoded { value, warnings: strict })
    }
}

#[cfg(test)]
mod tests;

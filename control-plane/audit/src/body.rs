//! Bodies of requests and answers: kept as they came over the wire, made into JSON by whoever writes the event.

use bytes::Bytes;
use flate2::read::GzDecoder;
use keelson_schema::{ContentType, FieldValidation, Schemas, decode, decode_config, peek_type_meta};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::io::Read;

/// What the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// JSON, patches among it.
    Json,
    /// YAML, applied configurations among it.
    Yaml,
    /// Kubernetes' protobuf, in its envelope.
    Protobuf,
}

impl Media {
    /// By a Content-Type; None for what holds no object.
    pub fn of(content_type: &str) -> Option<Self> {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        match media {
            "" | "application/json" => Some(Self::Json),
            "application/yaml" => Some(Self::Yaml),
            "application/vnd.kubernetes.protobuf" => Some(Self::Protobuf),
            other if other.ends_with("+json") => Some(Self::Json),
            other if other.ends_with("+yaml") => Some(Self::Yaml),
            _ => None,
        }
    }
}

/// A body. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Body {
    /// As on the wire.
    pub bytes: Bytes,
    /// What they are.
    pub media: Media,
    /// Whether they are compressed.
    pub gzip: bool,
}

/// What the event's objectRef takes from the request's object.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
}

#[derive(Deserialize)]
struct HasIdentity {
    #[serde(default)]
    metadata: Identity,
}

impl Body {
    /// The object in one line of JSON. None where the bytes are not what they should be: such a request was refused.
    pub(crate) fn json(&self, omit_managed_fields: bool) -> Option<Box<RawValue>> {
        let plain = self.plain()?;
        let is_line = self.media == Media::Json && !plain.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
        if is_line && !omit_managed_fields {
            return serde_json::from_slice(&plain).ok();
        }
        let mut value = self.value(&plain)?;
        if omit_managed_fields {
            without_managed_fields(&mut value);
        }
        serde_json::value::to_raw_value(&value).ok()
    }

    /// Which object it says it is; nothing where it cannot be read.
    pub(crate) fn identity(&self) -> Identity {
        let read = || {
            let plain = self.plain()?;
            match self.media {
                Media::Json => serde_json::from_slice::<HasIdentity>(&plain).ok(),
                Media::Yaml | Media::Protobuf => HasIdentity::deserialize(self.value(&plain)?).ok(),
            }
        };
        read().map(|object| object.metadata).unwrap_or_default()
    }

    /// The status that it is; None where it is something else.
    pub(crate) fn status(&self) -> Option<Value> {
        let value = self.value(&self.plain()?)?;
        (value["kind"] == "Status" && value["apiVersion"] == "v1").then_some(value)
    }

    fn plain(&self) -> Option<Bytes> {
        let bytes = match self.gzip {
            false => self.bytes.clone(),
            true => {
                let mut plain = Vec::with_capacity(self.bytes.len() * 8);
                GzDecoder::new(&*self.bytes).read_to_end(&mut plain).ok()?;
                Bytes::from(plain)
            }
        };
        // Answers end with a newline.
        let end = bytes.trim_ascii_end().len();
        Some(bytes.slice(..end))
    }

    fn value(&self, plain: &[u8]) -> Option<Value> {
        match self.media {
            Media::Json => serde_json::from_slice(plain).ok(),
            Media::Yaml => decode_config(plain, FieldValidation::Ignore).ok().map(|decoded| decoded.value),
            Media::Protobuf => {
                let meta = peek_type_meta(plain, ContentType::Protobuf, "object").ok()?;
                let (group, version) = meta.api_version.split_once('/').unwrap_or(("", &meta.api_version));
                let schemas = Schemas::builtin();
                let ty = match &*meta.kind {
                    "DeleteOptions" => schemas.delete_options(),
                    kind => schemas.kind(group, version, kind)?,
                };
                let decoded = decode(plain, ContentType::Protobuf, ty, FieldValidation::Ignore).ok()?;
                Some(decoded.value)
            }
        }
    }
}

/// Of an object, of each item of a list, of each row of a table.
fn without_managed_fields(value: &mut Value) {
    let remove = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    };
    remove(value);
    for item in value.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        remove(item);
    }
    for row in value.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(object) = row.get_mut("object") {
            remove(object);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &'static str, media: Media) -> Body {
        Body { bytes: Bytes::from_static(text.as_bytes()), media, gzip: false }
    }

    #[test]
    fn an_object_is_one_line_of_json_whatever_it_came_as() {
        let rows = [
            (body("{\"a\":1}\n", Media::Json), Some(r#"{"a":1}"#)),
            (body("{\n  \"a\": 1\n}", Media::Json), Some(r#"{"a":1}"#)),
            (body("a: 1\nb: [x]\n", Media::Yaml), Some(r#"{"a":1,"b":["x"]}"#)),
            (body("{\"a\":", Media::Json), None),
            (body("k8s", Media::Protobuf), None),
        ];
        for (body, wanted) in rows {
            assert_eq!(body.json(false).as_deref().map(RawValue::get), wanted, "{body:?}");
        }
    }

    #[test]
    fn managed_fields_are_left_out_of_objects_lists_and_tables() {
        let own = r#"{"metadata":{"managedFields":[1],"name":"x"}}"#;
        let text =
            format!(r#"{{"items":[{own}],"metadata":{{"managedFields":[]}},"rows":[{{"object":{own}}}]}}"#);
        let body = Body { bytes: text.into(), media: Media::Json, gzip: false };
        let cut = r#"{"metadata":{"name":"x"}}"#;
        let wanted = format!(r#"{{"items":[{cut}],"metadata":{{}},"rows":[{{"object":{cut}}}]}}"#);
        assert_eq!(body.json(true).unwrap().get(), wanted);
        assert_eq!(body.identity().name, "");
    }

    #[test]
    fn content_types_are_read_by_what_they_end_with() {
        let rows = [
            ("application/json;charset=utf-8", Some(Media::Json)),
            ("application/strategic-merge-patch+json", Some(Media::Json)),
            ("application/apply-patch+yaml", Some(Media::Yaml)),
            ("application/vnd.kubernetes.protobuf", Some(Media::Protobuf)),
            ("text/plain; charset=utf-8", None),
        ];
        for (text, wanted) in rows {
            assert_eq!(Media::of(text), wanted, "{text}");
        }
    }
}

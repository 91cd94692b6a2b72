//! Errors about one field of an object, in the words of the API server, and the paths that name fields.
//!
//! Owns the wording and the causes of `metav1.StatusCause`. Does not own the Status that carries them.

use std::fmt;

use serde_json::Value;

/// Why a field is wrong: the `reason` of a `metav1.StatusCause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Names something that does not exist.
    NotFound,
    /// Must be given.
    Required,
    /// Must be unique.
    Duplicate,
    /// Malformed or out of bounds.
    Invalid,
    /// Not one of the allowed values.
    NotSupported,
    /// Well formed, but not allowed here.
    Forbidden,
    /// Longer than allowed.
    TooLong,
    /// More items than allowed.
    TooMany,
    /// Our own failure.
    Internal,
    /// Of the wrong JSON type.
    TypeInvalid,
}

impl Cause {
    /// The text of `reason` in a StatusCause.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Cause::NotFound => "FieldValueNotFound",
            Cause::Required => "FieldValueRequired",
            Cause::Duplicate => "FieldValueDuplicate",
            Cause::Invalid => "FieldValueInvalid",
            Cause::NotSupported => "FieldValueNotSupported",
            Cause::Forbidden => "FieldValueForbidden",
            Cause::TooLong => "FieldValueTooLong",
            Cause::TooMany => "FieldValueTooMany",
            Cause::Internal => "InternalError",
            Cause::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Cause::NotFound => "Not found",
            Cause::Required => "Required value",
            Cause::Duplicate => "Duplicate value",
            Cause::Invalid | Cause::TypeInvalid => "Invalid value",
            Cause::NotSupported => "Unsupported value",
            Cause::Forbidden => "Forbidden",
            Cause::TooLong => "Too long",
            Cause::TooMany => "Too many",
            Cause::Internal => "Internal error",
        }
    }
}

/// Where a field is: `spec.containers[0].env[1].name`, `metadata.labels[app]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(String);

impl Path {
    /// Starts at a field of the object.
    pub fn new(field: impl Into<String>) -> Path {
        Path(field.into())
    }

    /// The object itself, shown as `<nil>` when nothing follows.
    #[must_use]
    pub const fn root() -> Path {
        Path(String::new())
    }

    /// A field below; `a.b` goes two down.
    #[must_use]
    pub fn child(&self, field: &str) -> Path {
        let mut text = String::with_capacity(self.0.len() + 1 + field.len());
        text.push_str(&self.0);
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(field);
        Path(text)
    }

    /// An item of a list.
    #[must_use]
    pub fn index(&self, index: usize) -> Path {
        Path(format!("{}[{index}]", self.0))
    }

    /// An entry of a map.
    #[must_use]
    pub fn key(&self, key: &str) -> Path {
        Path(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

impl From<&str> for Path {
    fn from(text: &str) -> Path {
        Path(text.to_owned())
    }
}

/// One thing that is wrong with one field. Displays as `field: what: detail`, which joined by `, ` is the message
/// of a Status with reason Invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The kind of mistake.
    pub cause: Cause,
    /// Where.
    pub field: String,
    /// All after the field: what a StatusCause has as its `message`.
    pub detail: String,
}

impl std::error::Error for FieldError {}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.detail)
    }
}

impl FieldError {
    fn build(cause: Cause, path: &Path, value: Option<&Value>, detail: &str) -> FieldError {
        let mut text = cause.words().to_owned();
        if let Some(value) = value {
            text.push_str(": ");
            text.push_str(&shown(value));
        }
        if !detail.is_empty() {
            text.push_str(": ");
            text.push_str(detail);
        }
        FieldError { cause, field: path.to_string(), detail: text }
    }

    /// Malformed, out of bounds, or changed though it must not be.
    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl AsRef<str>) -> FieldError {
        FieldError::build(Cause::Invalid, path, Some(&value.into()), detail.as_ref())
    }

    /// Missing.
    pub fn required(path: &Path, detail: impl AsRef<str>) -> FieldError {
        FieldError::build(Cause::Required, path, None, detail.as_ref())
    }

    /// Not one of `supported`, which are listed in the given order.
    pub fn not_supported<S: AsRef<str>>(path: &Path, value: impl Into<Value>, supported: &[S]) -> FieldError {
        let quoted: Vec<String> = supported.iter().map(|s| quote(s.as_ref())).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        FieldError::build(Cause::NotSupported, path, Some(&value.into()), &detail)
    }

    /// Already there.
    pub fn duplicate(path: &Path, value: impl Into<Value>) -> FieldError {
        FieldError::build(Cause::Duplicate, path, Some(&value.into()), "")
    }

    /// Not allowed here.
    pub fn forbidden(path: &Path, detail: impl AsRef<str>) -> FieldError {
        FieldError::build(Cause::Forbidden, path, None, detail.as_ref())
    }

    /// Longer than `max` bytes.
    #[must_use]
    pub fn too_long(path: &Path, max_bytes: usize) -> FieldError {
        FieldError::build(Cause::TooLong, path, None, &format!("may not be more than {max_bytes} bytes"))
    }

    /// More than `max` items.
    #[must_use]
    pub fn too_many(path: &Path, actual: usize, max: usize) -> FieldError {
        FieldError::build(
            Cause::TooMany,
            path,
            Some(&actual.into()),
            &format!("must have at most {max} items"),
        )
    }

    /// Names something that is not there.
    pub fn not_found(path: &Path, value: impl Into<Value>) -> FieldError {
        FieldError::build(Cause::NotFound, path, Some(&value.into()), "")
    }

    /// Of the wrong JSON type.
    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl AsRef<str>) -> FieldError {
        FieldError::build(Cause::TypeInvalid, path, Some(&value.into()), detail.as_ref())
    }

    /// Could not be checked, by our fault.
    pub fn internal(path: &Path, detail: impl AsRef<str>) -> FieldError {
        FieldError::build(Cause::Internal, path, None, detail.as_ref())
    }
}

/// Texts are quoted, scalars bare, and objects shown as JSON, as the server does for API types.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        other => other.to_string(),
    }
}

/// A text in double quotes with the escapes of the server's `%q`.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_read_as_the_servers() {
        let path = Path::new("spec").child("ports").index(0).child("port");
        for (error, expected) in [
            (
                FieldError::invalid(&path, 0, "must be between 1 and 65535, inclusive"),
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            ),
            (FieldError::required(&path, ""), "spec.ports[0].port: Required value"),
            (
                FieldError::not_supported(&Path::new("spec.type"), "X", &["A", "B"]),
                "spec.type: Unsupported value: \"X\": supported values: \"A\", \"B\"",
            ),
            (
                FieldError::duplicate(&Path::new("metadata.labels").key("a"), "b"),
                "metadata.labels[a]: Duplicate value: \"b\"",
            ),
            (FieldError::forbidden(&path, "no"), "spec.ports[0].port: Forbidden: no"),
            (FieldError::too_long(&path, 5), "spec.ports[0].port: Too long: may not be more than 5 bytes"),
            (FieldError::too_many(&path, 9, 5), "spec.ports[0].port: Too many: 9: must have at most 5 items"),
            (FieldError::not_found(&path, "x"), "spec.ports[0].port: Not found: \"x\""),
            (
                FieldError::invalid(
                    &Path::new("spec.selector"),
                    json!({"matchLabels": {"a": "b"}}),
                    "field is immutable",
                ),
                "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: field is immutable",
            ),
            (FieldError::required(&Path::root(), "x"), "<nil>: Required value: x"),
        ] {
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn quotes_escape() {
        assert_eq!(quote("a\"b\\\n\u{1}é"), "\"a\\\"b\\\\\\n\\x01é\"");
    }
}

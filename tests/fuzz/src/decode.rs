//! Bodies in JSON and YAML.

use crate::fixtures;
use keelson_schema::{ContentType, FieldValidation, TypeRef, decode, defaults, peek_type_meta};
use serde_json::Value;

/// A byte for the form, a byte for the kind, the body.
pub fn run(data: &[u8]) {
    let [form, kind, body @ ..] = data else { return };
    let form = if form % 2 == 0 { ContentType::Json } else { ContentType::Yaml };
    drop(peek_type_meta(body, form, "object"));
    let ty = fixtures::by(*kind).ty;
    for validation in [FieldValidation::Strict, FieldValidation::Ignore] {
        if let Ok(decoded) = decode(body, form, ty, validation) {
            settled(ty, decoded.value);
        }
    }
}

/// Canonical form decodes as itself, as it is and with its defaults.
pub(crate) fn settled(ty: TypeRef<'_>, mut value: Value) {
    same(ty, &value);
    defaults::apply(ty, &mut value);
    same(ty, &value);
    let once = value.clone();
    defaults::apply(ty, &mut value);
    assert_eq!(value, once, "defaults of what has them");
}

fn same(ty: TypeRef<'_>, value: &Value) {
    let again = decode(value.to_string().as_bytes(), ContentType::Json, ty, FieldValidation::Strict);
    let again = again.unwrap_or_else(|error| panic!("{error}: {value}"));
    assert_eq!(&again.value, value, "canonical form");
}

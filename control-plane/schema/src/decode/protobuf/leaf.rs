//! Values that are no objects of known properties: scalars, and messages that JSON writes otherwise.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keelson_semantics::timestamp;
use serde_json::Value;
use time::OffsetDateTime;

use super::message::At;
use super::reader::{Payload, Reader};
use super::table::Form;
use super::{Malformed, either, envelope, text};
use crate::types::{Shape, TypeRef};

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// Reads one value; none where JSON has null.
pub(super) fn value(
    at: At<'_>,
    ty: TypeRef<'_>,
    form: Form,
    payload: Payload<'_>,
) -> Result<Option<Value>, Malformed> {
    Ok(Some(match (ty.shape(), payload) {
        (Shape::Bool, Payload::Varint(number)) => (number != 0).into(),
        // Negative numbers stand as their two's complement in 64 bits; Go cuts what is too long.
        (Shape::Int32, Payload::Varint(number)) => Value::from(number.cast_signed() as i32),
        (Shape::Int64, Payload::Varint(number)) => number.cast_signed().into(),
        (Shape::Float, Payload::Fixed64(bits)) => f64::from_bits(bits).into(),
        (Shape::String, Payload::Bytes(bytes)) => text(bytes, || at.path())?.into(),
        (Shape::Bytes, Payload::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Shape::Quantity, Payload::Bytes(bytes)) => quantity(at, bytes)?,
        (Shape::IntOrString, Payload::Bytes(bytes)) => int_or_string(at, bytes)?,
        (Shape::Time, Payload::Bytes(bytes)) => return time(at, bytes, timestamp::format_seconds),
        (Shape::MicroTime, Payload::Bytes(bytes)) => return time(at, bytes, timestamp::format_micros),
        (Shape::Array(_), Payload::Bytes(bytes)) => items(at, ty, bytes)?,
        (Shape::Json | Shape::Opaque, Payload::Bytes(bytes)) => match form {
            Form::Empty => Value::Object(serde_json::Map::new()),
            Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => {
                return either::read(at, ty, form, bytes);
            }
            Form::Plain | Form::Items => return raw_json(at, bytes),
        },
        _ => return Err(at.wrong(payload)),
    }))
}

/// Whether a value is what Go has for a field that nobody set. Quantities are not: JSON always has them, as "0".
pub(super) fn is_zero(ty: TypeRef<'_>, value: &Value) -> bool {
    match (ty.shape(), value) {
        (Shape::Json | Shape::Opaque, _) => false,
        (_, Value::Bool(flag)) => !flag,
        (_, Value::Number(number)) => number.as_f64() == Some(0.0),
        (_, Value::String(text)) => text.is_empty(),
        (_, Value::Array(items)) => items.is_empty(),
        _ => false,
    }
}

/// `Quantity { string = 1 }`; its syntax is checked when the value is made canonical.
fn quantity(at: At<'_>, bytes: &[u8]) -> Result<Value, Malformed> {
    let mut found = Value::from("0");
    let mut reader = Reader::new(bytes);
    while let Some((number, payload)) = reader.field()? {
        if number == 1 {
            found = text(at.bytes(payload)?, || at.path())?.into();
        }
    }
    Ok(found)
}

/// `IntOrString { type = 1, intVal = 2, strVal = 3 }`; type 0 is the number, 1 the text.
fn int_or_string(at: At<'_>, bytes: &[u8]) -> Result<Value, Malformed> {
    let (mut kind, mut number, mut string) = (0, 0, String::new());
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.field()? {
        match field {
            (1, Payload::Varint(value)) => kind = value,
            (2, Payload::Varint(value)) => number = value.cast_signed() as i32,
            (3, Payload::Bytes(bytes)) => string = text(bytes, || at.path())?,
            (1..=3, payload) => return Err(at.wrong(payload)),
            _ => {}
        }
    }
    match kind {
        0 => Ok(number.into()),
        1 => Ok(string.into()),
        kind => Err(Malformed::IntOrString { kind, field: at.path() }),
    }
}

/// `Time { seconds = 1, nanos = 2 }`; an empty message is the zero time, which JSON has as null.
fn time(at: At<'_>, bytes: &[u8], format: fn(OffsetDateTime) -> String) -> Result<Option<Value>, Malformed> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.field()? {
        match field {
            (1, Payload::Varint(value)) => seconds = value.cast_signed(),
            (2, Payload::Varint(value)) => nanos = value.cast_signed() as i32,
            (1 | 2, payload) => return Err(at.wrong(payload)),
            _ => {}
        }
    }
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(seconds) * NANOS_PER_SECOND + i128::from(nanos))
        .ok()
        .filter(|time| (0..=9999).contains(&time.year()))
        .map(|time| Some(format(time).into()))
        .ok_or_else(|| Malformed::Time(at.path()))
}

/// A list as a message, e.g. `ExtraValue { items = 1 }`.
fn items(at: At<'_>, ty: TypeRef<'_>, bytes: &[u8]) -> Result<Value, Malformed> {
    let Some(inner) = ty.inner() else { return Err(at.wrong(Payload::Bytes(bytes))) };
    let mut found = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, payload)) = reader.field()? {
        if number == 1 {
            found.extend(value(at, inner, Form::Plain, payload)?);
        }
    }
    Ok(found.into())
}

/// `RawExtension`, `FieldsV1`, `JSON`: JSON text in field 1.
fn raw_json(at: At<'_>, bytes: &[u8]) -> Result<Option<Value>, Malformed> {
    let mut raw: &[u8] = &[];
    let mut reader = Reader::new(bytes);
    while let Some((number, payload)) = reader.field()? {
        if number == 1 {
            raw = at.bytes(payload)?;
        }
    }
    if raw.is_empty() {
        return Ok(None);
    }
    if raw.starts_with(envelope::PREFIX) {
        return Err(Malformed::NestedProtobuf(at.path()));
    }
    serde_json::from_slice(raw)
        .map_err(|error| Malformed::Json { field: at.path(), message: error.to_string() })
}

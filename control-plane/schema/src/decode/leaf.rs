//! Scalars: what each shape accepts, and its canonical form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keelson_semantics::{Quantity, timestamp};
use serde_json::{Number, Value};

use super::trail::{Trail, type_name};
use crate::types::{Shape, TypeRef};

/// A text where the schema expects `ty`. The error is the message for the client.
pub(super) fn text(ty: TypeRef<'_>, text: &str, trail: &Trail<'_>) -> Result<Value, String> {
    match ty.shape() {
        Shape::String | Shape::IntOrString | Shape::Json => Ok(text.into()),
        Shape::Quantity => canonical_quantity(text),
        Shape::Time => {
            timestamp::parse(text).map(|t| timestamp::format_seconds(t).into()).map_err(|e| e.to_string())
        }
        Shape::MicroTime => {
            timestamp::parse(text).map(|t| timestamp::format_micros(t).into()).map_err(|e| e.to_string())
        }
        Shape::Bytes => canonical_base64(text),
        _ => Err(trail.mismatch("string", &type_name(ty))),
    }
}

fn canonical_quantity(text: &str) -> Result<Value, String> {
    let quantity: Quantity =
        text.trim().parse().map_err(|e: keelson_semantics::quantity::QuantityError| e.to_string())?;
    Ok(quantity.to_string().into())
}

/// Line breaks are allowed and dropped.
fn canonical_base64(text: &str) -> Result<Value, String> {
    let joined: String;
    let text = if text.contains(['\n', '\r']) {
        joined = text.replace(['\n', '\r'], "");
        &joined
    } else {
        text
    };
    match STANDARD.decode(text) {
        Ok(_) => Ok(text.into()),
        Err(error) => Err(format!("illegal base64 data at input byte {}", offset(&error, text))),
    }
}

fn offset(error: &base64::DecodeError, text: &str) -> usize {
    match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => text.len() & !3,
    }
}

/// A whole number where the schema expects `ty`.
pub(super) fn integer(ty: TypeRef<'_>, number: Number, trail: &Trail<'_>) -> Result<Value, String> {
    let fits_32 = number.as_i64().is_some_and(|n| i32::try_from(n).is_ok());
    match ty.shape() {
        Shape::Int32 if fits_32 => Ok(number.into()),
        Shape::Int64 if number.is_i64() => Ok(number.into()),
        Shape::Int32 | Shape::Int64 => Err(trail.mismatch(&format!("number {number}"), &type_name(ty))),
        Shape::Float | Shape::Json => Ok(number.into()),
        Shape::Quantity => canonical_quantity(&number.to_string()),
        Shape::IntOrString if fits_32 => Ok(number.into()),
        Shape::IntOrString => {
            Err(format!("json: cannot unmarshal number {number} into Go value of type int32"))
        }
        Shape::Time | Shape::MicroTime => {
            Err("json: cannot unmarshal number into Go value of type string".into())
        }
        _ => Err(trail.mismatch("number", &type_name(ty))),
    }
}

/// A number with a fraction or an exponent.
pub(super) fn float(ty: TypeRef<'_>, number: f64, trail: &Trail<'_>) -> Result<Value, String> {
    match ty.shape() {
        Shape::Float | Shape::Json => Ok(number.into()),
        Shape::Quantity => canonical_quantity(&number.to_string()),
        Shape::Int32 | Shape::Int64 => Err(trail.mismatch(&format!("number {number:?}"), &type_name(ty))),
        Shape::IntOrString => {
            Err(format!("json: cannot unmarshal number {number:?} into Go value of type int32"))
        }
        Shape::Time | Shape::MicroTime => {
            Err("json: cannot unmarshal number into Go value of type string".into())
        }
        _ => Err(trail.mismatch("number", &type_name(ty))),
    }
}

/// `true` or `false`.
pub(super) fn boolean(ty: TypeRef<'_>, value: bool, trail: &Trail<'_>) -> Result<Value, String> {
    match ty.shape() {
        Shape::Bool | Shape::Json => Ok(value.into()),
        _ => Err(misplaced(ty, "bool", trail)),
    }
}

/// A bool, list or object where a scalar is expected; the shapes with a decoder of their own upstream have their own words.
pub(super) fn misplaced(ty: TypeRef<'_>, found: &str, trail: &Trail<'_>) -> String {
    match ty.shape() {
        Shape::Quantity => keelson_semantics::quantity::QuantityError::Format.to_string(),
        Shape::IntOrString => format!("json: cannot unmarshal {found} into Go value of type int32"),
        Shape::Time | Shape::MicroTime => {
            format!("json: cannot unmarshal {found} into Go value of type string")
        }
        _ => trail.mismatch(found, &type_name(ty)),
    }
}

/// What a null inside a list or a map stands for: upstream's zero value.
pub(super) fn zero(ty: TypeRef<'_>) -> Value {
    match ty.shape() {
        Shape::Bool => false.into(),
        Shape::Int32 | Shape::Int64 | Shape::Float | Shape::IntOrString => 0.into(),
        Shape::String | Shape::Bytes => "".into(),
        Shape::Quantity => "0".into(),
        Shape::Array(_) => Value::Array(Vec::new()),
        Shape::Object(_) | Shape::Map(_) | Shape::Opaque => Value::Object(serde_json::Map::new()),
        Shape::Json | Shape::Free | Shape::Time | Shape::MicroTime => Value::Null,
    }
}

//! Values that are no objects of known properties: scalars, and what JSON writes otherwise than its message.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keelson_semantics::timestamp;
use serde_json::Value;

use super::Unfit;
use super::writer::{nested, put_bytes, put_tag_double, put_tag_varint};
use crate::types::Shape;

pub(super) fn put(shape: Shape, number: u32, value: &Value, out: &mut Vec<u8>) -> Result<(), Unfit> {
    match (shape, value) {
        (Shape::Bool, Value::Bool(flag)) => put_tag_varint(number, u64::from(*flag), out),
        // Negative numbers stand as their two's complement in 64 bits.
        (Shape::Int32 | Shape::Int64, value) => {
            put_tag_varint(number, value.as_i64().ok_or(Unfit)?.cast_unsigned(), out);
        }
        (Shape::Float, value) => put_tag_double(number, value.as_f64().ok_or(Unfit)?, out),
        (Shape::String, Value::String(text)) => put_bytes(number, text.as_bytes(), out),
        (Shape::Bytes, Value::String(text)) => {
            put_bytes(number, &STANDARD.decode(text).map_err(|_| Unfit)?, out);
        }
        // `Quantity { string = 1 }`
        (Shape::Quantity, Value::String(text)) => nested(number, out, |out| {
            put_bytes(1, text.as_bytes(), out);
            Ok(())
        })?,
        (Shape::IntOrString, value) => nested(number, out, |out| int_or_string(value, out))?,
        // In a list or a map, where null is the zero time.
        (Shape::Time | Shape::MicroTime, Value::Null) => nested(number, out, |_| Ok(()))?,
        (Shape::Time | Shape::MicroTime, Value::String(text)) => nested(number, out, |out| time(text, out))?,
        // `RawExtension`, `FieldsV1`, `JSON`: JSON text in field 1.
        (Shape::Json | Shape::Opaque, value) => nested(number, out, |out| {
            put_bytes(1, value.to_string().as_bytes(), out);
            Ok(())
        })?,
        _ => return Err(Unfit),
    }
    Ok(())
}

/// `IntOrString { type = 1, intVal = 2, strVal = 3 }`; type 0 is the number, 1 the text.
fn int_or_string(value: &Value, out: &mut Vec<u8>) -> Result<(), Unfit> {
    if let Value::String(text) = value {
        put_tag_varint(1, 1, out);
        put_bytes(3, text.as_bytes(), out);
        return Ok(());
    }
    let number = value.as_i64().ok_or(Unfit)?;
    put_tag_varint(1, 0, out);
    put_tag_varint(2, number.cast_unsigned(), out);
    Ok(())
}

/// `Time { seconds = 1, nanos = 2 }`
fn time(text: &str, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let time = timestamp::parse(text).map_err(|_| Unfit)?;
    put_tag_varint(1, time.unix_timestamp().cast_unsigned(), out);
    put_tag_varint(2, u64::from(time.nanosecond()), out);
    Ok(())
}

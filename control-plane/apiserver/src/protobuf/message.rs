//! One message to one JSON object, by the table.

use super::{
    ProtobufError, special,
    table::{self, FieldFacts, Label, MessageFacts},
    wire::{Field, Reader},
    zero,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

/// Messages within messages; the API's own deepest is a quarter of it.
const DEPTH_MAX: usize = 64;

/// Reads a message.
pub(super) fn read(
    message: &'static MessageFacts,
    bytes: &[u8],
    depth: usize,
) -> Result<Value, ProtobufError> {
    if depth > DEPTH_MAX {
        return Err(ProtobufError::Malformed("messages are nested too deeply"));
    }
    let mut object = Map::new();
    let mut list: Option<Vec<Value>> = None;
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        let field =
            message.field(number).ok_or(ProtobufError::UnknownField { message: message.name, number })?;
        match field.label {
            Label::Itself => {
                list.get_or_insert_default().push(value(message, field, field.kind, wire, depth)?)
            }
            Label::One => {
                let value = value(message, field, field.kind, wire, depth)?;
                if !zero::is_dropped(field.name, &value) {
                    object.insert(field.name.to_owned(), value);
                }
            }
            Label::Inline => {
                if let Value::Object(inner) = value(message, field, field.kind, wire, depth)? {
                    object.extend(inner);
                }
            }
            Label::Many => {
                let value = value(message, field, field.kind, wire, depth)?;
                if let Value::Array(items) =
                    object.entry(field.name).or_insert_with(|| Value::Array(Vec::new()))
                {
                    items.push(value);
                }
            }
            Label::Map => {
                let (key, value) = entry(message, field, wire, depth)?;
                if let Value::Object(map) =
                    object.entry(field.name).or_insert_with(|| Value::Object(Map::new()))
                {
                    map.insert(key, value);
                }
            }
        }
    }
    let is_list = message.fields.first().is_some_and(|field| field.label == Label::Itself);
    Ok(if is_list { Value::Array(list.unwrap_or_default()) } else { Value::Object(object) })
}

/// A map's entry is a message of its key (1) and its value (2), either absent when empty.
fn entry(
    message: &'static MessageFacts,
    field: &FieldFacts,
    wire: Field<'_>,
    depth: usize,
) -> Result<(String, Value), ProtobufError> {
    let Field::Bytes(bytes) = wire else {
        return Err(ProtobufError::Malformed("a map's entry is no message"));
    };
    let (mut key, mut found) = (String::new(), None);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        match (number, wire) {
            (1, Field::Bytes(bytes)) => key = String::from_utf8_lossy(bytes).into_owned(),
            (2, wire) => found = Some(value(message, field, field.kind, wire, depth)?),
            _ => return Err(ProtobufError::Malformed("a map's entry has more than a key and a value")),
        }
    }
    let value = match found {
        Some(value) => value,
        None => value(message, field, field.kind, Field::Bytes(&[]), depth)?,
    };
    Ok((key, value))
}

fn value(
    message: &'static MessageFacts,
    field: &FieldFacts,
    kind: &'static str,
    wire: Field<'_>,
    depth: usize,
) -> Result<Value, ProtobufError> {
    let refused = |why: String| ProtobufError::Field { message: message.name, field: field.name, why };
    match (kind, wire) {
        ("string", Field::Bytes(bytes)) => {
            std::str::from_utf8(bytes).map(Value::from).map_err(|error| refused(error.to_string()))
        }
        ("bytes", Field::Bytes(bytes)) => Ok(Value::from(STANDARD.encode(bytes))),
        ("bool", Field::Varint(number)) => Ok(Value::from(number != 0)),
        // Negative numbers stand as their two's complement in 64 bits.
        ("int", Field::Varint(number)) => Ok(Value::from(number.cast_signed())),
        ("double", Field::Fixed64(bits)) => Ok(Value::from(f64::from_bits(bits))),
        (_, Field::Bytes(bytes)) if kind.contains('.') => match special::read(kind, bytes)? {
            Some(value) => value.map_err(refused),
            None => match table::message(kind) {
                Some(inner) => read(inner, bytes, depth + 1),
                // A message without fields has no rows.
                None => Ok(Value::Object(Map::new())),
            },
        },
        _ => Err(refused(format!("its wire type does not fit {kind}"))),
    }
}

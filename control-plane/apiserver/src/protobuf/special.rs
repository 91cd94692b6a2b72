//! Messages that are no objects in JSON: quantities, times, int-or-string, raw JSON.

use super::{
    ProtobufError,
    wire::{Field, Reader},
};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

/// Reads a special message; None when `kind` is an ordinary one. The inner error is for the field.
pub(super) fn read(kind: &str, bytes: &[u8]) -> Result<Option<Result<Value, String>>, ProtobufError> {
    Ok(Some(match kind {
        "api.resource.Quantity" | "api.resource.QuantityValue" => Ok(Value::from(text(bytes, 1)?)),
        "util.intstr.IntOrString" => int_or_string(bytes)?,
        "meta.v1.Time" | "meta.v1.Timestamp" => time(bytes, false)?,
        "meta.v1.MicroTime" => time(bytes, true)?,
        "meta.v1.Duration" => Ok(duration(bytes)?),
        "meta.v1.FieldsV1" | "runtime.RawExtension" => raw_json(bytes)?,
        _ => return Ok(None),
    }))
}

fn text(bytes: &[u8], wanted: u64) -> Result<String, ProtobufError> {
    let mut found = String::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        if let (true, Field::Bytes(bytes)) = (number == wanted, field) {
            found = String::from_utf8_lossy(bytes).into_owned();
        }
    }
    Ok(found)
}

/// The first two integers of a message.
fn integers(bytes: &[u8]) -> Result<[i64; 2], ProtobufError> {
    let mut found = [0; 2];
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        if let (1 | 2, Field::Varint(value)) = (number, field) {
            found[usize::from(number == 2)] = value.cast_signed();
        }
    }
    Ok(found)
}

/// `type` 0 is the integer, 1 the text.
fn int_or_string(bytes: &[u8]) -> Result<Result<Value, String>, ProtobufError> {
    let [kind, number] = integers(bytes)?;
    Ok(match kind {
        0 => Ok(Value::from(number)),
        1 => Ok(Value::from(text(bytes, 3)?)),
        other => Err(format!("{other} is neither an integer nor a text")),
    })
}

/// An empty message is the zero time, which JSON has as null.
fn time(bytes: &[u8], micros: bool) -> Result<Result<Value, String>, ProtobufError> {
    if bytes.is_empty() {
        return Ok(Ok(Value::Null));
    }
    let [seconds, nanos] = integers(bytes)?;
    let instant = i128::from(seconds) * 1_000_000_000 + if micros { i128::from(nanos) } else { 0 };
    let written = OffsetDateTime::from_unix_timestamp_nanos(instant)
        .map_err(|error| error.to_string())
        .and_then(|instant| {
            let text = if micros {
                instant.format(format_description!(
                    "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
                ))
            } else {
                instant.format(&Rfc3339)
            };
            text.map(Value::from).map_err(|error| error.to_string())
        });
    Ok(written)
}

/// Nanoseconds, written as seconds the way Go reads them.
fn duration(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let [nanos, _] = integers(bytes)?;
    let (sign, nanos) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let (whole, part) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let fraction = if part == 0 { String::new() } else { format!(".{part:09}") };
    Ok(Value::from(format!("{sign}{whole}{fraction}s")))
}

fn raw_json(bytes: &[u8]) -> Result<Result<Value, String>, ProtobufError> {
    let mut found = Ok(Value::Null);
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        if let (1, Field::Bytes([_, ..])) = (number, field)
            && let Field::Bytes(raw) = field
        {
            found = serde_json::from_slice(raw).map_err(|error| error.to_string());
        }
    }
    Ok(found)
}

//! Conversions: `int(x)`, `string(x)` and so on.

use super::{Args, Row, time as clock};
use crate::EvalError;
use crate::value::Value;

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

pub(crate) const ROWS: &[Row] = &[
    (
        "int",
        &[
            "(int) -> int",
            "(uint) -> int",
            "(double) -> int",
            "(string) -> int",
            "(timestamp) -> int",
            "(duration) -> int",
        ],
        int,
    ),
    ("uint", &["(uint) -> uint", "(int) -> uint", "(double) -> uint", "(string) -> uint"], uint),
    (
        "double",
        &["(double) -> double", "(int) -> double", "(uint) -> double", "(string) -> double"],
        |args| match &args.values[0] {
            Value::Double(value) => Ok(Value::Double(*value)),
            Value::Int(value) => Ok(Value::Double(*value as f64)),
            Value::Uint(value) => Ok(Value::Double(*value as f64)),
            Value::String(text) => text.parse().map(Value::Double).map_err(|_| {
                EvalError::other(format!("strconv.ParseFloat: parsing {:?}: invalid syntax", &**text))
            }),
            _ => Err(EvalError::NoOverload),
        },
    ),
    ("bool", &["(bool) -> bool", "(string) -> bool"], |args| match &args.values[0] {
        Value::Bool(value) => Ok(Value::Bool(*value)),
        Value::String(text) => match &**text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
            other => Err(EvalError::other(format!("strconv.ParseBool: parsing {other:?}: invalid syntax"))),
        },
        _ => Err(EvalError::NoOverload),
    }),
    ("bytes", &["(bytes) -> bytes", "(string) -> bytes"], |args| match &args.values[0] {
        Value::Bytes(bytes) => Ok(Value::Bytes(bytes.clone())),
        Value::String(text) => {
            args.meter.walk(text.len())?;
            Ok(Value::Bytes(text.as_bytes().into()))
        }
        _ => Err(EvalError::NoOverload),
    }),
    (
        "string",
        &[
            "(string) -> string",
            "(int) -> string",
            "(uint) -> string",
            "(double) -> string",
            "(bool) -> string",
            "(bytes) -> string",
            "(timestamp) -> string",
            "(duration) -> string",
            "(IP) -> string",
            "(CIDR) -> string",
        ],
        string,
    ),
];

fn int<'a>(args: &mut Args<'_, '_, 'a>) -> Result<'a> {
    Ok(Value::Int(match &args.values[0] {
        Value::Int(value) => *value,
        Value::Uint(value) => i64::try_from(*value).map_err(|_| EvalError::Overflow)?,
        Value::Double(value) if value.is_finite() && value.abs() < 9_223_372_036_854_775_807.0 => {
            *value as i64
        }
        Value::Double(_) => return Err(EvalError::Overflow),
        Value::String(text) => text.parse().map_err(|_| {
            EvalError::other(format!("strconv.ParseInt: parsing {:?}: invalid syntax", &**text))
        })?,
        Value::Timestamp(time) => time.unix_timestamp(),
        Value::Duration(nanos) => *nanos,
        _ => return Err(EvalError::NoOverload),
    }))
}

fn uint<'a>(args: &mut Args<'_, '_, 'a>) -> Result<'a> {
    Ok(Value::Uint(match &args.values[0] {
        Value::Uint(value) => *value,
        Value::Int(value) => u64::try_from(*value).map_err(|_| EvalError::Overflow)?,
        Value::Double(value) if *value >= 0.0 && *value < 18_446_744_073_709_551_615.0 => *value as u64,
        Value::Double(_) => return Err(EvalError::Overflow),
        Value::String(text) => text.parse().map_err(|_| {
            EvalError::other(format!("strconv.ParseUint: parsing {:?}: invalid syntax", &**text))
        })?,
        _ => return Err(EvalError::NoOverload),
    }))
}

fn string<'a>(args: &mut Args<'_, '_, 'a>) -> Result<'a> {
    Ok(match &args.values[0] {
        text @ Value::String(_) => text.clone(),
        Value::Int(value) => Value::text(value.to_string()),
        Value::Uint(value) => Value::text(value.to_string()),
        Value::Double(value) => Value::text(double_text(*value)),
        Value::Bool(value) => Value::text(value.to_string()),
        Value::Bytes(bytes) => {
            args.meter.walk(bytes.len())?;
            let text = std::str::from_utf8(bytes);
            Value::text(
                text.map_err(|_| EvalError::other("invalid UTF-8 in bytes, cannot convert to string"))?,
            )
        }
        Value::Timestamp(time) => Value::text(clock::timestamp_text(*time)),
        Value::Duration(nanos) => Value::text(clock::duration_text(*nanos)),
        Value::Ip(ip) => Value::text(ip.to_string()),
        Value::Cidr(cidr) => Value::text(cidr.to_string()),
        _ => return Err(EvalError::NoOverload),
    })
}

/// Go's `%g`: the fewest digits; with an exponent below 1e-04 and from 1e+06 on.
pub(crate) fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

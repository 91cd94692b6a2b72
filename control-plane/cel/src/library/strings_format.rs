//! `"%s is %d".format([a, b])`, of the strings extension.

use super::convert::double_text;
use super::{Args, time as clock};
use crate::EvalError;
use crate::value::{List, Value};

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

/// Digits behind the point where none are asked for.
const PRECISION: usize = 6;
/// Digits behind the point that may be asked for.
const PRECISION_MAX: usize = 100;

pub(crate) fn format<'a>(args: &mut Args<'_, '_, 'a>) -> Result<'a> {
    let [Value::String(pattern), Value::List(list)] = args.values else { return Err(EvalError::NoOverload) };
    let mut written = String::new();
    let mut next = 0;
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        args.meter.walk(1)?;
        if c != '%' {
            written.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            written.push('%');
            continue;
        }
        let mut precision = PRECISION;
        if chars.next_if_eq(&'.').is_some() {
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            precision = digits
                .parse()
                .ok()
                .filter(|precision| *precision <= PRECISION_MAX)
                .ok_or_else(|| EvalError::other("error during formatting: invalid precision"))?;
        }
        let clause = chars.next().ok_or_else(|| EvalError::other("unexpected end of string"))?;
        let value = list.get(next).ok_or_else(|| EvalError::other(format!("index {next} out of range")))?;
        next += 1;
        let part = one(clause, precision, &value)?;
        args.meter.walk(part.len())?;
        written.push_str(&part);
    }
    Ok(Value::text(written))
}

fn one(clause: char, precision: usize, value: &Value<'_>) -> std::result::Result<String, EvalError> {
    let wrong = || {
        let ty = value.type_of();
        EvalError::other(format!(
            "error during formatting: %{clause} clause cannot take a value of type {ty}"
        ))
    };
    Ok(match (clause, value) {
        ('s', value) => text(value, 0).ok_or_else(wrong)?,
        ('d', Value::Int(value)) => value.to_string(),
        ('d', Value::Uint(value)) => value.to_string(),
        ('d', Value::Double(value)) if !value.is_finite() => double_text(*value),
        ('f', Value::Double(value)) => format!("{value:.precision$}"),
        ('f', Value::Int(value)) => format!("{:.precision$}", *value as f64),
        ('f', Value::Uint(value)) => format!("{:.precision$}", *value as f64),
        ('e', Value::Double(value)) => {
            let written = format!("{value:.precision$e}");
            let (digits, exponent) = written.split_once('e').ok_or_else(wrong)?;
            let exponent: i32 = exponent.parse().map_err(|_| wrong())?;
            format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
        }
        ('b', Value::Bool(value)) => u8::from(*value).to_string(),
        ('b', Value::Int(value)) => signed(*value, |value| format!("{value:b}")),
        ('b', Value::Uint(value)) => format!("{value:b}"),
        ('o', Value::Int(value)) => signed(*value, |value| format!("{value:o}")),
        ('o', Value::Uint(value)) => format!("{value:o}"),
        ('x', Value::Int(value)) => signed(*value, |value| format!("{value:x}")),
        ('x', Value::Uint(value)) => format!("{value:x}"),
        ('X', Value::Int(value)) => signed(*value, |value| format!("{value:X}")),
        ('X', Value::Uint(value)) => format!("{value:X}"),
        ('x' | 'X', Value::String(text)) => hex(text.as_bytes(), clause == 'X'),
        ('x' | 'X', Value::Bytes(bytes)) => hex(bytes, clause == 'X'),
        ('d' | 'f' | 'e' | 'b' | 'o' | 'x' | 'X', _) => return Err(wrong()),
        _ => {
            return Err(EvalError::other(format!(
                "could not parse formatting clause: unrecognized formatting clause {clause:?}"
            )));
        }
    })
}

fn signed(value: i64, digits: fn(u64) -> String) -> String {
    let digits = digits(value.unsigned_abs());
    if value < 0 { format!("-{digits}") } else { digits }
}

fn hex(bytes: &[u8], upper: bool) -> String {
    let digits = |byte: &u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
    bytes.iter().map(digits).collect()
}

/// How deep `%s` goes into lists and maps.
const DEPTH_MAX: usize = 32;

fn text(value: &Value<'_>, depth: usize) -> Option<String> {
    if depth > DEPTH_MAX {
        return None;
    }
    Some(match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => double_text(*value),
        Value::String(text) => text.to_string(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Duration(nanos) => clock::duration_text(*nanos),
        Value::Timestamp(time) => clock::timestamp_text(*time),
        Value::Type(ty) => ty.to_string(),
        Value::List(list) => format!("[{}]", items(list, depth)?.join(", ")),
        Value::Map(map) => {
            let mut pairs = Vec::new();
            for key in map.keys() {
                let value = map.get(&key.key()?)?;
                pairs.push(format!("{}: {}", text(&key, depth + 1)?, text(&value, depth + 1)?));
            }
            pairs.sort();
            format!("{{{}}}", pairs.join(", "))
        }
        _ => return None,
    })
}

fn items(list: &List<'_>, depth: usize) -> Option<Vec<String>> {
    list.iter().map(|item| text(&item, depth + 1)).collect()
}

//! Optional values. `optMap` and `?.` are syntax and not here.

use super::{Args, Row};
use crate::EvalError;
use crate::value::{List, Map, Value};

pub(crate) const ROWS: &[Row] = &[
    ("optional.of", &["(A) -> optional(A)"], |args| Ok(Value::some(args.values[0].clone()))),
    ("optional.none", &["() -> optional(A)"], |_| Ok(Value::Optional(None))),
    ("optional.ofNonZeroValue", &["(A) -> optional(A)"], |args| {
        let value = &args.values[0];
        Ok(if is_zero(value) { Value::Optional(None) } else { Value::some(value.clone()) })
    }),
    ("hasValue", &["optional(A).() -> bool"], |args| Ok(Value::Bool(inner(args)?.is_some()))),
    ("value", &["optional(A).() -> A"], |args| inner(args)?.ok_or(EvalError::None)),
    ("orValue", &["optional(A).(A) -> A"], |args| Ok(inner(args)?.unwrap_or_else(|| args.values[1].clone()))),
    ("or", &["optional(A).(optional(A)) -> optional(A)"], |args| {
        Ok(inner(args)?.map_or_else(|| args.values[1].clone(), Value::some))
    }),
];

fn inner<'a>(args: &Args<'_, '_, 'a>) -> std::result::Result<Option<Value<'a>>, EvalError> {
    match args.values {
        [Value::Optional(value), ..] => Ok(value.as_ref().map(|value| value.as_ref().clone())),
        _ => Err(EvalError::NoOverload),
    }
}

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null
        | Value::Bool(false)
        | Value::Int(0)
        | Value::Uint(0)
        | Value::Duration(0)
        | Value::Optional(None) => true,
        Value::Double(value) => *value == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(list) => List::len(list) == 0,
        Value::Map(map) => Map::len(map) == 0,
        _ => false,
    }
}

//! Operators, `size`, `type`, `dyn`.

use super::{Args, Row};
use crate::EvalError;
use crate::compare::{contains, equal, order};
use crate::eval::joined;
use crate::value::{Text, Value};
use std::cmp::Ordering;
use time::Duration;

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

const ORDERED: &[&str] = &[
    "(bool, bool) -> bool",
    "(int, int) -> bool",
    "(int, uint) -> bool",
    "(int, double) -> bool",
    "(uint, uint) -> bool",
    "(uint, int) -> bool",
    "(uint, double) -> bool",
    "(double, double) -> bool",
    "(double, int) -> bool",
    "(double, uint) -> bool",
    "(string, string) -> bool",
    "(bytes, bytes) -> bool",
    "(timestamp, timestamp) -> bool",
    "(duration, duration) -> bool",
];

pub(crate) const ROWS: &[Row] = &[
    ("_==_", &["(A, A) -> bool"], |args| match args.values {
        [a, b] => Ok(Value::Bool(equal(a, b, args.meter)?)),
        _ => Err(EvalError::NoOverload),
    }),
    ("_!=_", &["(A, A) -> bool"], |args| match args.values {
        [a, b] => Ok(Value::Bool(!equal(a, b, args.meter)?)),
        _ => Err(EvalError::NoOverload),
    }),
    ("_<_", ORDERED, |args| ordered(args, |order| order == Ordering::Less)),
    ("_<=_", ORDERED, |args| ordered(args, |order| order != Ordering::Greater)),
    ("_>_", ORDERED, |args| ordered(args, |order| order == Ordering::Greater)),
    ("_>=_", ORDERED, |args| ordered(args, |order| order != Ordering::Less)),
    ("@in", &["(A, list(A)) -> bool", "(A, map(A, B)) -> bool"], is_in),
    ("!_", &["(bool) -> bool"], |args| match args.values {
        [Value::Bool(value)] => Ok(Value::Bool(!value)),
        _ => Err(EvalError::NoOverload),
    }),
    ("-_", &["(int) -> int", "(double) -> double"], |args| match args.values {
        [Value::Int(value)] => value.checked_neg().map(Value::Int).ok_or(EvalError::Overflow),
        [Value::Double(value)] => Ok(Value::Double(-value)),
        _ => Err(EvalError::NoOverload),
    }),
    (
        "_+_",
        &[
            "(int, int) -> int",
            "(uint, uint) -> uint",
            "(double, double) -> double",
            "(string, string) -> string",
            "(bytes, bytes) -> bytes",
            "(list(A), list(A)) -> list(A)",
            "(timestamp, duration) -> timestamp",
            "(duration, timestamp) -> timestamp",
            "(duration, duration) -> duration",
        ],
        add,
    ),
    (
        "_-_",
        &[
            "(int, int) -> int",
            "(uint, uint) -> uint",
            "(double, double) -> double",
            "(timestamp, duration) -> timestamp",
            "(timestamp, timestamp) -> duration",
            "(duration, duration) -> duration",
        ],
        subtract,
    ),
    ("_*_", &["(int, int) -> int", "(uint, uint) -> uint", "(double, double) -> double"], |args| match args
        .values
    {
        [Value::Int(a), Value::Int(b)] => a.checked_mul(*b).map(Value::Int).ok_or(EvalError::Overflow),
        [Value::Uint(a), Value::Uint(b)] => a.checked_mul(*b).map(Value::Uint).ok_or(EvalError::Overflow),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a * b)),
        _ => Err(EvalError::NoOverload),
    }),
    ("_/_", &["(int, int) -> int", "(uint, uint) -> uint", "(double, double) -> double"], |args| match args
        .values
    {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => Err(EvalError::DivideByZero),
        [Value::Int(a), Value::Int(b)] => a.checked_div(*b).map(Value::Int).ok_or(EvalError::Overflow),
        [Value::Uint(a), Value::Uint(b)] => a.checked_div(*b).map(Value::Uint).ok_or(EvalError::Overflow),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a / b)),
        _ => Err(EvalError::NoOverload),
    }),
    ("_%_", &["(int, int) -> int", "(uint, uint) -> uint"], |args| match args.values {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => Err(EvalError::ModulusByZero),
        [Value::Int(a), Value::Int(b)] => a.checked_rem(*b).map(Value::Int).ok_or(EvalError::Overflow),
        [Value::Uint(a), Value::Uint(b)] => a.checked_rem(*b).map(Value::Uint).ok_or(EvalError::Overflow),
        _ => Err(EvalError::NoOverload),
    }),
    (
        "size",
        &[
            "(string) -> int",
            "string.() -> int",
            "(bytes) -> int",
            "bytes.() -> int",
            "(list(A)) -> int",
            "list(A).() -> int",
            "(map(A, B)) -> int",
            "map(A, B).() -> int",
        ],
        size,
    ),
    ("type", &["(A) -> type"], |args| Ok(Value::Type(args.values[0].type_of()))),
    ("dyn", &["(A) -> dyn"], |args| Ok(args.values[0].clone())),
];

fn ordered<'a>(args: &mut Args<'_, '_, 'a>, holds: fn(Ordering) -> bool) -> Result<'a> {
    let [a, b] = args.values else { return Err(EvalError::NoOverload) };
    if let (Value::String(a), Value::String(b)) = (a, b) {
        args.meter.walk(a.len().min(b.len()))?;
    }
    match order(a, b) {
        Some(order) => Ok(Value::Bool(holds(order))),
        // NaN has no order, which is no error.
        None if matches!((a, b), (Value::Double(_), _) | (_, Value::Double(_))) && number(a) && number(b) => {
            Ok(Value::Bool(false))
        }
        None => Err(EvalError::NoOverload),
    }
}

fn number(value: &Value<'_>) -> bool {
    matches!(value, Value::Int(_) | Value::Uint(_) | Value::Double(_))
}

fn is_in<'a>(args: &mut Args<'_, '_, 'a>) -> Result<'a> {
    match args.values {
        [item, Value::List(list)] => Ok(Value::Bool(contains(list, item, args.meter)?)),
        [key, Value::Map(map)] => Ok(Value::Bool(key.key().is_some_and(|key| map.get(&key).is_some()))),
        _ => Err(EvalError::NoOverload),
    }
}

fn add<'a>(args: &mut Args<'_, '_, 'a>) -> Result<'a> {
    match args.values {
        [Value::Int(a), Value::Int(b)] => a.checked_add(*b).map(Value::Int).ok_or(EvalError::Overflow),
        [Value::Uint(a), Value::Uint(b)] => a.checked_add(*b).map(Value::Uint).ok_or(EvalError::Overflow),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a + b)),
        [Value::String(a), Value::String(b)] => {
            args.meter.walk(a.len() + b.len())?;
            Ok(Value::String(Text::Own([&**a, &**b].concat().into())))
        }
        [Value::Bytes(a), Value::Bytes(b)] => {
            args.meter.walk(a.len() + b.len())?;
            Ok(Value::Bytes([&**a, &**b].concat().into()))
        }
        [Value::List(a), Value::List(b)] => joined(a, b, args.meter),
        [Value::Duration(a), Value::Duration(b)] => {
            a.checked_add(*b).map(Value::Duration).ok_or(EvalError::Overflow)
        }
        [Value::Timestamp(time), Value::Duration(nanos)]
        | [Value::Duration(nanos), Value::Timestamp(time)] => {
            time.checked_add(Duration::nanoseconds(*nanos)).map(Value::Timestamp).ok_or(EvalError::Overflow)
        }
        _ => Err(EvalError::NoOverload),
    }
}

fn subtract<'a>(args: &mut Args<'_, '_, 'a>) -> Result<'a> {
    match args.values {
        [Value::Int(a), Value::Int(b)] => a.checked_sub(*b).map(Value::Int).ok_or(EvalError::Overflow),
        [Value::Uint(a), Value::Uint(b)] => a.checked_sub(*b).map(Value::Uint).ok_or(EvalError::Overflow),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a - b)),
        [Value::Duration(a), Value::Duration(b)] => {
            a.checked_sub(*b).map(Value::Duration).ok_or(EvalError::Overflow)
        }
        [Value::Timestamp(time), Value::Duration(nanos)] => {
            time.checked_sub(Duration::nanoseconds(*nanos)).map(Value::Timestamp).ok_or(EvalError::Overflow)
        }
        [Value::Timestamp(a), Value::Timestamp(b)] => {
            i64::try_from((*a - *b).whole_nanoseconds()).map(Value::Duration).map_err(|_| EvalError::Overflow)
        }
        _ => Err(EvalError::NoOverload),
    }
}

fn size<'a>(args: &mut Args<'_, '_, 'a>) -> Result<'a> {
    let size = match args.values {
        [Value::String(text)] => {
            args.meter.walk(text.len())?;
            text.chars().count()
        }
        [Value::Bytes(bytes)] => bytes.len(),
        [Value::List(list)] => list.len(),
        [Value::Map(map)] => map.len(),
        _ => return Err(EvalError::NoOverload),
    };
    Ok(Value::Int(size as i64))
}

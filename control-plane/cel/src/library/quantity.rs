//! `quantity("1Gi")` and its functions.

use keelson_semantics::Quantity;
use keelson_semantics::quantity::Format;

use super::{Args, Row};
use crate::EvalError;
use crate::value::Value;

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

const COMPARED: &[&str] = &["Quantity.(Quantity) -> bool", "Semver.(Semver) -> bool"];
const CHANGED: &[&str] = &["Quantity.(Quantity) -> Quantity", "Quantity.(int) -> Quantity"];

pub(crate) const ROWS: &[Row] = &[
    ("quantity", &["(string) -> Quantity"], |args| {
        let text = args.values[0].as_str().ok_or(EvalError::NoOverload)?;
        args.meter.walk(text.len())?;
        text.parse()
            .map(Value::Quantity)
            .map_err(|error: keelson_semantics::quantity::QuantityError| EvalError::other(error.to_string()))
    }),
    ("isQuantity", &["(string) -> bool"], |args| {
        let text = args.values[0].as_str().ok_or(EvalError::NoOverload)?;
        args.meter.walk(text.len())?;
        Ok(Value::Bool(text.parse::<Quantity>().is_ok()))
    }),
    ("sign", &["Quantity.() -> int"], |args| {
        let quantity = one(args)?;
        Ok(Value::Int(quantity.cmp(&Quantity::ZERO) as i64))
    }),
    ("isInteger", &["Quantity.() -> bool"], |args| Ok(Value::Bool(one(args)?.as_i64().is_some()))),
    ("asInteger", &["Quantity.() -> int"], |args| {
        one(args)?.as_i64().map(Value::Int).ok_or_else(|| EvalError::other("cannot convert value to integer"))
    }),
    ("asApproximateFloat", &["Quantity.() -> double"], |args| Ok(Value::Double(one(args)?.as_f64()))),
    ("isGreaterThan", COMPARED, |args| compared(args).map(|order| Value::Bool(order.is_gt()))),
    ("isLessThan", COMPARED, |args| compared(args).map(|order| Value::Bool(order.is_lt()))),
    ("compareTo", &["Quantity.(Quantity) -> int", "Semver.(Semver) -> int"], |args| {
        compared(args).map(|order| Value::Int(order as i64))
    }),
    ("add", CHANGED, |args| changed(args, false)),
    ("sub", CHANGED, |args| changed(args, true)),
];

fn one(args: &Args<'_, '_, '_>) -> std::result::Result<Quantity, EvalError> {
    match args.values {
        [Value::Quantity(quantity), ..] => Ok(*quantity),
        _ => Err(EvalError::NoOverload),
    }
}

fn compared(args: &Args<'_, '_, '_>) -> std::result::Result<std::cmp::Ordering, EvalError> {
    match args.values {
        [Value::Quantity(a), Value::Quantity(b)] => Ok(a.cmp(b)),
        [Value::Semver(a), Value::Semver(b)] => Ok(a.cmp_precedence(b)),
        _ => Err(EvalError::NoOverload),
    }
}

fn changed<'a>(args: &Args<'_, '_, '_>, less: bool) -> Result<'a> {
    let (a, b) = match args.values {
        [Value::Quantity(a), Value::Quantity(b)] => (*a, *b),
        [Value::Quantity(a), Value::Int(b)] => (*a, Quantity::from_units(*b, Format::DecimalSi)),
        _ => return Err(EvalError::NoOverload),
    };
    Ok(Value::Quantity(if less { a - b } else { a + b }))
}

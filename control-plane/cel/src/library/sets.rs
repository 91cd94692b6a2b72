//! The sets extension: lists as sets.

use super::{Args, Row};
use crate::EvalError;
use crate::budget::Meter;
use crate::compare::contains;
use crate::value::{List, Value};

const TWO: &[&str] = &["(list(A), list(A)) -> bool"];

pub(crate) const ROWS: &[Row] = &[
    ("sets.contains", TWO, |args| {
        let (a, b) = two(args)?;
        Ok(Value::Bool(covers(a, b, args.meter)?))
    }),
    ("sets.equivalent", TWO, |args| {
        let (a, b) = two(args)?;
        Ok(Value::Bool(covers(a, b, args.meter)? && covers(b, a, args.meter)?))
    }),
    ("sets.intersects", TWO, |args| {
        let (a, b) = two(args)?;
        for item in b.iter() {
            if contains(a, &item, args.meter)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }),
];

fn two<'r, 'a>(args: &Args<'r, '_, 'a>) -> std::result::Result<(&'r List<'a>, &'r List<'a>), EvalError> {
    match args.values {
        [Value::List(a), Value::List(b)] => Ok((a, b)),
        _ => Err(EvalError::NoOverload),
    }
}

fn covers(all: &List<'_>, some: &List<'_>, meter: &mut Meter<'_>) -> std::result::Result<bool, EvalError> {
    for item in some.iter() {
        if !contains(all, &item, meter)? {
            return Ok(false);
        }
    }
    Ok(true)
}

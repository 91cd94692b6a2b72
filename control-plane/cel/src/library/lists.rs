//! Kubernetes' list library. `indexOf` and `lastIndexOf` are also of strings.

use std::cmp::Ordering;

use super::{Args, Row};
use crate::EvalError;
use crate::compare::{equal, order};
use crate::value::{List, Value};

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

const INDEX: &[&str] = &["list(A).(A) -> int", "string.(string) -> int", "string.(string, int) -> int"];

pub(crate) const ROWS: &[Row] = &[
    (
        "isSorted",
        &[
            "list(int).() -> bool",
            "list(uint).() -> bool",
            "list(double).() -> bool",
            "list(bool).() -> bool",
            "list(duration).() -> bool",
            "list(timestamp).() -> bool",
            "list(string).() -> bool",
            "list(bytes).() -> bool",
        ],
        is_sorted,
    ),
    (
        "sum",
        &[
            "list(int).() -> int",
            "list(uint).() -> uint",
            "list(double).() -> double",
            "list(duration).() -> duration",
        ],
        sum,
    ),
    ("min", EXTREME, |args| extreme(args, Ordering::Less, "min")),
    ("max", EXTREME, |args| extreme(args, Ordering::Greater, "max")),
    ("indexOf", INDEX, |args| index_of(args, false)),
    ("lastIndexOf", INDEX, |args| index_of(args, true)),
    ("slice", &["list(A).(int, int) -> list(A)"], |args| match args.values {
        [Value::List(list), Value::Int(from), Value::Int(to)] => {
            args.meter.charge(list.len() as u64)?;
            let place = |index: i64| usize::try_from(index).ok().filter(|index| *index <= list.len());
            match (place(*from), place(*to)) {
                (Some(from), Some(to)) if from <= to => {
                    Ok(Value::list((from..to).filter_map(|index| list.get(index)).collect()))
                }
                _ => Err(EvalError::other(format!(
                    "cannot slice({from}, {to}), list is length {}",
                    list.len()
                ))),
            }
        }
        _ => Err(EvalError::NoOverload),
    }),
];

const EXTREME: &[&str] = &[
    "list(int).() -> int",
    "list(uint).() -> uint",
    "list(double).() -> double",
    "list(bool).() -> bool",
    "list(duration).() -> duration",
    "list(timestamp).() -> timestamp",
    "list(string).() -> string",
    "list(bytes).() -> bytes",
];

fn list<'r, 'a>(args: &mut Args<'r, '_, 'a>) -> std::result::Result<&'r List<'a>, EvalError> {
    let [Value::List(list), ..] = args.values else { return Err(EvalError::NoOverload) };
    args.meter.charge(list.len() as u64)?;
    Ok(list)
}

fn is_sorted<'a>(args: &mut Args<'_, '_, 'a>) -> Result<'a> {
    let list = list(args)?;
    let mut before: Option<Value<'_>> = None;
    for item in list.iter() {
        if let Some(before) = &before {
            match order(before, &item) {
                None => return Err(EvalError::NoOverload),
                Some(Ordering::Greater) => return Ok(Value::Bool(false)),
                Some(_) => {}
            }
        }
        before = Some(item);
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(args: &mut Args<'_, '_, 'a>) -> Result<'a> {
    let mut total: Option<Value<'a>> = None;
    for item in list(args)?.iter() {
        total = Some(match (total, item) {
            (None, item @ (Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Duration(_))) => item,
            (Some(Value::Int(a)), Value::Int(b)) => Value::Int(a.checked_add(b).ok_or(EvalError::Overflow)?),
            (Some(Value::Uint(a)), Value::Uint(b)) => {
                Value::Uint(a.checked_add(b).ok_or(EvalError::Overflow)?)
            }
            (Some(Value::Double(a)), Value::Double(b)) => Value::Double(a + b),
            (Some(Value::Duration(a)), Value::Duration(b)) => {
                Value::Duration(a.checked_add(b).ok_or(EvalError::Overflow)?)
            }
            _ => return Err(EvalError::NoOverload),
        });
    }
    // What an empty list is of is not known here; zero compares with every number.
    Ok(total.unwrap_or(Value::Int(0)))
}

fn extreme<'a>(args: &mut Args<'_, '_, 'a>, wanted: Ordering, name: &str) -> Result<'a> {
    let mut found: Option<Value<'a>> = None;
    for item in list(args)?.iter() {
        found = Some(match found {
            None => item,
            Some(best) => match order(&item, &best) {
                None => return Err(EvalError::NoOverload),
                Some(order) if order == wanted => item,
                Some(_) => best,
            },
        });
    }
    found.ok_or_else(|| EvalError::other(format!("{name} called on empty list")))
}

fn index_of<'a>(args: &mut Args<'_, '_, 'a>, last: bool) -> Result<'a> {
    match args.values {
        [Value::List(list), wanted] => {
            let mut found = -1;
            for (index, item) in list.iter().enumerate() {
                args.meter.charge(1)?;
                if equal(&item, wanted, args.meter)? {
                    found = index as i64;
                    if !last {
                        break;
                    }
                }
            }
            Ok(Value::Int(found))
        }
        [Value::String(text), Value::String(part), rest @ ..] => {
            args.meter.charge((text.len() as u64).div_ceil(10) * (part.len() as u64).div_ceil(10).max(1))?;
            let given = match rest {
                [] => None,
                [Value::Int(at)] => Some(*at),
                _ => return Err(EvalError::NoOverload),
            };
            let length = text.chars().count() as i64;
            if let Some(at) = given
                && !(0..=length).contains(&at)
            {
                return Err(EvalError::other(format!("index out of range: {at}")));
            }
            let byte =
                |index: i64| text.char_indices().map(|(at, _)| at).nth(index as usize).unwrap_or(text.len());
            let found = if last {
                // It may start at the place, and so end behind it.
                let end = given.map_or(text.len(), |at| {
                    byte(at.saturating_add(part.chars().count() as i64).min(length))
                });
                text[..end].rfind(&**part)
            } else {
                let start = given.map_or(0, byte);
                text[start..].find(&**part).map(|at| at + start)
            };
            Ok(Value::Int(found.map_or(-1, |at| text[..at].chars().count() as i64)))
        }
        _ => Err(EvalError::NoOverload),
    }
}

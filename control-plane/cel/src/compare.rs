//! Equality and order of values. Numbers compare across their types; what is of different types is not equal.

use std::cmp::Ordering;

use crate::EvalError;
use crate::budget::Meter;
use crate::types::{ListKind, Type};
use crate::value::{List, Map, Value};

/// `==`. Charged by what is walked.
pub(crate) fn equal(a: &Value<'_>, b: &Value<'_>, meter: &mut Meter<'_>) -> Result<bool, EvalError> {
    Ok(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::String(a), Value::String(b)) => {
            meter.walk(a.len().min(b.len()))?;
            **a == **b
        }
        (Value::Bytes(a), Value::Bytes(b)) => {
            meter.walk(a.len().min(b.len()))?;
            a == b
        }
        (
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
        ) => numbers(a, b) == Some(Ordering::Equal),
        (Value::List(a), Value::List(b)) => lists(a, b, meter)?,
        (Value::Map(a), Value::Map(b)) => maps(a, b, meter)?,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
        (Value::Type(a), Value::Type(b)) => same_type(a, b),
        (Value::Optional(None), Value::Optional(None)) => true,
        (Value::Optional(Some(a)), Value::Optional(Some(b))) => equal(a, b, meter)?,
        (Value::Quantity(a), Value::Quantity(b)) => a == b,
        (Value::Ip(a), Value::Ip(b)) => a == b,
        (Value::Cidr(a), Value::Cidr(b)) => a == b,
        (Value::Url(a), Value::Url(b)) => a == b,
        (Value::Semver(a), Value::Semver(b)) => a.cmp_precedence(b) == Ordering::Equal,
        (Value::Format(a), Value::Format(b)) => a == b,
        _ => false,
    })
}

fn same_type(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::List(_), Type::List(_))
        | (Type::Map(_), Type::Map(_))
        | (Type::Optional(_), Type::Optional(_)) => true,
        _ => a.is_like(b),
    }
}

fn lists(a: &List<'_>, b: &List<'_>, meter: &mut Meter<'_>) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    meter.charge(a.len() as u64)?;
    let kind = a.declared().or(b.declared()).map(|list| &list.kind);
    if !matches!(kind, None | Some(ListKind::Atomic)) {
        // Sets and maps by key: the same items in any order. Items of one are unique, so one direction is enough.
        for item in a.iter() {
            if !contains(b, &item, meter)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    for (a, b) in a.iter().zip(b.iter()) {
        if !equal(&a, &b, meter)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `x in list`. Charged by the items that are looked at.
pub(crate) fn contains(list: &List<'_>, item: &Value<'_>, meter: &mut Meter<'_>) -> Result<bool, EvalError> {
    for other in list.iter() {
        meter.charge(1)?;
        if equal(&other, item, meter)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn maps(a: &Map<'_>, b: &Map<'_>, meter: &mut Meter<'_>) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for key in a.keys() {
        meter.charge(1)?;
        let Some(key) = key.key() else { return Ok(false) };
        match (a.get(&key), b.get(&key)) {
            (Some(a), Some(b)) if equal(&a, &b, meter)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// `<`; none where there is no order.
pub(crate) fn order(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::String(a), Value::String(b)) => Some((**a).cmp(&**b)),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
        _ => numbers(a, b),
    }
}

fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    let whole = |value: &Value<'_>| match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    };
    match (whole(a), whole(b), a, b) {
        (Some(a), Some(b), ..) => Some(a.cmp(&b)),
        (Some(a), None, _, Value::Double(b)) => whole_and_double(a, *b),
        (None, Some(b), Value::Double(a), _) => whole_and_double(b, *a).map(Ordering::reverse),
        (None, None, Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        _ => None,
    }
}

/// Exact: a 64 bit number may have more digits than a double.
fn whole_and_double(a: i128, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    if b.abs() >= 1e20 {
        return Some(if b > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    Some(a.cmp(&(b.trunc() as i128)).then(0.0_f64.total_cmp(&(b.fract() + 0.0))))
}

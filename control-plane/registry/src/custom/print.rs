//! Cells of a custom kind's table: the name, then what the columns' paths lead to.
//!
//! As upstream: a value of another type than the column's is an empty cell; a date is shown as an age.

use super::Custom;
use crate::{
    meta,
    printers::{Row, since},
};
use serde_json::{Value, json};
use time::OffsetDateTime;

pub(crate) fn row(custom: &Custom, object: &Value, now: OffsetDateTime) -> Row {
    let mut cells = vec![json!(meta::field(object, "name"))];
    cells.extend(
        custom
            .columns
            .iter()
            .map(|(path, ty)| path.first(object).map_or(Value::Null, |value| cell(ty, value, now))),
    );
    Row { cells, conditions: Vec::new() }
}

fn cell(ty: &str, value: &Value, now: OffsetDateTime) -> Value {
    match (ty, value) {
        (_, Value::Null) => Value::Null,
        ("integer", Value::Number(number)) => number
            .as_i64()
            .or_else(|| number.as_f64().map(|number| number as i64))
            .map_or(Value::Null, |n| json!(n)),
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("string", Value::String(_)) => value.clone(),
        ("string", other) => json!(other.to_string()),
        ("date", Value::String(time)) => match keelson_semantics::timestamp::parse(time) {
            Ok(_) => json!(since(time, now)),
            Err(_) => json!("<invalid>"),
        },
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn cells_follow_their_columns_type() {
        let now = datetime!(2024-01-02 00:00 UTC);
        for (ty, value, expected) in [
            ("integer", json!(3), json!(3)),
            ("integer", json!("3"), Value::Null),
            ("string", json!(3), json!("3")),
            ("string", json!({"a": 1}), json!("{\"a\":1}")),
            ("boolean", json!(true), json!(true)),
            ("date", json!("2024-01-01T00:00:00Z"), json!("24h")),
            ("date", json!("yesterday"), json!("<invalid>")),
        ] {
            assert_eq!(cell(ty, &value, now), expected, "{ty} {value}");
        }
    }
}

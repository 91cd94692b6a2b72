//! spec.successPolicy of a Job: which indexes, or how many, are enough.
//!
//! Rules: upstream's `validateSuccessPolicy` and `validateIndexesFormat`.

use super::job::is_indexed;
use crate::{
    meta,
    validate::{Errors, non_negative, wrong},
};
use keelson_schema::{FieldError, Path};
use serde_json::Value;

const RULES_MAX: usize = 20;
const INDEXES_BYTES_MAX: usize = 64 * 1024;

/// The policy of a Job with this spec.
pub(super) fn success_policy(path: &Path, policy: &Value, spec: &Value) -> Errors {
    if !is_indexed(spec) {
        return vec![FieldError::invalid(path, policy.clone(), "requires indexed completion mode")];
    }
    let (path, rules) = (path.child("rules"), meta::items(policy, &["rules"]));
    let mut errors = Errors::new();
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(&path, detail));
    }
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(&path, rules.len(), RULES_MAX));
    }
    let completions = meta::number(spec, &["completions"]).unwrap_or_default();
    for (index, rule) in rules.iter().enumerate() {
        errors.extend(self::rule(&path.index(index), rule, completions));
    }
    errors
}

fn rule(path: &Path, rule: &Value, completions: i64) -> Errors {
    let count = meta::number(rule, &["succeededCount"]);
    let listed = meta::at(rule, &["succeededIndexes"]).and_then(Value::as_str);
    if count.is_none() && listed.is_none() {
        let detail = "at least one of succeededCount or succeededIndexes must be specified";
        return vec![FieldError::required(path, detail)];
    }
    let mut errors = Errors::new();
    let mut indexes = None;
    if let Some(text) = listed {
        let own = path.child("succeededIndexes");
        if text.len() > INDEXES_BYTES_MAX {
            errors.push(FieldError::too_long(&own, INDEXES_BYTES_MAX));
        }
        match count_indexes(text, completions) {
            Ok(count) => indexes = Some(count),
            Err(why) => errors.push(wrong(&own, format!("error parsing succeededIndexes: {why}"))),
        }
    }
    errors.extend(non_negative(path, rule, "succeededCount"));
    if let Some(count) = count {
        let own = path.child("succeededCount");
        if count > completions {
            let detail =
                format!("must be less than or equal to {completions} (the number of specified completions)");
            errors.push(FieldError::invalid(&own, count, detail));
        }
        if let Some(total) = indexes.filter(|total| count > *total) {
            let detail = format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes \
                 field)"
            );
            errors.push(FieldError::invalid(&own, count, detail));
        }
    }
    errors
}

/// How many indexes `0,2-5,9` names: ascending, without overlap, all below `completions`.
fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let number = |text: &str| {
        text.parse::<i64>().map_err(|_| format!("cannot convert string to integer for index: {text:?}"))
    };
    let (mut total, mut next) = (0, 0);
    if text.is_empty() {
        return Ok(0);
    }
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if last < first || first < next {
            return Err(format!("non-increasing order, current: {first}, previous: {}", next - 1));
        }
        if last >= completions {
            return Err(format!("too large index: {last:?}"));
        }
        total += last - first + 1;
        next = last + 1;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_counted_and_checked() {
        let rows = [
            ("", Ok(0)),
            ("0,2-4", Ok(4)),
            ("0-9", Ok(10)),
            ("3,1", Err("non-increasing")),
            ("1-3,3", Err("non-increasing")),
            ("5-3", Err("non-increasing")),
            ("10", Err("too large index")),
            ("a", Err("cannot convert")),
            ("1-2-3", Err("cannot convert")),
        ];
        for (text, expected) in rows {
            match (count_indexes(text, 10), expected) {
                (Ok(count), Ok(wanted)) => assert_eq!(count, wanted, "{text}"),
                (Err(why), Err(part)) => assert!(why.contains(part), "{text}: {why}"),
                (got, wanted) => panic!("{text}: {got:?}, not {wanted:?}"),
            }
        }
    }
}

//! PriorityLevelConfiguration: shares, loans, and what becomes of requests that find no seat.

use super::{Errors, fixed};
use crate::meta;
use keelson_schema::{FieldError, Path};
use serde_json::Value;

/// Queues of a level.
const QUEUES_MAX: i64 = 10_000_000;
/// Bits of a flow's hash that its hand of queues is dealt from.
const HASH_BITS_MAX: f64 = 60.0;

/// All that is wrong with one.
pub fn priority_level(object: &Value) -> Errors {
    let (path, spec) = (Path::new("spec"), &object["spec"]);
    let kind = meta::text(spec, &["type"]);
    let mut errors = Errors::new();
    if (meta::field(object, "name") == "exempt") != (kind == "Exempt") {
        let detail = "type must be 'Exempt' if and only if name is 'exempt'";
        errors.push(FieldError::invalid(&path.child("type"), kind, detail));
    }
    let (exempt, limited) = (meta::at(spec, &["exempt"]), meta::at(spec, &["limited"]));
    match kind {
        "Exempt" => {
            if limited.is_some() {
                let detail = "must be nil if the type is not Limited";
                errors.push(FieldError::forbidden(&path.child("limited"), detail));
            }
            errors.extend(exempt.map(|exempt| shares(&path.child("exempt"), exempt)).unwrap_or_default());
        }
        "Limited" => {
            if exempt.is_some() {
                let detail = "must be nil if the type is Limited";
                errors.push(FieldError::forbidden(&path.child("exempt"), detail));
            }
            match limited {
                Some(limited) => errors.extend(self::limited(&path.child("limited"), limited)),
                None => {
                    let detail = "must not be empty when type is Limited";
                    errors.push(FieldError::required(&path.child("limited"), detail));
                }
            }
        }
        other => {
            let known = ["Exempt", "Limited"];
            errors.push(FieldError::not_supported(&path.child("type"), other, &known));
        }
    }
    errors.extend(fixed(object));
    errors
}

fn shares(path: &Path, of: &Value) -> Errors {
    let mut errors = Errors::new();
    let shares = meta::number(of, &["nominalConcurrencyShares"]).filter(|shares| *shares < 0);
    errors.extend(shares.map(|shares| {
        let path = path.child("nominalConcurrencyShares");
        FieldError::invalid(&path, shares, "must be a non-negative integer")
    }));
    let percent = meta::number(of, &["lendablePercent"]).filter(|percent| !(0..=100).contains(percent));
    errors.extend(percent.map(|percent| {
        let path = path.child("lendablePercent");
        FieldError::invalid(&path, percent, "must be between 0 and 100, inclusive")
    }));
    errors
}

fn limited(path: &Path, limited: &Value) -> Errors {
    let mut errors = shares(path, limited);
    let borrowing = meta::number(limited, &["borrowingLimitPercent"]).filter(|percent| *percent < 0);
    errors.extend(borrowing.map(|percent| {
        let path = path.child("borrowingLimitPercent");
        FieldError::invalid(&path, percent, "if specified, must be a non-negative integer")
    }));
    let (path, response) = (path.child("limitResponse"), &limited["limitResponse"]);
    let queuing = meta::at(response, &["queuing"]);
    match (meta::text(response, &["type"]), queuing) {
        ("Reject", None) => {}
        ("Reject", Some(_)) => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(FieldError::forbidden(&path.child("queuing"), detail));
        }
        ("Queue", None) => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(FieldError::required(&path.child("queuing"), detail));
        }
        ("Queue", Some(queuing)) => errors.extend(self::queuing(&path.child("queuing"), queuing)),
        (other, _) => {
            errors.push(FieldError::not_supported(&path.child("type"), other, &["Queue", "Reject"]));
        }
    }
    errors
}

fn queuing(path: &Path, queuing: &Value) -> Errors {
    let number = |key: &str| meta::number(queuing, &[key]).unwrap_or_default();
    let wrong = |key: &str, detail: String| FieldError::invalid(&path.child(key), number(key), detail);
    let positive = || "must be positive".to_owned();
    let mut errors = Errors::new();
    if number("queueLengthLimit") <= 0 {
        errors.push(wrong("queueLengthLimit", positive()));
    }
    let (queues, hand) = (number("queues"), number("handSize"));
    if queues <= 0 {
        errors.push(wrong("queues", positive()));
    } else if queues > QUEUES_MAX {
        errors.push(wrong("queues", format!("must not be greater than {QUEUES_MAX}")));
    }
    #[expect(clippy::cast_precision_loss, reason = "both fit 32 bits")]
    let bits = ((queues as f64).log2() * hand as f64).ceil();
    if hand <= 0 {
        errors.push(wrong("handSize", positive()));
    } else if hand > queues {
        errors.push(wrong("handSize", format!("should not be greater than queues ({queues})")));
    } else if bits > HASH_BITS_MAX {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS_MAX}"
        );
        errors.push(wrong("handSize", detail));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(name: &str, spec: &Value) -> Vec<String> {
        let object = json!({"kind": "PriorityLevelConfiguration", "metadata": {"name": name}, "spec": spec});
        priority_level(&object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_wrong_is_told_by_path() {
        let limited = |limited: Value| json!({"type": "Limited", "limited": limited});
        let queue = |queues: i64, hand: i64, length: i64| {
            let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": length});
            limited(json!({"limitResponse": {"type": "Queue", "queuing": queuing}}))
        };
        let at = "spec.limited.limitResponse";
        let rows = [
            (queue(128, 6, 50), vec![]),
            (limited(json!({"nominalConcurrencyShares": 0, "limitResponse": {"type": "Reject"}})), vec![]),
            (
                json!({"type": "Exempt", "limited": {}}),
                vec![
                    "spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'".to_owned(),
                    "spec.limited: Forbidden: must be nil if the type is not Limited".to_owned(),
                ],
            ),
            (
                json!({"type": "Limited", "exempt": {}}),
                vec![
                    "spec.exempt: Forbidden: must be nil if the type is Limited".to_owned(),
                    "spec.limited: Required value: must not be empty when type is Limited".to_owned(),
                ],
            ),
            (
                json!({"type": "Some"}),
                vec!["spec.type: Unsupported value: \"Some\": supported values: \"Exempt\", \"Limited\"".to_owned()],
            ),
            (
                limited(json!({"nominalConcurrencyShares": -1, "lendablePercent": 101, "borrowingLimitPercent": -1})),
                vec![
                    "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer".to_owned(),
                    "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive".to_owned(),
                    "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer".to_owned(),
                    format!("{at}.type: Unsupported value: \"\": supported values: \"Queue\", \"Reject\""),
                ],
            ),
            (
                limited(json!({"limitResponse": {"type": "Queue"}})),
                vec![format!("{at}.queuing: Required value: must not be empty if limited.limitResponse.type is Limited")],
            ),
            (
                queue(-1, 0, -1),
                vec![
                    format!("{at}.queuing.queueLengthLimit: Invalid value: -1: must be positive"),
                    format!("{at}.queuing.queues: Invalid value: -1: must be positive"),
                    format!("{at}.queuing.handSize: Invalid value: 0: must be positive"),
                ],
            ),
            (
                queue(4, 5, 1),
                vec![format!("{at}.queuing.handSize: Invalid value: 5: should not be greater than queues (4)")],
            ),
            (
                queue(512, 8, 1),
                vec![format!("{at}.queuing.handSize: Invalid value: 8: required entropy bits of deckSize 512 and handSize 8 should not be greater than 60")],
            ),
        ];
        for (spec, wanted) in rows {
            assert_eq!(found("l", &spec), wanted, "{spec}");
        }
    }

    #[test]
    fn what_a_cluster_cannot_do_without_stays_as_it_is() {
        let limited = |shares: i64| {
            json!({"type": "Limited", "limited": {
                "nominalConcurrencyShares": shares, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}})
        };
        assert!(found("catch-all", &limited(5)).is_empty());
        let fixed = "spec: Invalid value: spec of 'catch-all' must equal the fixed value";
        assert_eq!(found("catch-all", &limited(6)), [fixed]);
        let exempt =
            json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 9, "lendablePercent": 50}});
        assert!(found("exempt", &exempt).is_empty(), "how many shares it counts for may be changed");
        let errors = found("exempt", &limited(5));
        assert!(errors.iter().any(|error| error
            == "spec: Invalid value: spec of 'exempt' except the 'spec.exempt' field must equal the fixed value"),
            "{errors:?}");
    }
}

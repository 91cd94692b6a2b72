//! Taints and tolerations: which taints keep a pod away, and for how long it may stay.
//!
//! Rules: "Taints and Tolerations" in the Kubernetes documentation. Numeric operators (`Lt`, `Gt`) are behind a
//! feature gate that is off in 1.36; they tolerate nothing here, and validation refuses them.

use serde::{Deserialize, Serialize};

/// What a taint does to pods that do not tolerate it.
pub mod effect {
    /// Not scheduled.
    pub const NO_SCHEDULE: &str = "NoSchedule";
    /// Scheduled elsewhere if possible.
    pub const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";
    /// Not scheduled, and evicted.
    pub const NO_EXECUTE: &str = "NoExecute";
}

/// A node's mark, as in `spec.taints`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// A label key.
    pub key: String,
    /// May be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// One of [`effect`].
    pub effect: String,
    /// RFC 3339, set for NoExecute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_added: Option<String>,
}

/// A pod's leave to stay, as in `spec.tolerations`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    /// Empty, with operator Exists: every key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// `Equal` (also when empty) or `Exists`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub operator: String,
    /// Compared by Equal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Empty: every effect.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub effect: String,
    /// Seconds after which a NoExecute taint evicts all the same; unset: never; 0 or less: at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

impl Toleration {
    /// Whether it covers the taint.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        let effect = self.effect.is_empty() || self.effect == taint.effect;
        let key = self.key.is_empty() || self.key == taint.key;
        effect
            && key
            && match self.operator.as_str() {
                "" | "Equal" => self.value == taint.value,
                "Exists" => true,
                _ => false,
            }
    }
}

/// How long a pod may stay on a node with NoExecute taints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// All taints are tolerated without limit.
    Forever,
    /// The shortest limit, in seconds, counted from when the taint was added.
    Seconds(i64),
    /// At least one taint is not tolerated.
    No,
}

/// The first taint with one of `effects` that no toleration covers.
#[must_use]
pub fn first_untolerated<'a>(
    taints: &'a [Taint],
    tolerations: &[Toleration],
    effects: &[&str],
) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|taint| effects.contains(&taint.effect.as_str()))
        .find(|taint| !tolerations.iter().any(|t| t.tolerates(taint)))
}

/// How long the pod may stay: the minimum over all tolerations that cover one of the NoExecute taints.
#[must_use]
pub fn stay(taints: &[Taint], tolerations: &[Toleration]) -> Stay {
    let mut shortest: Option<i64> = None;
    for taint in taints.iter().filter(|t| t.effect == effect::NO_EXECUTE) {
        let mut covering = tolerations.iter().filter(|t| t.tolerates(taint)).peekable();
        if covering.peek().is_none() {
            return Stay::No;
        }
        let limit = covering.filter_map(|t| t.toleration_seconds).map(|s| s.max(0)).min();
        shortest = match (shortest, limit) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    shortest.map_or(Stay::Forever, Stay::Seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str, effect: &str) -> Taint {
        Taint { key: key.into(), value: value.into(), effect: effect.into(), time_added: None }
    }

    fn toleration(key: &str, operator: &str, value: &str, effect: &str, seconds: Option<i64>) -> Toleration {
        Toleration {
            key: key.into(),
            operator: operator.into(),
            value: value.into(),
            effect: effect.into(),
            toleration_seconds: seconds,
        }
    }

    #[test]
    fn tolerations_cover_by_key_value_and_effect() {
        let gpu = taint("gpu", "yes", effect::NO_SCHEDULE);
        for (t, expected) in [
            (toleration("gpu", "Equal", "yes", "NoSchedule", None), true),
            (toleration("gpu", "", "yes", "", None), true),
            (toleration("gpu", "Exists", "", "", None), true),
            (toleration("", "Exists", "", "", None), true),
            (toleration("gpu", "Equal", "no", "", None), false),
            (toleration("cpu", "Exists", "", "", None), false),
            (toleration("gpu", "Exists", "", "NoExecute", None), false),
            (toleration("gpu", "Gt", "1", "", None), false),
        ] {
            assert_eq!(t.tolerates(&gpu), expected, "{t:?}");
        }
    }

    #[test]
    fn only_the_named_effects_count() {
        let taints = [taint("a", "", effect::PREFER_NO_SCHEDULE), taint("b", "", effect::NO_SCHEDULE)];
        let found = first_untolerated(&taints, &[], &[effect::NO_SCHEDULE, effect::NO_EXECUTE]);
        assert_eq!(found.map(|t| t.key.as_str()), Some("b"));
        assert!(first_untolerated(&taints[..1], &[], &[effect::NO_SCHEDULE]).is_none());
    }

    #[test]
    fn the_shortest_limit_counts() {
        let taints = [taint("a", "", effect::NO_EXECUTE), taint("b", "", effect::NO_EXECUTE)];
        let a = toleration("a", "Exists", "", "NoExecute", Some(300));
        let b = toleration("b", "Exists", "", "NoExecute", Some(20));
        let forever = toleration("", "Exists", "", "", None);
        assert_eq!(stay(&taints, &[a.clone(), b.clone()]), Stay::Seconds(20));
        assert_eq!(stay(&taints, std::slice::from_ref(&a)), Stay::No);
        assert_eq!(stay(&taints, std::slice::from_ref(&forever)), Stay::Forever);
        assert_eq!(stay(&taints, &[a, forever]), Stay::Seconds(300));
        assert_eq!(stay(&[], &[b]), Stay::Forever);
    }
}

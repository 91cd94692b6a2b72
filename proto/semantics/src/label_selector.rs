//! Label selectors: the objects' `matchLabels`/`matchExpressions` and the query string's `a=b,c in (d,e),!f`.
//!
//! Grammar, matching and messages are those of "Labels and Selectors" in the Kubernetes documentation and of the
//! API server. Does not know where labels are stored: it is given a lookup.

mod parse;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::names;

pub use parse::{REQUIREMENTS_MAX, SelectorError};

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `=`: the label is there and has the one value.
    Equals,
    /// `==`: the same, written differently.
    DoubleEquals,
    /// `!=`: the label is absent or has another value.
    NotEquals,
    /// `in (..)`.
    In,
    /// `notin (..)`: absent, or none of the values.
    NotIn,
    /// The key alone.
    Exists,
    /// `!key`.
    DoesNotExist,
    /// `>`: an integer above the one value.
    GreaterThan,
    /// `<`: an integer below the one value.
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

/// All of its requirements must hold; without any it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

/// Something that has labels.
pub trait Labels {
    /// The value of the label, if the object has it.
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Labels for serde_json::Map<String, Value> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }
}

impl<L: Labels + ?Sized> Labels for &L {
    fn label(&self, key: &str) -> Option<&str> {
        (**self).label(key)
    }
}

impl<L: Labels> Labels for Option<L> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref().and_then(|labels| labels.label(key))
    }
}

/// The `metav1.LabelSelector` object as it stands in specs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelectorSpec {
    /// Each pair is a requirement of equality.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// One entry of `matchExpressions`; node selector terms have the same shape.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelSelectorRequirement {
    /// The label's key.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`; in node selectors also `Gt` and `Lt`.
    pub operator: String,
    /// What it is compared with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

impl Requirement {
    /// Checks key, number of values and values; the errors' texts are the server's.
    pub fn new(
        key: impl Into<String>,
        operator: Operator,
        values: Vec<String>,
    ) -> Result<Requirement, SelectorError> {
        let key = key.into();
        parse::check(&key, operator, &values)?;
        Ok(Requirement { key, operator, values })
    }

    /// The label's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The comparison.
    #[must_use]
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// What the label is compared with.
    #[must_use]
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether an object with these labels meets it.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        self.matches_value(labels.label(&self.key))
    }

    fn matches_value(&self, label: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|v| v == value);
        match self.operator {
            Operator::Equals | Operator::DoubleEquals | Operator::In => label.is_some_and(listed),
            Operator::NotEquals | Operator::NotIn => !label.is_some_and(listed),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan => self.compare(label, |have, bound| have > bound),
            Operator::LessThan => self.compare(label, |have, bound| have < bound),
        }
    }

    fn compare(&self, label: Option<&str>, holds: fn(i64, i64) -> bool) -> bool {
        match (label.and_then(|l| l.parse().ok()), self.values.first().and_then(|v| v.parse().ok())) {
            (Some(have), Some(bound)) => holds(have, bound),
            _ => false,
        }
    }
}

impl LabelSelector {
    /// Selects every object.
    #[must_use]
    pub fn everything() -> LabelSelector {
        LabelSelector::default()
    }

    /// Reads the form of query strings and of `kubectl -l`.
    pub fn parse(text: &str) -> Result<LabelSelector, SelectorError> {
        parse::parse(text).map(LabelSelector::from_requirements)
    }

    /// Requires each of the pairs, unchecked: for selectors that were validated when they were stored.
    pub fn from_match_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> LabelSelector {
        LabelSelector::from_requirements(
            labels
                .into_iter()
                .map(|(key, value)| Requirement {
                    key: key.to_owned(),
                    operator: Operator::Equals,
                    values: vec![value.to_owned()],
                })
                .collect(),
        )
    }

    /// From the object form. An empty object selects everything; an absent one, nothing (which is the caller's affair).
    pub fn from_spec(spec: &LabelSelectorSpec) -> Result<LabelSelector, SelectorError> {
        let mut requirements = Vec::with_capacity(spec.match_labels.len() + spec.match_expressions.len());
        for (key, value) in &spec.match_labels {
            requirements.push(Requirement::new(key.as_str(), Operator::Equals, vec![value.clone()])?);
        }
        for expression in &spec.match_expressions {
            requirements.push(expression.to_requirement(false)?);
        }
        Ok(LabelSelector::from_requirements(requirements))
    }

    /// Of these requirements.
    #[must_use]
    pub fn from_requirements(mut requirements: Vec<Requirement>) -> LabelSelector {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        LabelSelector { requirements }
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        self.requirements.iter().all(|r| r.matches(labels))
    }

    /// Whether it selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The conditions, sorted by key.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

impl LabelSelectorRequirement {
    /// With `numeric`, `Gt` and `Lt` are allowed: node selector terms have them, label selectors do not.
    pub fn to_requirement(&self, numeric: bool) -> Result<Requirement, SelectorError> {
        let operator = match self.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" if numeric => Operator::GreaterThan,
            "Lt" if numeric => Operator::LessThan,
            other => return Err(SelectorError::Operator(other.to_owned())),
        };
        Requirement::new(self.key.as_str(), operator, self.values.clone())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<&str> = self.values.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        let (key, values) = (&self.key, sorted.join(","));
        match self.operator {
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

/// Whether every value of a set of labels is well formed; used before labels are turned into a selector.
#[must_use]
pub fn labels_are_valid(labels: &BTreeMap<String, String>) -> bool {
    labels.iter().all(|(k, v)| names::qualified_name(k).is_empty() && names::label_value(v).is_empty())
}

#[cfg(test)]
mod tests;

//! A field that holds a number or a text: ports by number or name, counts or percentages.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The JSON form is the number or the text itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A number.
    Int(i32),
    /// A name, or a percentage such as `25%`.
    String(String),
}

/// A text that was to be a percentage and is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid value for IntOrString: invalid type: string is not a percentage: {0:?}")]
pub struct NotAPercentage(pub String);

/// To which side a fraction of a percentage goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Of `maxSurge`.
    Up,
    /// Of `maxUnavailable`.
    Down,
}

impl IntOrString {
    /// The number itself, or the percentage of `total`.
    pub fn scaled(&self, total: i32, rounding: Rounding) -> Result<i32, NotAPercentage> {
        match self {
            IntOrString::Int(value) => Ok(*value),
            IntOrString::String(text) => {
                let percent: i64 = text
                    .strip_suffix('%')
                    .and_then(|digits| digits.parse().ok())
                    .ok_or_else(|| NotAPercentage(text.clone()))?;
                let product = percent.saturating_mul(i64::from(total));
                let scaled = match rounding {
                    Rounding::Up => product.div_euclid(100) + i64::from(product.rem_euclid(100) > 0),
                    Rounding::Down => product.div_euclid(100),
                };
                Ok(i32::try_from(scaled).unwrap_or(i32::MAX))
            }
        }
    }
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IntOrString::Int(value) => value.fmt(f),
            IntOrString::String(text) => text.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_scale_to_the_named_side() {
        let quarter = IntOrString::String("25%".into());
        assert_eq!(quarter.scaled(5, Rounding::Up), Ok(2));
        assert_eq!(quarter.scaled(5, Rounding::Down), Ok(1));
        assert_eq!(quarter.scaled(0, Rounding::Up), Ok(0));
        assert_eq!(IntOrString::Int(3).scaled(5, Rounding::Up), Ok(3));
        assert!(IntOrString::String("many".into()).scaled(5, Rounding::Up).is_err());
    }

    #[test]
    fn the_json_form_is_bare() {
        assert_eq!(serde_json::from_str::<IntOrString>("80").ok(), Some(IntOrString::Int(80)));
        assert_eq!(
            serde_json::from_str::<IntOrString>("\"http\"").ok(),
            Some(IntOrString::String("http".into()))
        );
        assert_eq!(serde_json::to_string(&IntOrString::Int(80)).ok().as_deref(), Some("80"));
    }
}

//! The matchConditions of an authorization webhook: whether it is asked at all. Pure.

use keelson_cel::authorization::{REQUEST, request_type};
use keelson_cel::{Bindings, Budget, MATCH_CONDITIONS_BUDGET, Program, Value as Cel};

use super::{Attributes, review};

/// All of one webhook's, compiled.
#[derive(Debug, Default)]
pub struct MatchConditions(Vec<Condition>);

/// One of them.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) text: String,
    pub(super) program: Program,
}

impl MatchConditions {
    pub(super) fn new(conditions: Vec<Condition>) -> Self {
        Self(conditions)
    }

    /// Whether it is asked about everything.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the webhook is asked. One that is false wins over any that fails, as upstream.
    ///
    /// # Errors
    /// What went wrong with those that fail, where none is false.
    pub(super) fn hold(&self, attributes: &Attributes<'_>) -> Result<bool, String> {
        let request = review::shown(attributes);
        let bindings = Bindings::new().with(REQUEST, Cel::from_json(&request, &request_type()));
        let mut budget = Budget::new(MATCH_CONDITIONS_BUDGET);
        let mut failed = Vec::new();
        for Condition { text, program } in &self.0 {
            match program.evaluate(&bindings, &mut budget) {
                Ok(value) if value.as_bool() == Some(true) => {}
                Ok(_) => return Ok(false),
                Err(error) => failed
                    .push(format!("cel evaluation error: expression '{text}' resulted in error: {error}")),
            }
        }
        match failed.as_slice() {
            [] => Ok(true),
            _ => Err(super::aggregated(&failed)),
        }
    }
}

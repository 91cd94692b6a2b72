//! What evaluation may cost. Units are upstream's: about one a step; strings and lists by what of them is walked.
//! The numbers are those of `k8s.io/apiserver/pkg/apis/cel`.

use crate::EvalError;

/// The most that one call of [`crate::Program::evaluate`] may cost.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// The most that all expressions of an object or of a policy may cost together.
pub const OBJECT_BUDGET: u64 = 10_000_000;
/// The most that the matchConditions of a webhook or a policy may cost together.
pub const MATCH_CONDITIONS_BUDGET: u64 = 2_500_000;
/// The most that one rule of a schema may be estimated to cost.
pub const STATIC_RULE_LIMIT: u64 = 10_000_000;
/// The most that all rules of a schema may be estimated to cost.
pub const STATIC_SCHEMA_LIMIT: u64 = 100_000_000;
/// What sizes are estimated from where none is declared: the largest request.
pub const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;

/// What several evaluations may cost together. Each takes from it what it did cost.
#[derive(Clone, Debug)]
pub struct Budget {
    left: u64,
    per_call: u64,
}

impl Budget {
    /// So much together, [`PER_CALL_LIMIT`] a call.
    pub fn new(total: u64) -> Self {
        Self { left: total, per_call: PER_CALL_LIMIT }
    }

    /// What is left.
    pub fn left(&self) -> u64 {
        self.left
    }

    pub(crate) fn meter(&mut self) -> Meter<'_> {
        let limit = self.per_call.min(self.left);
        Meter { budget: self, spent: 0, limit }
    }
}

impl Default for Budget {
    /// For one object.
    fn default() -> Self {
        Self::new(OBJECT_BUDGET)
    }
}

/// What one call costs; gives it to the budget when dropped.
pub(crate) struct Meter<'b> {
    budget: &'b mut Budget,
    spent: u64,
    limit: u64,
}

impl Meter<'_> {
    /// To be called before the work, so that nobody is made to do it for nothing.
    pub(crate) fn charge(&mut self, cost: u64) -> Result<(), EvalError> {
        self.spent = self.spent.saturating_add(cost);
        if self.spent <= self.limit {
            return Ok(());
        }
        Err(if self.spent > self.budget.per_call { EvalError::CallCost } else { EvalError::Budget })
    }

    /// A tenth of a unit for each byte or character that is walked: cel-go's StringTraversalCostFactor.
    pub(crate) fn walk(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.charge((bytes as u64).div_ceil(10))
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        self.budget.left = self.budget.left.saturating_sub(self.spent);
    }
}

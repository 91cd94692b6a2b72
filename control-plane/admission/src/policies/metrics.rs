//! What is counted of policies, under upstream's names (`k8s.io/apiserver/pkg/admission/plugin/policy`): a validation that objects,
//! once for each thing that its binding makes of it, or that failed and is ignored; a mutation, whatever came of it.

use std::sync::LazyLock;
use std::time::Duration;

use keelson_cel::EvalError;
use keelson_metrics::{
    Group, HistogramVec, IntCounterVec,
    Stability::{Alpha, Beta},
};

use super::compiled::{Actions, Expression};

/// Upper bounds in seconds: an expression that is nearly nothing, to one that costs all that it may.
const BOUNDS: [f64; 5] = [0.000_000_5, 0.001, 0.01, 0.1, 1.0];

struct Families {
    checks: IntCounterVec,
    durations: HistogramVec,
}

static VALIDATING: LazyLock<Families> = LazyLock::new(|| {
    let labels = ["policy", "policy_binding", "error_type", "enforcement_action"];
    Families {
        checks: Group::process().counters(
            Beta,
            "apiserver_validating_admission_policy_check_total",
            "Validation admission policy check total, labeled by policy and further identified by binding and enforcement action taken.",
            &labels,
        ),
        durations: Group::process().histograms(
            Beta,
            "apiserver_validating_admission_policy_check_duration_seconds",
            "Validation admission latency for individual validation expressions in seconds, labeled by policy and further including binding and enforcement action taken.",
            &labels,
            &BOUNDS,
        ),
    }
});

static MUTATING: LazyLock<Families> = LazyLock::new(|| {
    let labels = ["policy", "policy_binding", "error_type"];
    Families {
        checks: Group::process().counters(
            Alpha,
            "apiserver_mutating_admission_policy_check_total",
            "Mutation admission policy check total, labeled by policy and further identified by binding.",
            &labels,
        ),
        durations: Group::process().histograms(
            Alpha,
            "apiserver_mutating_admission_policy_check_duration_seconds",
            "Mutation admission latency for individual mutation expressions in seconds, labeled by policy and binding.",
            &labels,
            &BOUNDS,
        ),
    }
});

impl Families {
    fn observe(&self, labels: &[&str], took: Duration) {
        self.checks.with_label_values(labels).inc();
        self.durations.with_label_values(labels).observe(took.as_secs_f64());
    }
}

/// What was wrong with an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Compile,
    OutOfBudget,
    Invalid,
}

impl Fault {
    /// By what became of the expression, whose words name the error at their end.
    pub(super) fn of(expression: &Expression, error: &str) -> Self {
        let is_of_cost = |kind: EvalError| error.ends_with(&kind.to_string());
        match &expression.program {
            Err(_) => Self::Compile,
            Ok(_) if is_of_cost(EvalError::Budget) || is_of_cost(EvalError::CallCost) => Self::OutOfBudget,
            Ok(_) => Self::Invalid,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::None => "no_error",
            Self::Compile => "compile_error",
            Self::OutOfBudget => "out_of_budget",
            Self::Invalid => "invalid_error",
        }
    }
}

/// How long an expression took, and how that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) took: Duration,
    pub(super) fault: Fault,
}

/// A validation objected: counted for each thing that the binding makes of it.
pub(super) fn objected(policy: &str, binding: &str, actions: Actions, measured: Measured) {
    let all = [("deny", actions.deny), ("audit", actions.audit), ("warn", actions.warn)];
    for (action, _) in all.into_iter().filter(|(_, wished)| *wished) {
        VALIDATING.observe(&[policy, binding, measured.fault.as_str(), action], measured.took);
    }
}

/// A validation failed, which the policy ignores.
pub(super) fn ignored(policy: &str, binding: &str, measured: Measured) {
    VALIDATING.observe(&[policy, binding, measured.fault.as_str(), "allow"], measured.took);
}

/// A policy changed an object, or could not.
pub(super) fn mutated(policy: &str, binding: &str, took: Duration, failed: bool) {
    let fault = if failed { Fault::Invalid } else { Fault::None };
    MUTATING.observe(&[policy, binding, fault.as_str()], took);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_told_by_what_was_made_of_them() {
        let measured = Measured { took: Duration::from_millis(5), fault: Fault::None };
        objected("own", "b", Actions { deny: true, warn: true, audit: false }, measured);
        ignored("own", "b", Measured { fault: Fault::OutOfBudget, ..measured });
        mutated("own", "b", Duration::from_millis(2), true);
        let mut text = String::new();
        Group::process().render(&mut text);
        for line in [
            r#"apiserver_validating_admission_policy_check_total{enforcement_action="deny",error_type="no_error",policy="own",policy_binding="b"} 1"#,
            r#"apiserver_validating_admission_policy_check_total{enforcement_action="warn",error_type="no_error",policy="own",policy_binding="b"} 1"#,
            r#"apiserver_validating_admission_policy_check_total{enforcement_action="allow",error_type="out_of_budget",policy="own",policy_binding="b"} 1"#,
            r#"apiserver_validating_admission_policy_check_duration_seconds_bucket{enforcement_action="deny",error_type="no_error",policy="own",policy_binding="b",le="0.01"} 1"#,
            r#"apiserver_mutating_admission_policy_check_total{error_type="invalid_error",policy="own",policy_binding="b"} 1"#,
        ] {
            assert!(text.lines().any(|own| own == line), "{line}: {text}");
        }
    }
}

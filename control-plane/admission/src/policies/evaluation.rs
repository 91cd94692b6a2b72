//! A policy on one set of variables: its conditions, its validations, its annotations. Pure.

use std::time::{Duration, Instant};

use keelson_cel::{Bindings, Budget, EvalError, MATCH_CONDITIONS_BUDGET, Value as Cel};

use super::compiled::{Expression, FailurePolicy, Policy, Validation};
use super::metrics::{Fault, Measured};

/// The most bytes of a message that an expression makes; a longer one is not used.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;
/// The most bytes of an annotation's value; it is cut.
const ANNOTATION_BYTES_MAX: usize = 10 * 1024;

/// Why a policy objects.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Denial {
    pub(super) message: String,
    /// A reason of metav1.Status; "" for Invalid.
    pub(super) reason: String,
    /// Which of the policy's validations; 0 where it is none of them.
    pub(super) index: usize,
    /// For the metrics.
    pub(super) measured: Measured,
}

impl Denial {
    /// By an error.
    pub(super) fn new(message: impl Into<String>) -> Self {
        let measured = Measured { took: Duration::ZERO, fault: Fault::Invalid };
        Self { message: message.into(), reason: String::new(), index: 0, measured }
    }
}

/// What a policy has to say.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    pub(super) denials: Vec<Denial>,
    /// Validations that failed by an error, which the policy ignores.
    pub(super) ignored: Vec<Measured>,
}

/// Whether these conditions let a policy or a webhook be asked.
///
/// # Errors
/// What went wrong, where `failure` is to fail by that. A condition that is false wins over one that fails.
pub(super) fn conditions_hold(
    conditions: &[Expression],
    failure: FailurePolicy,
    bindings: &Bindings<'_>,
) -> Result<bool, String> {
    let mut budget = Budget::new(MATCH_CONDITIONS_BUDGET);
    let mut failed = Vec::new();
    for condition in conditions {
        match truth(condition, bindings, &mut budget) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => failed.push(error),
        }
    }
    match (&*failed, failure) {
        ([], _) => Ok(true),
        (_, FailurePolicy::Ignore) => Ok(false),
        ([one], FailurePolicy::Fail) => Err(one.clone()),
        (several, FailurePolicy::Fail) => Err(format!("[{}]", several.join(", "))),
    }
}

/// What the policy's validations object to, in their order.
pub(super) fn denials(policy: &Policy, bindings: &Bindings<'_>) -> Judgement {
    let mut budget = Budget::default();
    let mut judgement = Judgement::default();
    for (index, validation) in policy.validations.iter().enumerate() {
        let began = Instant::now();
        let holds = truth(&validation.expression, bindings, &mut budget);
        let measured = |fault| Measured { took: began.elapsed(), fault };
        match holds {
            Ok(true) => {}
            Ok(false) => judgement.denials.push(Denial {
                message: message(validation, bindings, &mut budget),
                reason: validation.reason.clone(),
                index,
                measured: measured(Fault::None),
            }),
            Err(error) => {
                let measured = measured(Fault::of(&validation.expression, &error));
                match policy.failure {
                    FailurePolicy::Fail => {
                        judgement.denials.push(Denial { index, measured, ..Denial::new(error) });
                    }
                    FailurePolicy::Ignore => judgement.ignored.push(measured),
                }
            }
        }
    }
    judgement
}

fn truth(expression: &Expression, bindings: &Bindings<'_>, budget: &mut Budget) -> Result<bool, String> {
    let value = run(expression, bindings, budget)?;
    value.as_bool().ok_or_else(|| resulted(expression, &EvalError::NoOverload))
}

/// The value of an expression.
///
/// # Errors
/// In upstream's words, with the expression.
pub(super) fn run<'a>(
    expression: &Expression,
    bindings: &Bindings<'a>,
    budget: &mut Budget,
) -> Result<Cel<'a>, String> {
    let program = expression.program.as_ref().map_err(Clone::clone)?;
    program.evaluate(bindings, budget).map_err(|error| resulted(expression, &error))
}

fn resulted(expression: &Expression, error: &EvalError) -> String {
    format!("expression '{}' resulted in error: {error}", expression.text)
}

/// What messageExpression makes, as far as it is one line; else the message; else the expression that failed.
fn message(validation: &Validation, bindings: &Bindings<'_>, budget: &mut Budget) -> String {
    let made = validation.message_expression.as_ref().and_then(|expression| {
        let value = run(expression, bindings, budget).ok()?;
        let text = value.as_str()?.trim().to_owned();
        Some(text).filter(|text| !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n'))
    });
    made.unwrap_or_else(|| match &*validation.message {
        "" => format!("failed expression: {}", validation.expression.text.trim()),
        message => message.to_owned(),
    })
}

/// The annotations that the policy makes: full key and value. Null makes none.
///
/// # Errors
/// What went wrong, where the policy fails by that.
pub(super) fn annotations(policy: &Policy, bindings: &Bindings<'_>) -> Result<Vec<(String, String)>, String> {
    let mut budget = Budget::default();
    let mut made = Vec::new();
    for (key, expression) in &policy.audits {
        match run(expression, bindings, &mut budget) {
            Ok(Cel::String(text)) if !text.trim().is_empty() => {
                let mut end = text.len().min(ANNOTATION_BYTES_MAX);
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                made.push((format!("{}/{key}", policy.name), text[..end].trim().to_owned()));
            }
            Ok(_) => {}
            Err(error) if policy.failure == FailurePolicy::Fail => return Err(error),
            Err(_) => {}
        }
    }
    Ok(made)
}

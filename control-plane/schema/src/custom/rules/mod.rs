//! `x-kubernetes-validations`: rules in CEL of a schema, compiled with it, evaluated over an object and its old state.
//!
//! Rules: "Validation rules" in the Kubernetes documentation, and upstream's `apiserver/schema/cel`. What an object's rules
//! may cost together is bounded when it is written, what they are estimated to cost when the definition is.

mod compile;
mod types;

pub(super) use compile::compile;
pub(super) use types::declared;

use keelson_cel::{Bindings, Budget, EvalError, Program, Value as Cel};
use serde_json::Value;

use super::schema::{List, Schema};
use crate::field::{Cause, FieldError, Path};

/// The rules of one place, with the type that they see it by.
#[derive(Debug)]
pub(crate) struct Rules {
    ty: keelson_cel::Type,
    list: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    program: Program,
    text: String,
    message: Option<String>,
    message_expression: Option<Program>,
    reason: Cause,
    /// Steps from the place to the field that is blamed, e.g. `.spec.foo`.
    field: Vec<String>,
    /// Names oldSelf: holds of a change only.
    transition: bool,
    /// oldSelf may be absent, and is an optional.
    optional_old: bool,
}

impl Rule {
    fn said(&self) -> String {
        self.message.clone().unwrap_or_else(|| format!("failed rule: {}", self.text.trim()))
    }
}

/// Whether a schema, or one below it, has rules.
pub(super) fn has_rules(schema: &Schema) -> bool {
    schema.rules.is_some() || schema.below().any(has_rules)
}

/// What the rules find wrong with a value. What is as it was is not looked at again.
pub(super) fn validate(schema: &Schema, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut walk = Walk { budget: Budget::default(), errors: Vec::new() };
    // Running out of budget ends the walk; what was found until then counts.
    let _ended = walk.value(schema, &Path::root(), object, old);
    walk.errors
}

struct Walk {
    budget: Budget,
    errors: Vec<FieldError>,
}

/// The budget is spent.
struct Spent;

impl Walk {
    fn value(
        &mut self,
        schema: &Schema,
        path: &Path,
        value: &Value,
        old: Option<&Value>,
    ) -> Result<(), Spent> {
        if value.is_null() || old == Some(value) {
            return Ok(());
        }
        if let Some(rules) = &schema.rules {
            self.rules(rules, path, value, old)?;
        }
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    let Some(below) = schema.entry(name) else { continue };
                    let path =
                        if schema.properties.contains_key(name) { path.child(name) } else { path.key(name) };
                    self.value(below, &path, field, old.and_then(|old| old.get(name)))?;
                }
            }
            Value::Array(items) => {
                let Some(below) = &schema.items else { return Ok(()) };
                for (index, item) in items.iter().enumerate() {
                    self.value(below, &path.index(index), item, counterpart(schema, item, old))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn rules(&mut self, rules: &Rules, path: &Path, value: &Value, old: Option<&Value>) -> Result<(), Spent> {
        for rule in &rules.list {
            let mut bindings = Bindings::new().with("self", Cel::from_json(value, &rules.ty));
            if rule.transition {
                let before = old.map(|old| Cel::from_json(old, &rules.ty));
                match (before, rule.optional_old) {
                    (before, true) => bindings.set("oldSelf", Cel::Optional(before.map(std::sync::Arc::new))),
                    (Some(before), false) => bindings.set("oldSelf", before),
                    (None, false) => continue,
                }
            }
            let outcome = rule.program.evaluate(&bindings, &mut self.budget).map(|outcome| outcome.as_bool());
            let shown = type_name(value);
            match outcome {
                Ok(Some(true)) => {}
                Ok(_) => {
                    let text = self.message(rule, &bindings);
                    self.errors.push(blame(rule, path, shown, &text));
                }
                Err(error @ EvalError::Budget) => {
                    self.errors.push(FieldError::invalid(path, shown, error.to_string()));
                    return Err(Spent);
                }
                Err(EvalError::CallCost) => {
                    let text = format!("call cost exceeds limit for rule: {}", rule.said());
                    self.errors.push(FieldError::invalid(path, shown, text));
                }
                Err(error) => {
                    let text = format!(
                        "{error} evaluating rule: {}",
                        rule.message.as_deref().unwrap_or(rule.text.trim())
                    );
                    self.errors.push(FieldError::invalid(path, shown, text));
                }
            }
        }
        Ok(())
    }

    /// What the message expression says, unless it fails, is empty or has line breaks.
    fn message(&mut self, rule: &Rule, bindings: &Bindings<'_>) -> String {
        let made = rule.message_expression.as_ref().and_then(|program| {
            let value = program.evaluate(bindings, &mut self.budget).ok()?;
            value.as_str().map(|text| text.trim().to_owned())
        });
        made.filter(|text| !text.is_empty() && !text.contains('\n')).unwrap_or_else(|| rule.said())
    }
}

fn blame(rule: &Rule, path: &Path, shown: &str, text: &str) -> FieldError {
    let path = rule.field.iter().fold(path.clone(), |path, step| path.child(step));
    match rule.reason {
        Cause::Required => FieldError::required(&path, text),
        Cause::Forbidden => FieldError::forbidden(&path, text),
        Cause::Duplicate => FieldError::duplicate(&path, shown),
        _ => FieldError::invalid(&path, shown, text),
    }
}

/// The item's old state: of a list with keys, the item with the same ones.
fn counterpart<'v>(schema: &Schema, item: &Value, old: Option<&'v Value>) -> Option<&'v Value> {
    let before = old?.as_array().filter(|_| schema.list == Some(List::Map))?;
    before.iter().find(|other| schema.list_keys.iter().all(|key| other.get(key) == item.get(key)))
}

/// Upstream shows a value's type in place of itself.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

//! Rules are compiled against the type of their place, and what they can cost is estimated: too dear ones are refused.

use keelson_cel::{CompileError, Environment, Program, STATIC_RULE_LIMIT, STATIC_SCHEMA_LIMIT, Type};
use serde_json::Value;

use super::super::schema::{Additional, List, Schema};
use super::{Rule, Rules, types};
use crate::field::{Cause, FieldError, Path};

const RULES: &str = "x-kubernetes-validations";

/// Compiles the rules of a schema into it, and tells what is wrong with them.
pub(in super::super) fn compile(
    schema: &mut Schema,
    json: &Value,
    path: &Path,
    errors: &mut Vec<FieldError>,
) {
    let mut compiler = Compiler { total: 0, errors };
    let place = Place { path: path.clone(), uncorrelated: None, times: 1, resource: true };
    compiler.schema(schema, json, &place);
    let total = compiler.total;
    if let Some(factor) = beyond(total, STATIC_SCHEMA_LIMIT) {
        let why = format!(
            "{RULES} estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
        );
        errors.push(FieldError::forbidden(path, why));
    }
}

struct Compiler<'e> {
    total: u64,
    errors: &'e mut Vec<FieldError>,
}

/// Where a schema stands.
struct Place {
    path: Path,
    /// The list above whose items cannot be told apart.
    uncorrelated: Option<Path>,
    /// How many values of it an object can have.
    times: u64,
    /// It has what all objects have.
    resource: bool,
}

impl Compiler<'_> {
    fn schema(&mut self, schema: &mut Schema, json: &Value, place: &Place) {
        if let Some(Value::Array(rules)) =
            json.get(RULES).filter(|rules| rules.as_array().is_some_and(|all| !all.is_empty()))
        {
            let ty = types::declared(schema, place.resource, &types::names());
            let list = rules.iter().enumerate().filter_map(|(index, rule)| {
                let path = place.path.child(RULES).index(index);
                self.rule(schema, rule, &ty, &path, place)
            });
            let list: Vec<Rule> = list.collect();
            schema.rules = Some(std::sync::Arc::new(Rules { ty, list }));
        }
        let below = |path: Path, embedded: bool| Place {
            path,
            uncorrelated: place.uncorrelated.clone(),
            times: place.times,
            resource: embedded,
        };
        let none = Value::Null;
        for (name, property) in &mut schema.properties {
            let json = json.get("properties").and_then(|all| all.get(name)).unwrap_or(&none);
            let embedded = property.embedded;
            self.schema(property, json, &below(place.path.child("properties").key(name), embedded));
        }
        if let Some(items) = &mut schema.items {
            let most = schema.limits.max_items.unwrap_or_else(|| types::most(items));
            let uncorrelated = place
                .uncorrelated
                .clone()
                .or_else(|| (schema.list != Some(List::Map)).then(|| place.path.clone()));
            let place = Place {
                uncorrelated,
                times: place.times.saturating_mul(most),
                ..below(place.path.child("items"), items.embedded)
            };
            self.schema(items, json.get("items").unwrap_or(&none), &place);
        }
        if let Some(Additional::Of(values)) = &mut schema.additional {
            let most = schema.limits.max_properties.unwrap_or_else(|| types::most(values));
            let place = Place {
                times: place.times.saturating_mul(most),
                ..below(place.path.child("additionalProperties"), values.embedded)
            };
            self.schema(values, json.get("additionalProperties").unwrap_or(&none), &place);
        }
    }

    fn rule(&mut self, schema: &Schema, json: &Value, ty: &Type, path: &Path, place: &Place) -> Option<Rule> {
        let text = |key: &str| json.get(key).and_then(Value::as_str);
        let rule = text("rule").unwrap_or_default();
        if rule.trim().is_empty() {
            self.errors.push(FieldError::required(&path.child("rule"), "rule is not specified"));
            return None;
        }
        self.message(text("message"), rule, path);
        let optional_old = json.get("optionalOldSelf").and_then(Value::as_bool).unwrap_or(false);
        let old = if optional_old { Type::optional(ty.clone()) } else { ty.clone() };
        let alone = Environment::new().with("self", ty.clone());
        let both = alone.clone().with("oldSelf", old);
        let (program, environment, transition) = match Program::compile_as(rule, &alone, &[Type::Bool]) {
            Ok(program) => (program, alone, false),
            Err(_) => match Program::compile_as(rule, &both, &[Type::Bool]) {
                Ok(program) => (program, both, true),
                Err(error) => {
                    self.errors.push(refused(&path.child("rule"), rule, &error));
                    return None;
                }
            },
        };
        if let (true, Some(list)) = (transition, &place.uncorrelated) {
            let why =
                format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {list}");
            self.errors.push(FieldError::invalid(&path.child("rule"), rule, why));
        }
        if optional_old && !transition {
            let why = "may not be set if oldSelf is not used in rule";
            self.errors.push(FieldError::invalid(&path.child("optionalOldSelf"), true, why));
        }
        self.cost(&program, &path.child("rule"), "estimated rule", place);
        let message_expression = text("messageExpression").and_then(|text| {
            let path = path.child("messageExpression");
            match Program::compile_as(text, &environment, &[Type::STRING]) {
                Ok(program) => {
                    self.cost(&program, &path, "estimated messageExpression", place);
                    Some(program)
                }
                Err(error) => {
                    self.errors.push(refused(&path, text, &error));
                    None
                }
            }
        });
        Some(Rule {
            program,
            text: rule.to_owned(),
            message: text("message").map(|message| message.trim().to_owned()),
            message_expression,
            reason: self.reason(text("reason"), path),
            field: self.field(schema, text("fieldPath"), path),
            transition,
            optional_old,
        })
    }

    fn message(&mut self, message: Option<&str>, rule: &str, path: &Path) {
        let path = path.child("message");
        match message {
            Some(message) if message.trim().is_empty() => {
                self.errors.push(FieldError::invalid(
                    &path,
                    message,
                    "message must be non-empty if specified",
                ));
            }
            Some(message) if message.contains('\n') => {
                self.errors.push(FieldError::invalid(&path, message, "message must not contain line breaks"));
            }
            None if rule.trim().contains('\n') => {
                let why = "message must be specified if rule contains line breaks";
                self.errors.push(FieldError::required(&path, why));
            }
            _ => {}
        }
    }

    fn cost(&mut self, program: &Program, path: &Path, what: &str, place: &Place) {
        let cost = program.cost_estimate().saturating_mul(place.times);
        self.total = self.total.saturating_add(cost);
        if let Some(factor) = beyond(cost, STATIC_RULE_LIMIT) {
            let why = format!(
                "{what} cost exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
            );
            self.errors.push(FieldError::forbidden(path, why));
        }
    }

    fn reason(&mut self, reason: Option<&str>, path: &Path) -> Cause {
        const KNOWN: [&str; 4] =
            ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
        match reason {
            None | Some("" | "FieldValueInvalid") => Cause::Invalid,
            Some("FieldValueRequired") => Cause::Required,
            Some("FieldValueForbidden") => Cause::Forbidden,
            Some("FieldValueDuplicate") => Cause::Duplicate,
            Some(other) => {
                self.errors.push(FieldError::not_supported(&path.child("reason"), other, &KNOWN));
                Cause::Invalid
            }
        }
    }

    /// Names of properties from the place on; of a map, a key.
    fn field(&mut self, schema: &Schema, field: Option<&str>, path: &Path) -> Vec<String> {
        let Some(text) = field else { return Vec::new() };
        let steps = steps(text);
        let leads = steps
            .as_ref()
            .is_some_and(|steps| steps.iter().try_fold(schema, |schema, step| schema.entry(step)).is_some());
        if !leads {
            let why = "fieldPath must be a valid path";
            self.errors.push(FieldError::invalid(&path.child("fieldPath"), text, why));
        }
        steps.unwrap_or_default()
    }
}

fn refused(path: &Path, text: &str, error: &CompileError) -> FieldError {
    FieldError::invalid(path, text, error.to_string())
}

/// By how much a cost is too high.
fn beyond(cost: u64, limit: u64) -> Option<String> {
    if cost <= limit {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a factor for people, with one digit")]
    let factor = cost as f64 / limit as f64;
    Some(if factor > 100.0 { "more than 100x".to_owned() } else { format!("{factor:.1}x") })
}

/// `.spec.a`, `.spec['a.b']`.
fn steps(text: &str) -> Option<Vec<String>> {
    let (mut rest, mut steps) = (text, Vec::new());
    while !rest.is_empty() {
        let (step, after) = match rest.strip_prefix("['") {
            Some(quoted) => quoted.split_once("']")?,
            None => {
                let name = rest.strip_prefix('.')?;
                name.split_at(name.find(['.', '[']).unwrap_or(name.len()))
            }
        };
        if step.is_empty() {
            return None;
        }
        steps.push(step.to_owned());
        rest = after;
    }
    (!steps.is_empty()).then_some(steps)
}

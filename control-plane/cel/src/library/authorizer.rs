//! `authorizer.group("apps").resource("deployments").namespace("x").check("create").allowed()`.

use std::sync::Arc;

use super::{Args, Row};
use crate::EvalError;
use crate::authorizer::{Check, Decision, Question, State};
use crate::value::Value;

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

/// What a decision costs: it may take long. Upstream's number.
const CHECK_COST: u64 = 350_000;

pub(crate) const ROWS: &[Row] = &[
    ("path", &["Authorizer.(string) -> PathCheck"], |args| {
        if args.values.get(1).and_then(Value::as_str) == Some("") {
            return Err(EvalError::other("path must not be empty"));
        }
        step(args, State::Path, |question, text| question.path = Some(text))
    }),
    ("group", &["Authorizer.(string) -> GroupCheck"], |args| {
        step(args, State::Group, |question, text| question.group = text)
    }),
    ("serviceAccount", &["Authorizer.(string, string) -> Authorizer"], |args| match args.values {
        [Value::Authorizer(check), Value::String(namespace), Value::String(name)] => {
            let mut check = check.as_ref().clone();
            check.question.service_account = Some((namespace.to_string(), name.to_string()));
            Ok(Value::Authorizer(Arc::new(check)))
        }
        _ => Err(EvalError::NoOverload),
    }),
    ("resource", &["GroupCheck.(string) -> ResourceCheck"], |args| {
        step(args, State::Resource, |question, text| question.resource = text)
    }),
    ("subresource", RESOURCE, |args| {
        step(args, State::Resource, |question, text| question.subresource = text)
    }),
    ("namespace", RESOURCE, |args| step(args, State::Resource, |question, text| question.namespace = text)),
    ("name", RESOURCE, |args| step(args, State::Resource, |question, text| question.name = text)),
    ("fieldSelector", RESOURCE, |args| {
        step(args, State::Resource, |question, text| question.field_selector = text)
    }),
    ("labelSelector", RESOURCE, |args| {
        step(args, State::Resource, |question, text| question.label_selector = text)
    }),
    ("check", &["PathCheck.(string) -> Decision", "ResourceCheck.(string) -> Decision"], |args| {
        let [Value::Authorizer(check), Value::String(verb)] = args.values else {
            return Err(EvalError::NoOverload);
        };
        args.meter.charge(CHECK_COST)?;
        let question = Question { verb: verb.to_string(), ..check.question.clone() };
        let decision = check.by.authorize(&question);
        Ok(Value::Authorizer(Arc::new(Check { by: check.by, question, state: State::Decided(decision) })))
    }),
    ("allowed", &["Decision.() -> bool"], |args| Ok(Value::Bool(decided(args)?.allowed))),
    ("reason", &["Decision.() -> string"], |args| Ok(Value::text(decided(args)?.reason.as_str()))),
    ("errored", &["Decision.() -> bool"], |args| Ok(Value::Bool(!decided(args)?.error.is_empty()))),
    ("error", &["Decision.() -> string"], |args| Ok(Value::text(decided(args)?.error.as_str()))),
];

const RESOURCE: &[&str] = &["ResourceCheck.(string) -> ResourceCheck"];

fn step<'a>(args: &Args<'_, '_, 'a>, state: State, set: fn(&mut Question, String)) -> Result<'a> {
    let [Value::Authorizer(check), Value::String(text)] = args.values else {
        return Err(EvalError::NoOverload);
    };
    let mut question = check.question.clone();
    set(&mut question, text.to_string());
    Ok(Value::Authorizer(Arc::new(Check { by: check.by, question, state })))
}

fn decided<'r>(args: &Args<'r, '_, '_>) -> std::result::Result<&'r Decision, EvalError> {
    match args.values {
        [Value::Authorizer(check)] => match &check.state {
            State::Decided(decision) => Ok(decision),
            _ => Err(EvalError::NoOverload),
        },
        _ => Err(EvalError::NoOverload),
    }
}

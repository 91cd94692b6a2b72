//! Expressions of policies and of rules.

use crate::fixtures;
use keelson_cel::{Bindings, Budget, Environment, ObjectType, Program, Type, Value, admission};
use serde_json::{Value as Json, json};
use std::sync::LazyLock;

/// One rule's budget: enough to find what is slow for what it is charged, small enough to try much.
const BUDGET: u64 = 100_000;

static POLICY: LazyLock<Environment> =
    LazyLock::new(|| admission::environment(admission::Has { params: true, authorizer: false }));
static RULE: LazyLock<(Environment, Json)> = LazyLock::new(|| {
    let item = ObjectType::new("item").field("name", Type::String(None)).field("size", Type::Int);
    let own = ObjectType::new("self")
        .field("n", Type::Int)
        .field("x", Type::Double)
        .field("s", Type::String(None))
        .field("b", Type::Bytes(None))
        .field("t", Type::Timestamp)
        .field("d", Type::Duration)
        .field("l", Type::list(Type::object(item)))
        .field("m", Type::map(Type::String(None)));
    let object = json!({
        "n": 7, "x": 0.5, "s": "a-b.c", "b": "aGVsbG8=", "t": "2026-01-02T03:04:05Z", "d": "1h30m",
        "l": [{ "name": "one", "size": 1 }, { "name": "two", "size": 2 }], "m": { "a": "1", "b": "" },
    });
    let own = Type::object(own);
    (Environment::new().with("self", own.clone()).with("oldSelf", own), object)
});

/// A byte for where it stands, the expression.
pub fn run(data: &[u8]) {
    let [place, text @ ..] = data else { return };
    let Ok(text) = str::from_utf8(text) else { return };
    if place % 2 == 0 {
        let pod = &fixtures::of("Pod").object;
        evaluate(text, &POLICY, &[("object", pod), ("oldObject", pod), ("params", pod)]);
    } else {
        let (environment, object) = &*RULE;
        evaluate(text, environment, &[("self", object), ("oldSelf", object)]);
    }
}

fn evaluate(text: &str, environment: &Environment, variables: &[(&'static str, &Json)]) {
    let Ok(program) = Program::compile(text, environment) else { return };
    let _ = (program.cost_estimate(), program.result_type());
    let mut bindings = Bindings::new();
    for (name, json) in variables {
        let ty = program.variable(name).expect("it is in the environment");
        bindings.set(name, Value::from_json(json, ty));
    }
    if let Ok(value) = program.evaluate(&bindings, &mut Budget::new(BUDGET)) {
        value.to_json();
    }
}

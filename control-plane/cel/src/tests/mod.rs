//! Expressions, by rows: what they come to, what is refused, what they cost.

mod compile;
mod cost;
mod hostile;
mod outcome;

use serde_json::{Value as Json, json};

use crate::{Bindings, Budget, CompileError, Environment, EvalError, Program, Type, Value};

/// `x` is of any type; `self` is what [`declared`] says.
fn environment() -> Environment {
    Environment::new().with("x", Type::Dyn).with("self", declared())
}

fn declared() -> Type {
    use crate::{ListKind, ObjectType};
    let port = ObjectType::new("port").field("name", Type::STRING).field("port", Type::Int);
    let object = ObjectType::new("self")
        .field("replicas", Type::Int)
        .field("ratio", Type::Double)
        .field("name", Type::String(Some(63)))
        .field("x-max", Type::Int)
        .field("namespace", Type::STRING)
        .field("at", Type::Timestamp)
        .field("every", Type::Duration)
        .field("blob", Type::BYTES)
        .field("port", Type::Dyn)
        .field("labels", Type::map(Type::STRING))
        .field("ports", Type::list_of(Type::object(port), ListKind::Map(vec!["name".into()]), Some(10)))
        .field("set", Type::list_of(Type::STRING, ListKind::Set, Some(10)))
        .field("list", Type::list(Type::Int));
    Type::object(object)
}

fn object() -> Json {
    json!({
        "replicas": 3, "ratio": 1, "name": "web", "x-max": 5, "namespace": "ns", "at": "2024-02-29T12:34:56.789Z",
        "every": "1h30m", "blob": "aGVsbG8=", "port": "http", "labels": { "app": "web", "a.b/c": "d" },
        "ports": [{ "name": "http", "port": 80 }, { "name": "https", "port": 443 }],
        "set": ["a", "b"], "list": [1, 2, 3],
    })
}

fn evaluate(expression: &str) -> Result<Json, EvalError> {
    let program =
        Program::compile(expression, &environment()).unwrap_or_else(|error| panic!("{expression}: {error}"));
    let ports = json!([{ "name": "http", "port": 8080 }, { "name": "new", "port": 1 }]);
    let x = json!({ "list": [1, 2.5, "a", null, true], "map": { "k": 1 }, "name": "web", "ports": ports });
    let own = object();
    let bindings = Bindings::new()
        .with("x", Value::from_json(&x, &Type::Dyn))
        .with("self", Value::from_json(&own, program.variable("self").unwrap()));
    let value = program.evaluate(&bindings, &mut Budget::default())?;
    Ok(value.to_json().unwrap_or_else(|| json!(format!("{value:?}"))))
}

fn refused(expression: &str) -> CompileError {
    match Program::compile(expression, &environment()) {
        Ok(program) => panic!("{expression} compiles to {program:?}"),
        Err(error) => error,
    }
}

//! CEL as Kubernetes has it: expressions compiled against declared types, evaluated over JSON under a cost budget.
//!
//! ```
//! use keelson_cel::{Bindings, Budget, Environment, ObjectType, Program, Type, Value};
//!
//! let spec = ObjectType::new("spec").field("replicas", Type::Int).field("x-max", Type::Int);
//! let environment = Environment::new().with("self", Type::object(spec));
//! let rule = Program::compile_as("self.replicas <= self.x__dash__max", &environment, &[Type::Bool]).unwrap();
//!
//! let object = serde_json::json!({ "replicas": 5, "x-max": 3 });
//! let bindings = Bindings::new().with("self", Value::from_json(&object, rule.variable("self").unwrap()));
//! let value = rule.evaluate(&bindings, &mut Budget::default()).unwrap();
//! assert_eq!(value.as_bool(), Some(false));
//! ```
//!
//! ```text
//! text --source--> parser's tree --lower--> nodes, names resolved --check--> type, cost estimate --eval--> value
//! ```
//! The grammar and its parser are the published crate `cel`; its evaluator is not used. It has no budget, so that one
//! expression could hold a request for ever; it resolves names while it evaluates and knows no types, so that nothing
//! could be refused when a policy is written; and it wants every variable converted to its own values first, where a
//! policy looks at three fields of a pod.
//!
//! Nothing here blocks, panics or allocates without bound: text and nesting are limited ([`EXPRESSION_CHARS_MAX`],
//! [`NESTING_MAX`]), every step is charged before it is done ([`Budget`]), patterns match in linear time.
//!
//! Not as upstream: `cost_estimate` bounds by the same sizes, but its numbers are its own.
#![forbid(unsafe_code)]

pub mod admission;
pub mod authorization;
mod authorizer;
mod budget;
mod check;
mod compare;
pub mod devices;
mod environment;
mod error;
mod eval;
mod library;
mod lower;
mod metrics;
mod node;
mod program;
mod source;
#[cfg(test)]
mod tests;
mod types;
mod value;

pub use authorizer::{Authorize, Check, Decision, Question};
pub use budget::{
    Budget, MATCH_CONDITIONS_BUDGET, OBJECT_BUDGET, PER_CALL_LIMIT, REQUEST_BYTES_MAX, STATIC_RULE_LIMIT,
    STATIC_SCHEMA_LIMIT,
};
pub use environment::Environment;
pub use error::{CompileError, EvalError};
pub use library::{format::Format, time::duration as duration_nanos, url::Url};
pub use program::{Bindings, Program};
pub use source::{EXPRESSION_CHARS_MAX, NESTING_MAX};
pub use types::{Library, ListKind, ListType, MapType, ObjectType, Type, escape};
pub use value::{Key, List, Map, Shape, Text, Value};

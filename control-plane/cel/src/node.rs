//! The expression as it is checked and evaluated: names resolved, macros kept whole instead of being spelt out as loops.
//!
//! Kept whole they are cheaper (`map` appends to one list, where the spelt-out form copies it for each item) and the
//! checker can speak of what was written.

use std::sync::Arc;

use regex::Regex;

use crate::library::Function;
use crate::types::Type;
use crate::value::Value;

/// A step, and where in the source it stands.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) step: Step,
    /// Characters before it.
    pub(crate) at: usize,
}

#[derive(Debug)]
pub(crate) enum Step {
    Literal(Value<'static>),
    /// A declared variable.
    Variable(Arc<str>),
    /// A composited variable, by its place in the environment: `variables.x`.
    Composited(usize),
    /// What a macro or `cel.bind` named, by its place on the stack.
    Local(usize),
    /// `int`, `string`: the type as a value.
    TypeName(Type),
    Select(Box<Select>),
    /// `x[k]`, or `x[?k]`.
    Index {
        of: Box<Node>,
        key: Box<Node>,
        optional: bool,
    },
    Call(Box<Call>),
    List(Vec<Item>),
    Map(Vec<Entry>),
    /// `Object.spec{..}` or `JSONPatch{..}`.
    Struct {
        name: String,
        fields: Vec<(Arc<str>, Node, bool)>,
    },
    And(Vec<Node>),
    Or(Vec<Node>),
    Conditional(Box<[Node; 3]>),
    Macro(Box<Macro>),
    /// `cel.bind(x, init, body)`.
    Bind {
        init: Box<Node>,
        body: Box<Node>,
    },
    /// `x.optMap(v, body)`, or optFlatMap.
    OptMap {
        of: Box<Node>,
        body: Box<Node>,
        flat: bool,
    },
}

#[derive(Debug)]
pub(crate) struct Select {
    pub(crate) of: Node,
    /// As written, which for a declared field may be escaped.
    pub(crate) field: Arc<str>,
    pub(crate) how: How,
}

/// What is wanted of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// `x.f`
    Value,
    /// `has(x.f)`
    Test,
    /// `x.?f`
    Optional,
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) function: &'static Function,
    /// `x.f(..)`: x is the first argument.
    pub(crate) member: bool,
    pub(crate) args: Vec<Node>,
    /// The pattern, where it is known when the expression is compiled.
    pub(crate) regex: Option<Regex>,
}

#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) value: Node,
    pub(crate) optional: bool,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: Node,
    pub(crate) value: Node,
    pub(crate) optional: bool,
}

/// A loop over a list or map.
#[derive(Debug)]
pub(crate) struct Macro {
    pub(crate) kind: MacroKind,
    pub(crate) range: Node,
    /// Two variables: index and item, or key and value.
    pub(crate) two: bool,
    pub(crate) predicate: Option<Node>,
    pub(crate) transform: Option<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MacroKind {
    All,
    Exists,
    ExistsOne,
    /// `map` and `transformList`.
    Map,
    Filter,
    TransformMap,
    /// `transformMapEntry`.
    TransformMapEntry,
}

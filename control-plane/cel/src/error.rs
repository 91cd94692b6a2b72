//! What can go wrong when an expression is compiled and when it is evaluated.

/// Why an expression is refused. The text is as upstream's, with the place in the source under it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The text is no expression, or names or types do not fit.
    #[error("compilation failed: {0}")]
    Invalid(String),
    /// It is of another type than wanted.
    #[error("must evaluate to {0}")]
    Result(String),
    /// It is longer than anybody may ask us to read.
    #[error("compilation failed: expression code point size exceeds limit: size: {size}, limit {limit}")]
    TooLong {
        /// What it has.
        size: usize,
        /// What it may have.
        limit: usize,
    },
    /// It nests deeper than evaluation may recurse.
    #[error("compilation failed: expression recursion limit exceeded. limit: {0}")]
    TooDeep(usize),
}

/// Why an evaluation gave no value. Texts are as upstream's where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The one call took more than it may.
    #[error("operation cancelled: actual cost limit exceeded")]
    CallCost,
    /// Nothing is left of the budget that several calls share.
    #[error("validation failed due to running out of cost budget, no further validation rules will be run")]
    Budget,
    /// Evaluation, or what it made, nests too deep: expressions that name what others made.
    #[error("expression recursion limit exceeded")]
    TooDeep,
    /// No variable of the name was given.
    #[error("no such attribute(s): {0}")]
    Unbound(String),
    /// A map without the key.
    #[error("no such key: {0}")]
    NoSuchKey(String),
    /// An index outside of the list.
    #[error("index out of bounds: {0}")]
    OutOfBounds(i64),
    /// A function or operator that does not know values of these types.
    #[error("no such overload")]
    NoOverload,
    /// A result outside of the type.
    #[error("return error for overflow")]
    Overflow,
    /// x / 0.
    #[error("division by zero")]
    DivideByZero,
    /// x % 0.
    #[error("modulus by zero")]
    ModulusByZero,
    /// `none.value()`.
    #[error("optional.none() dereference")]
    None,
    /// What a function has to say of its arguments.
    #[error("{0}")]
    Other(String),
}

impl EvalError {
    /// Whether it ends the evaluation: nothing of `||`, `&&` or of a macro may hide it.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::CallCost | Self::Budget | Self::TooDeep)
    }

    pub(crate) fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }
}

//! A compiled expression, and what it is evaluated with.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use crate::budget::Budget;
use crate::check::{Facts, check};
use crate::environment::Environment;
use crate::eval::Run;
use crate::lower::{Refusal, lower};
use crate::node::Node;
use crate::types::Type;
use crate::value::Value;
use crate::{CompileError, EvalError, metrics, source};

/// A compiled expression.
pub struct Program {
    pub(crate) root: Node,
    pub(crate) environment: Environment,
    facts: Facts,
}

impl Program {
    /// Parses, resolves names and checks types as far as they are declared.
    ///
    /// # Errors
    /// What is wrong and where, in upstream's words.
    pub fn compile(expression: &str, environment: &Environment) -> Result<Self, CompileError> {
        let _timed = metrics::compilation();
        let refused = |(at, text): Refusal| CompileError::Invalid(source::placed(expression, at, &text));
        let (root, facts) = source::parse(expression, |tree, info| {
            let root = lower(tree, info, environment).map_err(refused)?;
            let facts = check(&root, environment).map_err(refused)?;
            Ok((root, facts))
        })?;
        Ok(Self { root, environment: environment.clone(), facts })
    }

    /// As [`Program::compile`], for an expression that has to be of one of these types. One that is known only when it
    /// is evaluated (dyn) will do.
    ///
    /// # Errors
    /// As [`Program::compile`]; [`CompileError::Result`] for another type.
    pub fn compile_as(
        expression: &str,
        environment: &Environment,
        wanted: &[Type],
    ) -> Result<Self, CompileError> {
        let program = Self::compile(expression, environment)?;
        let ty = program.result_type();
        if ty.is_dyn() || wanted.iter().any(|wanted| wanted.is_like(ty)) {
            return Ok(program);
        }
        let names = wanted.iter().map(Type::to_string).collect::<Vec<_>>();
        Err(CompileError::Result(match &*names {
            [one] => one.clone(),
            several => format!("one of [{}]", several.join(" ")),
        }))
    }

    /// The declared type of a variable that the program may name, by which its JSON is to be read.
    pub fn variable(&self, name: &str) -> Option<&Type> {
        self.environment.get(name).map(|(_, ty)| ty)
    }

    /// What it evaluates to, as far as that is known.
    pub fn result_type(&self) -> &Type {
        &self.facts.ty
    }

    /// The most that one evaluation can cost, from the declared sizes: estimated as upstream does, not proven.
    /// [`u64::MAX`] where nothing bounds it.
    pub fn cost_estimate(&self) -> u64 {
        self.facts.cost
    }

    /// The value. Takes what it costs from the budget, also when it fails.
    ///
    /// # Errors
    /// What the expression ran into. [`EvalError::is_final`] ones end the evaluation of the expressions that follow, too.
    pub fn evaluate<'a>(&self, bindings: &Bindings<'a>, budget: &mut Budget) -> Result<Value<'a>, EvalError> {
        let _timed = metrics::evaluation();
        let mut meter = budget.meter();
        let composited = &self.environment.composited;
        Run { bindings, composited, meter: &mut meter, locals: Vec::new(), depth: 0 }.value(&self.root)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({})", self.facts.ty)
    }
}

/// A composited variable's name, and what it came to.
type Composited<'a> = (Arc<str>, Result<Value<'a>, EvalError>);

/// The variables of one evaluation, and the composited ones that were already evaluated with them.
#[derive(Default)]
pub struct Bindings<'a> {
    values: Vec<(&'static str, Value<'a>)>,
    composited: RefCell<Vec<Composited<'a>>>,
}

impl<'a> Bindings<'a> {
    /// Without any.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more; the last of a name counts.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Value<'a>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets one. What composited variables made of its old value is forgotten.
    pub fn set(&mut self, name: &'static str, value: Value<'a>) {
        self.values.retain(|(own, _)| *own != name);
        self.values.push((name, value));
        self.composited.get_mut().clear();
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.values.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    pub(crate) fn composited(&self, name: &str) -> Option<Result<Value<'a>, EvalError>> {
        self.composited.borrow().iter().find(|(own, _)| &**own == name).map(|(_, value)| value.clone())
    }

    pub(crate) fn keep(&self, name: &Arc<str>, value: Result<Value<'a>, EvalError>) {
        self.composited.borrow_mut().push((name.clone(), value));
    }
}

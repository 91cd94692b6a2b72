//! What an expression may name: variables with their types, and composited variables, which are expressions themselves.

use std::sync::Arc;

use crate::Program;
use crate::types::Type;

/// Declared variables. Functions are the same everywhere but for what only mutations have.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: Vec<(Arc<str>, Type)>,
    pub(crate) composited: Vec<(Arc<str>, Arc<Program>)>,
    pub(crate) mutation: bool,
}

impl Environment {
    /// Without variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, ty: Type) -> Self {
        self.variables.push((name.into(), ty));
        self
    }

    /// With `variables.NAME`: evaluated where it is first named, and once for all programs that share [`crate::Bindings`].
    /// It was compiled against this environment as it was before, so it may name earlier ones only.
    #[must_use]
    pub fn with_composited(mut self, name: &str, program: Arc<Program>) -> Self {
        self.composited.push((name.into(), program));
        self
    }

    /// With `Object{..}`, `JSONPatch{..}` and `jsonpatch.escapeKey`.
    #[must_use]
    pub fn for_mutation(mut self) -> Self {
        self.mutation = true;
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<(&Arc<str>, &Type)> {
        self.variables.iter().find(|(own, _)| &**own == name).map(|(name, ty)| (name, ty))
    }

    pub(crate) fn composited(&self, name: &str) -> Option<usize> {
        self.composited.iter().position(|(own, _)| &**own == name)
    }
}

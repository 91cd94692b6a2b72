//! What is wrong with a configuration file: all of it at once, each with its field, in upstream's form.

use std::fmt;

/// All that is wrong with a configuration, each with its field.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct InvalidConfiguration(pub Vec<String>);

impl fmt::Display for InvalidConfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// Where we are in the file, and what is wrong so far.
pub(crate) struct Faults<'a> {
    path: String,
    all: &'a mut Vec<String>,
}

impl<'a> Faults<'a> {
    /// At the root; what is found goes into `all`.
    pub(crate) fn new(all: &'a mut Vec<String>) -> Self {
        Self { path: String::new(), all }
    }

    /// How much is wrong so far.
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn at(&mut self, child: impl fmt::Display) -> Faults<'_> {
        let path = if self.path.is_empty() { child.to_string() } else { format!("{}.{child}", self.path) };
        Faults { path, all: self.all }
    }

    pub(crate) fn required(&mut self, why: &str) {
        self.all.push(format!("{}: Required value: {why}", self.path));
    }

    pub(crate) fn invalid(&mut self, value: impl fmt::Debug, why: impl fmt::Display) {
        self.all.push(format!("{}: Invalid value: {value:?}: {why}", self.path));
    }

    pub(crate) fn unsupported(&mut self, value: &str, supported: &[&str]) {
        let known: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
        self.all.push(format!(
            "{}: Unsupported value: {value:?}: supported values: {}",
            self.path,
            known.join(", ")
        ));
    }

    pub(crate) fn duplicate(&mut self, value: &str) {
        self.all.push(format!("{}: Duplicate value: {value:?}", self.path));
    }
}

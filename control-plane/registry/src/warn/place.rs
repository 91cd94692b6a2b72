//! Where a field is, at no cost until somebody is told.

use std::fmt;

/// A field's path as a chain of what is above it: `spec.containers[0].env[1]`. The validator's `Path` is a text from the start.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// The object itself.
    Root,
    /// A field; `a.b` goes two down.
    Field(&'a Place<'a>, &'a str),
    /// An item of a list.
    Index(&'a Place<'a>, usize),
    /// An entry of a map.
    Key(&'a Place<'a>, &'a str),
}

impl<'a> Place<'a> {
    /// A field below; `a.b` goes two down.
    pub const fn field(&'a self, name: &'a str) -> Place<'a> {
        Place::Field(self, name)
    }

    /// An item of this list.
    pub const fn index(&'a self, index: usize) -> Place<'a> {
        Place::Index(self, index)
    }

    /// An entry of this map.
    pub const fn key(&'a self, key: &'a str) -> Place<'a> {
        Place::Key(self, key)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Root => Ok(()),
            Place::Field(Place::Root, name) => f.write_str(name),
            Place::Field(parent, name) => write!(f, "{parent}.{name}"),
            Place::Index(parent, index) => write!(f, "{parent}[{index}]"),
            Place::Key(parent, key) => write!(f, "{parent}[{key}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_as_upstreams_paths() {
        let template = Place::Root.field("spec.template");
        let spec = template.field("spec");
        let containers = spec.field("containers");
        assert_eq!(
            containers.index(1).field("env").index(0).to_string(),
            "spec.template.spec.containers[1].env[0]"
        );
        assert_eq!(spec.field("nodeSelector").key("a/b").to_string(), "spec.template.spec.nodeSelector[a/b]");
    }
}

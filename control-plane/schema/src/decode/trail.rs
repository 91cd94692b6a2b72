//! Where decoding is: a chain of stack frames, turned into text only when something is wrong.

use std::fmt::Write;

use crate::types::{Shape, TypeRef};

/// One step down from the parent.
#[derive(Clone, Copy)]
pub(crate) enum Step<'t> {
    Root,
    /// A property of a type, by the type's definition name.
    Field(&'t str, &'t str),
    Key(&'t str),
    Index(usize),
}

#[derive(Clone, Copy)]
pub(crate) struct Trail<'t> {
    parent: Option<&'t Trail<'t>>,
    step: Step<'t>,
}

impl<'t> Trail<'t> {
    pub(crate) const ROOT: Trail<'static> = Trail { parent: None, step: Step::Root };

    pub(crate) fn then<'a>(&'a self, step: Step<'a>) -> Trail<'a> {
        Trail { parent: Some(self), step }
    }

    /// How many steps down from the object this is.
    pub(crate) fn depth(&self) -> usize {
        std::iter::successors(self.parent, |trail| trail.parent).count()
    }

    /// `spec.containers[0].foo`: the path of a field below, as strict errors give it.
    pub(crate) fn field(&self, name: &str) -> String {
        let mut path = self.here();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
        path
    }

    /// The path of this place itself.
    pub(crate) fn here(&self) -> String {
        let mut path = String::new();
        self.write_path(&mut path);
        path
    }

    fn write_path(&self, out: &mut String) {
        if let Some(parent) = self.parent {
            parent.write_path(out);
        }
        match self.step {
            Step::Root => {}
            Step::Field(_, name) | Step::Key(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            Step::Index(index) => write!(out, "[{index}]").expect("writing to memory does not fail"),
        }
    }

    /// `json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.hostPort of type int32`.
    pub(crate) fn mismatch(&self, found: &str, expected: &str) -> String {
        let mut fields = Vec::new();
        let mut owner = None;
        let mut at = Some(self);
        while let Some(trail) = at {
            if let Step::Field(ty, name) = trail.step {
                owner = owner.or(ty.rsplit('.').next());
                fields.push(name);
            }
            at = trail.parent;
        }
        fields.reverse();
        match owner {
            Some(owner) => {
                let fields = fields.join(".");
                format!(
                    "json: cannot unmarshal {found} into Go struct field {owner}.{fields} of type {expected}"
                )
            }
            None => format!("json: cannot unmarshal {found} into Go value of type {expected}"),
        }
    }
}

/// The name that upstream's messages give a type.
pub(crate) fn type_name(ty: TypeRef<'_>) -> String {
    match ty.shape() {
        Shape::Bool => "bool".into(),
        Shape::Int32 => "int32".into(),
        Shape::Int64 => "int64".into(),
        Shape::Float => "float64".into(),
        Shape::String | Shape::IntOrString | Shape::Time | Shape::MicroTime | Shape::Quantity => {
            "string".into()
        }
        Shape::Bytes => "[]uint8".into(),
        Shape::Json | Shape::Opaque | Shape::Free => "map[string]interface {}".into(),
        Shape::Object(_) => format!("{}.{}", ty.version(), ty.kind()),
        Shape::Array(_) => format!("[]{}", ty.inner().map(type_name).unwrap_or_default()),
        Shape::Map(_) => format!("map[string]{}", ty.inner().map(type_name).unwrap_or_default()),
    }
}

//! A custom resource's schema in the form that structured merge reads: types, properties, merge rules.

use std::borrow::Cow;

use super::schema::{Additional, Kind, List, Schema};
use crate::decode::Wire;
use crate::types::{Default as PropertyDefault, ListType, Merge, Property, Schemas, Shape, Type, TypeRef};

/// The definition of the metadata of all objects.
pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The types of a schema; the first is the resource itself, whose definition has this name.
pub(super) fn compile(schema: &Schema, name: String) -> Schemas {
    let mut out = Compiler::default();
    out.schemas.types.push(empty(name.into()));
    let mut root = out.properties(schema);
    out.add_what_objects_have(&mut root);
    out.schemas.types[0].properties = root;
    out.schemas.types[0].open = schema.preserve;
    out.schemas
}

#[derive(Default)]
struct Compiler {
    schemas: Schemas,
    imported: Vec<(String, Shape)>,
}

fn empty(name: Cow<'static, str>) -> Type {
    Type {
        name,
        map_atomic: false,
        properties: Vec::new(),
        hook: None,
        has_defaults: false,
        open: false,
        wire: Wire::default(),
    }
}

fn property(name: Cow<'static, str>, shape: Shape) -> Property {
    Property { name, shape, required: false, held: false, merge: None, default: None }
}

impl Compiler {
    fn properties(&mut self, schema: &Schema) -> Vec<Property> {
        let mut properties = Vec::with_capacity(schema.properties.len());
        for (name, below) in &schema.properties {
            let shape = self.shape(below);
            let default = below.default.clone().filter(|value| !value.is_object() && !value.is_array());
            properties.push(Property {
                required: schema.required.contains(name),
                merge: merge(below).map(Box::new),
                default: default.map(|value| Box::new(PropertyDefault { value, zero_is_unset: false })),
                ..property(Cow::Owned(name.clone()), shape)
            });
        }
        properties
    }

    /// The properties of every object, the embedded ones too, whatever the schema says of them.
    fn add_what_objects_have(&mut self, properties: &mut Vec<Property>) {
        let meta = Schemas::builtin().definition(OBJECT_META).expect("every table has the meta types");
        let meta = self.import(meta);
        for (name, shape) in [("apiVersion", Shape::String), ("kind", Shape::String), ("metadata", meta)] {
            properties.retain(|property| property.name != name);
            properties.push(property(Cow::Borrowed(name), shape));
        }
        properties.sort_by(|a, b| a.name.cmp(&b.name));
    }

    fn shape(&mut self, schema: &Schema) -> Shape {
        if schema.int_or_string {
            return Shape::IntOrString;
        }
        match schema.kind {
            Some(Kind::Boolean) => Shape::Bool,
            Some(Kind::Integer) => Shape::Int64,
            Some(Kind::Number) => Shape::Float,
            Some(Kind::String) => Shape::String,
            Some(Kind::Array) => {
                let inner = schema.items.as_deref().map_or(Shape::Free, |items| self.shape(items));
                self.inner(inner).map_or(Shape::Free, Shape::Array)
            }
            Some(Kind::Object) if schema.properties.is_empty() && !schema.preserve && !schema.embedded => {
                let inner = match &schema.additional {
                    Some(Additional::Of(below)) => self.shape(below),
                    Some(Additional::Any) => Shape::Free,
                    Some(Additional::Nothing) | None => return self.object(schema),
                };
                self.inner(inner).map_or(Shape::Free, Shape::Map)
            }
            Some(Kind::Object) => self.object(schema),
            None => Shape::Free,
        }
    }

    fn object(&mut self, schema: &Schema) -> Shape {
        let Ok(id) = u16::try_from(self.schemas.types.len()) else { return Shape::Free };
        self.schemas.types.push(empty(Cow::Borrowed("object")));
        let mut properties = self.properties(schema);
        if schema.embedded {
            self.add_what_objects_have(&mut properties);
        }
        let ty = &mut self.schemas.types[usize::from(id)];
        ty.properties = properties;
        ty.map_atomic = schema.map_atomic;
        ty.open = schema.preserve;
        Shape::Object(id)
    }

    fn inner(&mut self, shape: Shape) -> Option<u16> {
        let id = u16::try_from(self.schemas.inner.len()).ok()?;
        self.schemas.inner.push(shape);
        Some(id)
    }

    /// A built-in type with all that it refers to.
    fn import(&mut self, ty: TypeRef<'_>) -> Shape {
        match ty.shape() {
            Shape::Object(_) => {}
            Shape::Array(_) | Shape::Map(_) => {
                let inner = ty.inner().map_or(Shape::Free, |inner| self.import(inner));
                let id = self.inner(inner);
                let made = if matches!(ty.shape(), Shape::Array(_)) { Shape::Array } else { Shape::Map };
                return id.map_or(Shape::Free, made);
            }
            scalar => return scalar,
        }
        let name = ty.name().unwrap_or_default();
        if let Some((_, shape)) = self.imported.iter().find(|(known, _)| known == name) {
            return *shape;
        }
        let Ok(id) = u16::try_from(self.schemas.types.len()) else { return Shape::Free };
        self.imported.push((name.to_owned(), Shape::Object(id)));
        self.schemas.types.push(empty(Cow::Owned(name.to_owned())));
        let properties = ty.properties().map(|own| Property {
            required: own.required,
            held: own.held,
            merge: own.merge.as_deref().map(|merge| Box::new(merge.clone())),
            ..property(own.name.clone(), self.import(ty.child(own)))
        });
        let properties: Vec<Property> = properties.collect();
        let own = &mut self.schemas.types[usize::from(id)];
        own.properties = properties;
        own.map_atomic = ty.is_atomic();
        Shape::Object(id)
    }
}

/// The rules of a list or a map, where they are not the usual ones.
fn merge(schema: &Schema) -> Option<Merge> {
    let merge = Merge {
        list_type: match schema.list {
            Some(List::Set) => ListType::Set,
            Some(List::Map) => ListType::Map,
            Some(List::Atomic) | None => ListType::Atomic,
        },
        map_keys: schema.list_keys.iter().map(|key| Cow::Owned(key.clone())).collect(),
        map_atomic: schema.map_atomic,
        ..Merge::default()
    };
    (merge != Merge::default()).then_some(merge)
}

//! Reads the embedded table of types into [`Schemas`]. The table's form is described in `build/shapes.rs`.

use std::collections::HashMap;

use crate::decode::Wire;
use crate::defaults;
use crate::types::{Default as PropertyDefault, Kind, ListType, Merge, Property, Schemas, Shape, Type};

static TABLE: &str = include_str!(concat!(env!("OUT_DIR"), "/schema.tsv"));

/// The types of the built-in kinds. The table is our own build's output: a fault in it is a bug, not an error.
pub(crate) fn builtin() -> Schemas {
    let mut loader = Loader::default();
    for line in TABLE.lines() {
        let columns: Vec<&'static str> = line.split('\t').collect();
        match columns.as_slice() {
            &["T", name, map_type] => loader.schemas.types.push(Type {
                name: name.into(),
                map_atomic: map_type == "atomic",
                properties: Vec::new(),
                hook: defaults::hook(name),
                has_defaults: false,
                open: false,
                wire: Wire::default(),
            }),
            ["P", rest @ ..] => {
                let property = loader.property(rest);
                loader
                    .schemas
                    .types
                    .last_mut()
                    .expect("a property follows its type")
                    .properties
                    .push(property);
            }
            ["W", path, property, presence, form] => {
                let ty = loader.schemas.types.last_mut().expect("a protobuf field follows its type");
                let at = ty.index_of(property).expect("the build checks that the property exists");
                ty.properties[at].held |= matches!(ty.properties[at].shape, Shape::Object(_))
                    && matches!(*presence, "value" | "kept");
                ty.wire.insert(path, at, presence, form);
            }
            &["K", group, version, kind, type_id] => {
                let type_id = type_id.parse().expect("a kind's type is a number");
                loader.schemas.kinds.push(Kind { group, version, kind, type_id });
            }
            _ => panic!("the embedded schema has an unknown record: {line}"),
        }
    }
    let mut schemas = loader.schemas;
    schemas.types.shrink_to_fit();
    schemas.kinds.sort_by(|a, b| (a.group, a.version, a.kind).cmp(&(b.group, b.version, b.kind)));
    mark_types_with_defaults(&mut schemas);
    schemas
}

#[derive(Default)]
struct Loader {
    schemas: Schemas,
    inner: HashMap<Shape, u16>,
}

impl Loader {
    fn property(&mut self, columns: &[&'static str]) -> Property {
        let &[name, shape, required, list_type, map_keys, map_type, strategy, merge_key, default, zero] =
            columns
        else {
            panic!("the embedded schema has a property with missing columns: {columns:?}");
        };
        let merge = Merge {
            list_type: match list_type {
                "map" => ListType::Map,
                "set" => ListType::Set,
                _ => ListType::Atomic,
            },
            map_keys: map_keys.split(',').filter(|key| !key.is_empty()).map(Into::into).collect(),
            map_atomic: map_type == "atomic",
            map_granular: map_type == "granular",
            patch_merge: strategy.split(',').any(|s| s == "merge"),
            patch_replace: strategy.split(',').any(|s| s == "replace"),
            patch_retain_keys: strategy.split(',').any(|s| s == "retainKeys"),
            merge_key: (!merge_key.is_empty()).then_some(merge_key),
        };
        let (shape, required) = (self.shape(shape), required == "!");
        Property {
            name: name.into(),
            shape,
            required,
            // A required list or map is written even when it is empty; objects are told by their protobuf field.
            held: required && matches!(shape, Shape::Array(_) | Shape::Map(_)),
            merge: (merge != Merge::default()).then(|| Box::new(merge)),
            default: (!default.is_empty()).then(|| {
                let value = serde_json::from_str(default).expect("the build writes defaults as JSON");
                Box::new(PropertyDefault { value, zero_is_unset: zero == "0" })
            }),
        }
    }

    fn shape(&mut self, text: &str) -> Shape {
        let (letter, rest) = text.split_at(1);
        match letter {
            "b" => Shape::Bool,
            "i" => Shape::Int32,
            "l" => Shape::Int64,
            "f" => Shape::Float,
            "s" => Shape::String,
            "B" => Shape::Bytes,
            "t" => Shape::Time,
            "u" => Shape::MicroTime,
            "q" => Shape::Quantity,
            "o" => Shape::IntOrString,
            "j" => Shape::Json,
            "O" => Shape::Opaque,
            "R" => Shape::Object(rest.parse().expect("a reference is a number")),
            "[" => Shape::Array(self.intern(rest)),
            "{" => Shape::Map(self.intern(rest)),
            _ => panic!("the embedded schema has an unknown shape: {text}"),
        }
    }

    fn intern(&mut self, text: &str) -> u16 {
        let shape = self.shape(text);
        let next = u16::try_from(self.schemas.inner.len()).expect("far fewer than 65536 shapes");
        *self.inner.entry(shape).or_insert_with(|| {
            self.schemas.inner.push(shape);
            next
        })
    }
}

/// Until nothing changes: a type has defaults if it, or what one of its properties leads to, has some.
fn mark_types_with_defaults(schemas: &mut Schemas) {
    loop {
        let found: Vec<usize> = (0..schemas.types.len())
            .filter(|&id| {
                let ty = &schemas.types[id];
                let own = ty.hook.is_some() || ty.properties.iter().any(|p| p.default.is_some());
                !ty.has_defaults
                    && (own || ty.properties.iter().any(|p| defaults::concerns(schemas, p.shape)))
            })
            .collect();
        if found.is_empty() {
            return;
        }
        for id in found {
            schemas.types[id].has_defaults = true;
        }
    }
}

//! The types that rules see values by, and the least that a value takes as JSON, from which sizes are estimated.
//! Expressions of admission policies see a resource by the same, with the whole of its metadata.

use keelson_cel::{ListKind, ObjectType, REQUEST_BYTES_MAX, Type};

use super::super::schema::{Additional, Kind, List, Schema};

/// What rules see of the metadata of all objects.
pub(super) fn names() -> Type {
    Type::object(ObjectType::new("metadata").field("name", Type::STRING).field("generateName", Type::STRING))
}

/// The declared type of a place. `resource`: it has what all objects have, with metadata of this type.
pub(in super::super) fn declared(schema: &Schema, resource: bool, metadata: &Type) -> Type {
    if schema.int_or_string {
        return Type::Dyn;
    }
    match schema.kind {
        Some(Kind::Boolean) => Type::Bool,
        Some(Kind::Integer) => Type::Int,
        Some(Kind::Number) => Type::Double,
        Some(Kind::String) => match schema.format.as_deref() {
            Some("byte") => Type::Bytes(schema.limits.max_length),
            Some("date" | "date-time") => Type::Timestamp,
            Some("duration") => Type::Duration,
            _ if schema.allowed.is_empty() => Type::String(schema.limits.max_length),
            _ => {
                let longest = schema.allowed.iter().filter_map(|one| one.as_str()).map(str::len).max();
                Type::String(longest.map(|length| length as u64))
            }
        },
        Some(Kind::Array) => {
            let items = schema.items.as_deref();
            let element = items.map_or(Type::Dyn, |items| declared(items, items.embedded, metadata));
            let kind = match schema.list {
                Some(List::Set) => ListKind::Set,
                Some(List::Map) => ListKind::Map(schema.list_keys.clone()),
                Some(List::Atomic) | None => ListKind::Atomic,
            };
            Type::list_of(element, kind, schema.limits.max_items)
        }
        Some(Kind::Object) => object(schema, resource, metadata),
        None => Type::Dyn,
    }
}

fn object(schema: &Schema, resource: bool, metadata: &Type) -> Type {
    if let Some(Additional::Of(values)) = &schema.additional {
        let values = declared(values, values.embedded, metadata);
        return Type::map_of(Type::STRING, values, schema.limits.max_properties);
    }
    if schema.properties.is_empty() && !resource {
        return if schema.preserve { Type::Dyn } else { Type::object(ObjectType::new("object")) };
    }
    let mut ty = ObjectType::new("object");
    for (name, property) in &schema.properties {
        ty = ty.field(name, declared(property, property.embedded, metadata));
    }
    if resource {
        ty = ty
            .field("apiVersion", Type::STRING)
            .field("kind", Type::STRING)
            .field("metadata", metadata.clone());
    }
    Type::object(ty)
}

/// How many values of a schema one request can hold side by side, where nothing else bounds them.
pub(super) fn most(below: &Schema) -> u64 {
    REQUEST_BYTES_MAX / (least_bytes(below) + 1)
}

fn least_bytes(schema: &Schema) -> u64 {
    match schema.kind {
        Some(Kind::Boolean) => 4,
        Some(Kind::Integer | Kind::Number) | None => 1,
        Some(Kind::String) => 2 + schema.limits.min_length.unwrap_or(0),
        Some(Kind::Array) => {
            let items = schema.limits.min_items.unwrap_or(0);
            2 + schema.items.as_deref().map_or(0, |below| items.saturating_mul(least_bytes(below) + 1))
        }
        Some(Kind::Object) => {
            let required =
                schema.required.iter().filter_map(|name| Some((name, schema.properties.get(name)?)));
            2 + required
                .filter(|(_, property)| property.default.is_none())
                .map(|(name, property)| name.len() as u64 + 4 + least_bytes(property))
                .sum::<u64>()
        }
    }
}

//! Fills in what clients leave out: the layers "default" and "conversion" of `facts/defaults.tsv`.
//!
//! Two sorts: plain defaults are part of the schema (compiled from the table) and hold wherever a type is used; those
//! that depend on other fields are functions here, by API group, each attached to a type. At every object the plain
//! ones come first, then its function, then the objects below. Does not know stored objects, the clock or the user:
//! what needs them is the strategies' and admission's.

mod apps;
mod core;
mod extensions;
mod networking;
mod pod;

use keelson_semantics::Quantity;
use serde_json::{Map, Value};

use crate::types::{Schemas, Shape, TypeRef};

/// Conditional defaults of one object type, given the object with its plain defaults.
pub(crate) type Hook = fn(&mut Map<String, Value>);

/// Applies every default to an object of type `ty`. Doing it again changes nothing.
pub fn apply(ty: TypeRef<'_>, value: &mut Value) {
    if let Some(schema) = ty.custom() {
        return crate::custom::apply_defaults(schema, value);
    }
    match (ty.shape(), value) {
        (Shape::Object(_), Value::Object(object)) => apply_object(ty, object),
        (Shape::Array(_), Value::Array(items)) => {
            if let Some(inner) = ty.inner().filter(|inner| concerns(ty.schemas, inner.shape())) {
                items.iter_mut().for_each(|item| apply(inner, item));
            }
        }
        (Shape::Map(_), Value::Object(entries)) => match ty.inner() {
            Some(inner) if inner.shape() == Shape::Quantity => {
                entries.values_mut().for_each(round_up_to_milli)
            }
            Some(inner) if concerns(ty.schemas, inner.shape()) => {
                entries.values_mut().for_each(|entry| apply(inner, entry));
            }
            _ => {}
        },
        _ => {}
    }
}

fn apply_object(ty: TypeRef<'_>, object: &mut Map<String, Value>) {
    let Some(known) = ty.object().filter(|known| known.has_defaults) else { return };
    for property in &known.properties {
        let Some(default) = &property.default else { continue };
        let is_set = match object.get(&*property.name) {
            None => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Number(number)) => !(default.zero_is_unset && number.as_i64() == Some(0)),
            Some(_) => true,
        };
        if !is_set {
            object.insert(property.name.clone().into_owned(), default.value.clone());
        }
    }
    if let Some(hook) = known.hook {
        hook(object);
    }
    for (name, value) in object {
        if let Some(property) = known.property(name)
            && concerns(ty.schemas, property.shape)
        {
            apply(ty.child(property), value);
        }
    }
}

/// Whether a value of this shape can have anything to fill in.
pub(crate) fn concerns(schemas: &Schemas, shape: Shape) -> bool {
    let inner = |id: u16| schemas.inner[usize::from(id)];
    match shape {
        Shape::Object(id) => schemas.types[usize::from(id)].has_defaults,
        Shape::Array(id) => concerns(schemas, inner(id)),
        Shape::Map(id) => inner(id) == Shape::Quantity || concerns(schemas, inner(id)),
        _ => false,
    }
}

/// Lists of resources have nothing finer than a milli-unit.
fn round_up_to_milli(value: &mut Value) {
    let Some(quantity) = value.as_str().and_then(|text| text.parse::<Quantity>().ok()) else { return };
    let rounded = quantity.round_up_to_milli();
    if rounded != quantity {
        *value = rounded.to_string().into();
    }
}

/// The function of a type, by the name of its definition.
pub(crate) fn hook(definition: &str) -> Option<Hook> {
    let short = definition.strip_prefix("io.k8s.").unwrap_or(definition);
    pod::hook(short)
        .or_else(|| core::hook(short))
        .or_else(|| apps::hook(short))
        .or_else(|| networking::hook(short))
        .or_else(|| extensions::hook(short))
}

/// The text of a field; empty where unset.
fn text<'a>(object: &'a Map<String, Value>, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Sets a field that is absent, or an empty text.
fn set_default(object: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    if object.get(key).is_none_or(|old| old.as_str() == Some("")) {
        object.insert(key.to_owned(), value.into());
    }
}

/// The object in a field, made if it is absent; none if something else stands there.
fn ensure_object<'a>(object: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    object.entry(key).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

/// The object in a field, if there is one.
fn object_in<'a>(object: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    object.get_mut(key).and_then(Value::as_object_mut)
}

/// The objects of a list in a field.
fn objects_in<'a>(
    object: &'a mut Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Copies `spec.template.metadata.labels` to `to` of the object when nothing is there.
fn labels_from_template(object: &mut Map<String, Value>, to: &[&str]) {
    let Some(labels) = object
        .get("spec")
        .and_then(|spec| spec.pointer("/template/metadata/labels"))
        .filter(|labels| labels.as_object().is_some_and(|l| !l.is_empty()))
        .cloned()
    else {
        return;
    };
    let [parent, key] = to else { return };
    if let Some(parent) = ensure_object(object, parent)
        && parent.get(*key).and_then(Value::as_object).is_none_or(Map::is_empty)
    {
        parent.insert((*key).to_owned(), labels);
    }
}

#[cfg(test)]
mod tests;

//! Strategic merge patch: objects merge key by key, lists by the merge key that the schema names, and directives say
//! what merging alone cannot.
//!
//! Rules: "Update API Objects in Place Using kubectl patch" in the Kubernetes documentation and the design proposal
//! "Strategic Merge Patch". Directives: `$patch` (replace, delete; in lists by merge key), `$retainKeys`,
//! `$deleteFromPrimitiveList/<list>`, `$setElementOrder/<list>`.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::error::StrategicError;
use super::order::{arrange, identity};
use crate::types::{Property, TypeRef};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ELEMENT_ORDER: &str = "$setElementOrder/";

type Object = Map<String, Value>;

/// Merges `patch` into `original`; without a type, objects merge and lists are replaced.
pub(super) fn merge_object(
    original: &mut Object,
    mut patch: Object,
    ty: Option<TypeRef<'_>>,
) -> Result<(), StrategicError> {
    match patch.remove(PATCH) {
        None => {}
        Some(Value::String(s)) if s == "replace" => {
            *original = patch;
            return Ok(());
        }
        Some(Value::String(s)) if s == "delete" => {
            original.clear();
            return Ok(());
        }
        Some(other) => return Err(StrategicError::Directive(other, Value::Object(patch))),
    }
    if let Some(keys) = patch.remove(RETAIN_KEYS) {
        retain_keys(original, &patch, &keys)?;
    }
    for (name, order) in take_prefixed(&mut patch, ELEMENT_ORDER) {
        let Value::Array(order) = order else { return Err(StrategicError::ElementOrder) };
        apply_element_order(original, &mut patch, &name, order, ty)?;
    }
    for (name, items) in take_prefixed(&mut patch, DELETE_FROM) {
        let Value::Array(items) = items else { return Err(StrategicError::PrimitiveList) };
        if let Some(list) = original.get_mut(&name).and_then(Value::as_array_mut) {
            list.retain(|item| !items.contains(item));
        }
    }
    for (name, value) in patch {
        merge_field(original, name, value, ty)?;
    }
    Ok(())
}

fn take_prefixed(patch: &mut Object, prefix: &str) -> Vec<(String, Value)> {
    let keys: Vec<String> = patch.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
    keys.into_iter()
        .filter_map(|key| patch.remove(&key).map(|value| (key[prefix.len()..].to_owned(), value)))
        .collect()
}

/// Clears every key that the list does not name; the patch may only set keys that it does.
fn retain_keys(original: &mut Object, patch: &Object, keys: &Value) -> Result<(), StrategicError> {
    let keys = keys.as_array().ok_or(StrategicError::RetainKeys)?;
    let named = |key: &str| keys.iter().any(|k| k.as_str() == Some(key));
    let is_directive = |key: &str| key.starts_with(DELETE_FROM) || key.starts_with(ELEMENT_ORDER);
    if patch.iter().any(|(key, value)| !value.is_null() && !is_directive(key) && !named(key)) {
        return Err(StrategicError::RetainKeys);
    }
    original.retain(|key, _| named(key));
    Ok(())
}

fn merge_field(
    original: &mut Object,
    name: String,
    value: Value,
    ty: Option<TypeRef<'_>>,
) -> Result<(), StrategicError> {
    let (rules, inner) = rules(ty, &name);
    if value.is_null() {
        original.remove(&name);
        return Ok(());
    }
    match (original.get_mut(&name), value) {
        (Some(Value::Object(stored)), Value::Object(patch)) if !rules.replace => {
            merge_object(stored, patch, inner)
        }
        (Some(Value::Array(stored)), Value::Array(patch)) if rules.merge => {
            let stored_items = std::mem::take(stored);
            *stored = merge_list(stored_items, patch, rules.key, inner.and_then(TypeRef::inner))?;
            Ok(())
        }
        (_, value) => {
            original.insert(name, without_directives(value));
            Ok(())
        }
    }
}

/// How a property is merged.
#[derive(Clone, Copy, Default)]
struct Rules<'s> {
    merge: bool,
    replace: bool,
    key: Option<&'s str>,
}

/// The rules and the type of a property; of a map's entry, if `ty` is a map.
fn rules<'s>(ty: Option<TypeRef<'s>>, name: &str) -> (Rules<'s>, Option<TypeRef<'s>>) {
    let Some(ty) = ty else { return (Rules::default(), None) };
    let Some(property): Option<&Property> = ty.property(name) else { return (Rules::default(), ty.inner()) };
    let rules = property.merge.as_deref().map_or(Rules::default(), |merge| Rules {
        merge: merge.patch_merge,
        replace: merge.patch_replace,
        key: merge.merge_key,
    });
    (rules, Some(ty.child(property)))
}

/// `$setElementOrder`: merges the list now, and puts it in the order that the directive says.
fn apply_element_order(
    original: &mut Object,
    patch: &mut Object,
    name: &str,
    order: Vec<Value>,
    ty: Option<TypeRef<'_>>,
) -> Result<(), StrategicError> {
    let (rules, inner) = rules(ty, name);
    let patched = match patch.remove(name) {
        Some(Value::Array(items)) => Some(items),
        Some(Value::Null) => {
            original.remove(name);
            return Ok(());
        }
        Some(_) => return Err(StrategicError::ElementOrder),
        None => None,
    };
    if let Some(items) = &patched {
        check_order(items, &order, rules.key)?;
    }
    let stored = match original.get_mut(name) {
        Some(Value::Array(items)) => Some(std::mem::take(items)),
        _ => None,
    };
    let merged = match (stored.clone(), patched) {
        (None, None) => return Ok(()),
        (Some(stored), None) => stored,
        (None, Some(patched)) => without_directive_items(patched),
        (Some(stored), Some(patched)) if rules.merge => {
            merge_list(stored, patched, rules.key, inner.and_then(TypeRef::inner))?
        }
        (Some(_), Some(patched)) => without_directive_items(patched),
    };
    let arranged = arrange(merged, &order, stored.as_deref().unwrap_or_default(), rules.key);
    original.insert(name.to_owned(), Value::Array(arranged));
    Ok(())
}

/// The patch's items must appear in the directive's list, in the same order.
fn check_order(items: &[Value], order: &[Value], key: Option<&str>) -> Result<(), StrategicError> {
    if order.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for item in items.iter().filter(|item| item.get(PATCH).is_none()) {
        let id = identity(item, key).ok_or_else(|| no_merge_key(item, key))?;
        if !rest.any(|other| identity(other, key) == Some(id)) {
            return Err(StrategicError::OrderMismatch {
                patch: Value::Array(items.to_vec()),
                order: Value::Array(order.to_vec()),
            });
        }
    }
    Ok(())
}

fn no_merge_key(item: &Value, key: Option<&str>) -> StrategicError {
    StrategicError::NoMergeKey(item.clone(), key.unwrap_or_default().to_owned())
}

fn merge_list(
    stored: Vec<Value>,
    patch: Vec<Value>,
    key: Option<&str>,
    item_type: Option<TypeRef<'_>>,
) -> Result<Vec<Value>, StrategicError> {
    let all = || stored.iter().chain(&patch);
    if all().any(Value::is_array) {
        return Err(StrategicError::ListOfLists);
    }
    let objects = all().filter(|item| item.is_object()).count();
    if objects == 0 {
        return Ok(merge_scalars(stored, patch));
    }
    if objects != stored.len() + patch.len() {
        return Err(StrategicError::MixedList(Value::Array(all().cloned().collect())));
    }
    let Some(key) = key else { return Ok(without_directive_items(patch)) };
    merge_objects(stored, patch, key, item_type)
}

fn merge_scalars(stored: Vec<Value>, patch: Vec<Value>) -> Vec<Value> {
    let mut seen = HashSet::with_capacity(stored.len() + patch.len());
    let merged = stored.iter().chain(&patch).filter(|item| seen.insert(*item)).cloned().collect();
    arrange(merged, &patch, &stored, None)
}

fn merge_objects(
    stored: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
    item_type: Option<TypeRef<'_>>,
) -> Result<Vec<Value>, StrategicError> {
    let mut deleted = HashSet::new();
    let mut replace = false;
    let mut additions = Vec::with_capacity(patch.len());
    for item in patch {
        match item.get(PATCH) {
            None => additions.push(item),
            Some(directive) if directive == "delete" => {
                deleted.insert(item.get(key).cloned().ok_or_else(|| no_merge_key(&item, Some(key)))?);
            }
            Some(directive) if directive == "replace" => replace = true,
            Some(directive) if directive == "merge" => return Err(StrategicError::MergeDirective),
            Some(directive) => return Err(StrategicError::Directive(directive.clone(), item)),
        }
    }
    if replace {
        return Ok(without_directive_items(additions));
    }
    let mut merged: Vec<Value> =
        stored.iter().filter(|item| item.get(key).is_none_or(|id| !deleted.contains(id))).cloned().collect();
    let mut places: HashMap<Value, usize> = HashMap::with_capacity(merged.len());
    for (place, item) in merged.iter().enumerate() {
        if let Some(id) = item.get(key) {
            places.entry(id.clone()).or_insert(place);
        }
    }
    let order = additions.clone();
    for item in additions {
        let id = item.get(key).cloned().ok_or_else(|| no_merge_key(&item, Some(key)))?;
        let known = places.get(&id).and_then(|place| merged[*place].as_object_mut());
        match (known, item) {
            (Some(known), Value::Object(item)) => merge_object(known, item, item_type)?,
            (_, item) => {
                places.insert(id, merged.len());
                merged.push(without_directives(item));
            }
        }
    }
    Ok(arrange(merged, &order, &stored, Some(key)))
}

/// A part of a patch that is taken as it is, less nulls and directives.
fn without_directives(value: Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(
            object
                .into_iter()
                .filter(|(key, value)| !value.is_null() && !is_directive(key))
                .map(|(key, value)| (key, without_directives(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(without_directive_items(items)),
        scalar => scalar,
    }
}

/// Items that only carry a directive vanish.
fn without_directive_items(items: Vec<Value>) -> Vec<Value> {
    items.into_iter().filter(|item| item.get(PATCH).is_none()).map(without_directives).collect()
}

fn is_directive(key: &str) -> bool {
    key == PATCH || key == RETAIN_KEYS || key.starts_with(DELETE_FROM) || key.starts_with(ELEMENT_ORDER)
}

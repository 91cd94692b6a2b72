//! What a plugin is, and the few words that all of them share.

use async_trait::async_trait;
use keelson_registry::{Attributes, Status};
use serde_json::Value;

use crate::Lookup;

/// One plugin. All calls default to admitting.
#[async_trait]
pub(crate) trait Plugin: Send + Sync {
    /// Its name, by which it is timed: upstream's.
    fn name(&self) -> &'static str;

    /// Is the request any of its business? Asked for every request, so it must be cheap.
    fn handles(&self, attributes: &Attributes<'_>) -> bool;

    /// May change the object of a create or update, or refuse it.
    async fn mutate(
        &self,
        _attributes: &Attributes<'_>,
        _object: &mut Value,
        _lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// May refuse a delete, in the phase in which an object would be changed: before any plugin validates.
    async fn admit_delete(&self, _attributes: &Attributes<'_>, _lookup: &dyn Lookup) -> Result<(), Status> {
        Ok(())
    }

    /// May refuse; the object is absent on delete.
    async fn validate(
        &self,
        _attributes: &Attributes<'_>,
        _object: Option<&Value>,
        _lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        Ok(())
    }
}

/// Is the request for this resource of this group?
pub(crate) fn is(attributes: &Attributes<'_>, group: &str, plural: &str) -> bool {
    attributes.kind.group == group && attributes.kind.plural == plural
}

/// The name of the object, as far as it is known: before a name is generated, what it is generated from.
pub(crate) fn object_name<'a>(attributes: &Attributes<'a>, object: Option<&'a Value>) -> &'a str {
    let in_object = |pointer| object.map(|object| text(object, pointer)).filter(|name| !name.is_empty());
    in_object("/metadata/name")
        .or(Some(attributes.name).filter(|name| !name.is_empty()))
        .or_else(|| in_object("/metadata/generateName"))
        .unwrap_or_default()
}

/// 403 on the object of the request.
pub(crate) fn forbidden(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    why: impl std::fmt::Display,
) -> Status {
    Status::forbidden(&attributes.kind.group_resource(), object_name(attributes, object), why)
}

/// The text at a pointer; empty where there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The items of the list at a pointer.
pub(crate) fn list<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The list in a field of an object, made where it is missing or null.
pub(crate) fn list_mut<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Vec<Value>> {
    let slot = object.as_object_mut()?.entry(field).or_insert(Value::Null);
    if slot.is_null() {
        *slot = Value::Array(Vec::new());
    }
    slot.as_array_mut()
}

/// An annotation's value.
pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(key)?.as_str()
}

/// Does the pod stand for a file on its node? (<https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/>)
pub(crate) fn is_mirror_pod(pod: &Value) -> bool {
    annotation(pod, MIRROR_POD).is_some()
}

/// The annotation of a mirror pod.
pub(crate) const MIRROR_POD: &str = "kubernetes.io/config.mirror";

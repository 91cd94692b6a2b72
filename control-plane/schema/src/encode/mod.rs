//! Canonical JSON as `application/vnd.kubernetes.protobuf`: the way back of `decode::protobuf`, by the same table of field
//! numbers.
//!
//! What JSON leaves out is left out, which clients read as Go's zero value. Lists and watch events are framed here, too, because
//! their lengths stand before what they hold. Form: <https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding>

mod frame;
mod leaf;
pub(crate) mod writer;

use serde_json::{Map, Value};

use crate::decode::{Form, Target, Wire};
use crate::types::{Schemas, Shape, TypeRef};
pub use frame::{ListFrame, PARTIAL_METADATA, envelope, watch_event};
use writer::{nested, put_tag_varint};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// Why an object has no protobuf.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The kind has no message: it is defined by a CustomResourceDefinition, or is not known.
    #[error("{kind} of {api_version} has no protobuf encoding")]
    NoMessage {
        /// `group/version`.
        api_version: String,
        /// The kind.
        kind: String,
    },
    /// A value is not of the field's type, and so not what decoding makes.
    #[error("{ty}.{field} is not what its type says")]
    Misfit {
        /// The definition's name.
        ty: String,
        /// The property.
        field: String,
    },
}

/// A value that is not of its type; whoever knows the field says which.
#[derive(Clone, Copy, Debug)]
struct Unfit;

/// Encodes an object of `ty` as its message, without the envelope.
pub fn message(ty: TypeRef<'_>, object: &Value) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(1024);
    put_message(ty, object, &mut out)?;
    Ok(out)
}

/// Encodes an object that says what it is, with its envelope: built-in kinds, their lists, Status, PartialObjectMetadata and lists
/// of it.
pub fn object(object: &Value) -> Result<Vec<u8>, EncodeError> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let no_message = || EncodeError::NoMessage { api_version: api_version.to_owned(), kind: kind.to_owned() };
    if let Some(ty) = type_of(group, version, kind) {
        return Ok(envelope(api_version, kind, &message(ty, object)?));
    }
    if (api_version, kind) == PARTIAL_METADATA {
        return Ok(envelope(api_version, kind, &partial_metadata(&object["metadata"])?));
    }
    let items = object.get("items").and_then(Value::as_array).ok_or_else(no_message)?;
    let item_kind = kind.strip_suffix("List").ok_or_else(no_message)?;
    let item = |item: &Value| match type_of(group, version, item_kind) {
        Some(ty) => message(ty, item),
        None if (api_version, item_kind) == PARTIAL_METADATA => partial_metadata(&item["metadata"]),
        None => Err(no_message()),
    };
    let items = items.iter().map(item).collect::<Result<Vec<_>, _>>()?;
    let frame = ListFrame::new(api_version, kind, &object["metadata"], items.iter().map(Vec::len))?;
    let mut out = frame.head;
    for item in &items {
        ListFrame::put_item_head(item.len(), &mut out);
        out.extend_from_slice(item);
    }
    out.extend_from_slice(ListFrame::TAIL);
    Ok(out)
}

/// The built-in type of a kind that has a message.
#[must_use]
pub fn type_of(group: &str, version: &str, kind: &str) -> Option<TypeRef<'static>> {
    Schemas::builtin().kind(group, version, kind)
}

/// The message of a PartialObjectMetadata: the object's metadata in field 1.
pub fn partial_metadata(metadata: &Value) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(512);
    let ty = known(OBJECT_META);
    nested(1, &mut out, |out| put_message(ty, metadata, out))?;
    Ok(out)
}

fn known(definition: &str) -> TypeRef<'static> {
    Schemas::builtin().definition(definition).expect("every table has the meta types")
}

fn put_message(ty: TypeRef<'_>, object: &Value, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let (Some(known), Value::Object(object)) = (ty.object(), object) else {
        return Err(EncodeError::Misfit {
            ty: ty.name().unwrap_or("a scalar").to_owned(),
            field: String::new(),
        });
    };
    put_fields(ty, &known.wire, object, out)
}

fn put_fields(
    ty: TypeRef<'_>,
    wire: &Wire,
    object: &Map<String, Value>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let Some(known) = ty.object() else { return Ok(()) };
    for (number, target) in wire.fields() {
        match target {
            // Nothing of it is as good as an empty message.
            Target::Inline(inner) if !inner.any_in(known, object) => {}
            Target::Inline(inner) => nested(number, out, |out| put_fields(ty, inner, object, out))?,
            Target::Property(slot) => {
                let property = &known.properties[slot.at];
                let name: &str = &property.name;
                let Some(value) = object.get(name).filter(|value| !value.is_null()) else { continue };
                put_property(ty.child(property), slot.form, number, value, out).map_err(
                    |error| match error {
                        Fault::Unfit => EncodeError::Misfit {
                            ty: known.name.to_string(),
                            field: property.name.to_string(),
                        },
                        Fault::Below(error) => error,
                    },
                )?;
            }
        }
    }
    Ok(())
}

/// Where a fault is known to be.
enum Fault {
    /// Here.
    Unfit,
    /// Further down, where it has been named.
    Below(EncodeError),
}

impl From<Unfit> for Fault {
    fn from(Unfit: Unfit) -> Self {
        Self::Unfit
    }
}

impl From<EncodeError> for Fault {
    fn from(error: EncodeError) -> Self {
        Self::Below(error)
    }
}

fn put_property(
    ty: TypeRef<'_>,
    form: Form,
    number: u32,
    value: &Value,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    match (ty.shape(), ty.inner(), value) {
        (Shape::Array(_), Some(inner), Value::Array(items)) if form != Form::Items => {
            items.iter().try_for_each(|item| put_one(inner, form, number, item, out))
        }
        (Shape::Map(_), Some(inner), Value::Object(entries)) => {
            entries.iter().try_for_each(|(key, value)| {
                nested(number, out, |out| {
                    writer::put_bytes(1, key.as_bytes(), out);
                    put_one(inner, form, 2, value, out)
                })
            })
        }
        _ => put_one(ty, form, number, value, out),
    }
}

/// One value as a field: an object, or a leaf.
fn put_one(ty: TypeRef<'_>, form: Form, number: u32, value: &Value, out: &mut Vec<u8>) -> Result<(), Fault> {
    match (ty.shape(), form) {
        (Shape::Object(_), _) => Ok(nested(number, out, |out| put_message(ty, value, out))?),
        (Shape::Json | Shape::Opaque, Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings) => {
            nested(number, out, |out| put_either(form, value, out))
        }
        (Shape::Json | Shape::Opaque, Form::Empty) => nested(number, out, |_| Ok(())),
        (Shape::Array(_), Form::Items) => {
            let (Some(inner), Value::Array(items)) = (ty.inner(), value) else { return Err(Fault::Unfit) };
            nested(number, out, |out| {
                items.iter().try_for_each(|item| put_one(inner, Form::Plain, 1, item, out))
            })
        }
        _ => Ok(leaf::put(ty.shape(), number, value, out)?),
    }
}

/// What JSON writes as one of two things; see `decode::protobuf::either`.
fn put_either(form: Form, value: &Value, out: &mut Vec<u8>) -> Result<(), Fault> {
    let schema = |number: u32, value: &Value, out: &mut Vec<u8>| -> Result<(), Fault> {
        Ok(nested(number, out, |out| put_message(known(SCHEMA), value, out))?)
    };
    match (form, value) {
        (Form::SchemaOrBool, Value::Bool(allowed)) => put_tag_varint(1, u64::from(*allowed), out),
        (Form::SchemaOrBool, Value::Object(_)) => {
            put_tag_varint(1, 1, out);
            schema(2, value, out)?;
        }
        (Form::SchemaOrArray | Form::SchemaOrStrings, Value::Object(_)) => schema(1, value, out)?,
        (Form::SchemaOrArray, Value::Array(items)) => {
            items.iter().try_for_each(|item| schema(2, item, out))?;
        }
        (Form::SchemaOrStrings, Value::Array(items)) => {
            for item in items {
                writer::put_bytes(2, item.as_str().ok_or(Fault::Unfit)?.as_bytes(), out);
            }
        }
        _ => return Err(Fault::Unfit),
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! The walk: a message's fields become the properties that the table says.

use serde_json::{Map, Value};

use super::leaf;
use super::reader::{Payload, Reader};
use super::table::{Form, Presence, Slot, Target, Wire};
use super::{Malformed, text};
use crate::decode::leaf::zero;
use crate::decode::trail::{Step, Trail};
use crate::decode::{Cx, DEPTH_MAX};
use crate::types::{Shape, TypeRef};

/// Where the walk is.
#[derive(Clone, Copy)]
pub(super) struct At<'t> {
    pub(super) cx: &'t Cx,
    pub(super) trail: &'t Trail<'t>,
}

impl At<'_> {
    /// The path of the field, for errors.
    pub(super) fn path(self) -> String {
        self.trail.here()
    }

    pub(super) fn wrong(self, payload: Payload<'_>) -> Malformed {
        Malformed::WrongWireType { wire_type: payload.wire_type(), field: self.path() }
    }

    /// The bytes of what must be a text, bytes or a message.
    pub(super) fn bytes<'a>(self, payload: Payload<'a>) -> Result<&'a [u8], Malformed> {
        match payload {
            Payload::Bytes(bytes) => Ok(bytes),
            other => Err(self.wrong(other)),
        }
    }
}

/// A whole object.
pub(super) fn object(cx: &Cx, ty: TypeRef<'_>, bytes: &[u8]) -> Result<Map<String, Value>, Malformed> {
    let mut into = Map::new();
    message(At { cx, trail: &Trail::ROOT }, ty, bytes, &mut into)?;
    Ok(into)
}

/// A message of an object type. A message that comes in several pieces is merged, as protobuf asks.
pub(super) fn message(
    at: At<'_>,
    ty: TypeRef<'_>,
    bytes: &[u8],
    into: &mut Map<String, Value>,
) -> Result<(), Malformed> {
    if at.trail.depth() > DEPTH_MAX {
        return Err(Malformed::TooDeep);
    }
    match ty.object() {
        Some(known) => fields(at, ty, &known.wire, bytes, into),
        None => Err(at.wrong(Payload::Bytes(bytes))),
    }
}

fn fields(
    at: At<'_>,
    ty: TypeRef<'_>,
    wire: &Wire,
    bytes: &[u8],
    into: &mut Map<String, Value>,
) -> Result<(), Malformed> {
    let mut reader = Reader::new(bytes);
    while let Some((number, payload)) = reader.field()? {
        match wire.get(number) {
            Some(Target::Property(slot)) => property(at, ty, *slot, payload, into)?,
            Some(Target::Inline(inner)) => fields(at, ty, inner, at.bytes(payload)?, into)?,
            // A client of a newer release writes all of its fields; a zero is lost without loss.
            None if payload.is_zero() => {}
            None => at.cx.strict(|| format!("unknown field {:?}", at.trail.field(&format!("#{number}")))),
        }
    }
    Ok(())
}

fn property(
    at: At<'_>,
    ty: TypeRef<'_>,
    slot: Slot,
    payload: Payload<'_>,
    into: &mut Map<String, Value>,
) -> Result<(), Malformed> {
    let Some(known) = ty.object() else { return Err(at.wrong(payload)) };
    let property = &known.properties[slot.at];
    let child = ty.child(property);
    let trail = at.trail.then(Step::Field(&known.name, &property.name));
    let at = At { cx: at.cx, trail: &trail };
    let name = &*property.name;
    match (child.shape(), child.inner()) {
        (Shape::Array(_), Some(inner)) if slot.form != Form::Items => {
            if let Value::Array(items) = into.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
                repeated(at, inner, slot.form, payload, items)?;
            }
        }
        (Shape::Map(_), Some(inner)) => {
            let (key, value) = entry(at, inner, slot.form, at.bytes(payload)?)?;
            if let Value::Object(entries) = into.entry(name).or_insert_with(|| Value::Object(Map::new())) {
                entries.insert(key, value);
            }
        }
        (Shape::Object(_), _) => {
            let mut object = match into.remove(name) {
                Some(Value::Object(object)) => object,
                _ => Map::new(),
            };
            message(at, child, at.bytes(payload)?, &mut object)?;
            if !object.is_empty() || slot.presence != Presence::Value {
                into.insert(name.to_owned(), Value::Object(object));
            }
        }
        _ => match leaf::value(at, child, slot.form, payload)? {
            Some(value) if slot.presence != Presence::Value || !leaf::is_zero(child, &value) => {
                into.insert(name.to_owned(), value);
            }
            // The last of several wins, also when it is nothing.
            _ => {
                into.remove(name);
            }
        },
    }
    Ok(())
}

/// One item, or several packed numbers.
fn repeated(
    at: At<'_>,
    inner: TypeRef<'_>,
    form: Form,
    payload: Payload<'_>,
    items: &mut Vec<Value>,
) -> Result<(), Malformed> {
    let numeric = matches!(inner.shape(), Shape::Bool | Shape::Int32 | Shape::Int64);
    if let (true, Payload::Bytes(packed)) = (numeric, payload) {
        let mut reader = Reader::new(packed);
        while let Some(number) = reader.packed()? {
            items.extend(leaf::value(at, inner, form, Payload::Varint(number))?);
        }
        return Ok(());
    }
    let trail = at.trail.then(Step::Index(items.len()));
    let value = one(At { cx: at.cx, trail: &trail }, inner, form, payload)?;
    items.push(value);
    Ok(())
}

/// A map's entry: a message of its key (1) and its value (2), either absent when zero.
fn entry(at: At<'_>, inner: TypeRef<'_>, form: Form, bytes: &[u8]) -> Result<(String, Value), Malformed> {
    let mut key = String::new();
    let mut found = None;
    let mut reader = Reader::new(bytes);
    while let Some((number, payload)) = reader.field()? {
        match number {
            1 => key = text(at.bytes(payload)?, || at.path())?,
            2 => found = Some(payload),
            _ => {}
        }
    }
    let trail = at.trail.then(Step::Key(&key));
    let value = match found {
        Some(payload) => one(At { cx: at.cx, trail: &trail }, inner, form, payload)?,
        None => zero(inner),
    };
    Ok((key, value))
}

/// An item of a list or a value of a map; what JSON has no value for is null there.
fn one(at: At<'_>, ty: TypeRef<'_>, form: Form, payload: Payload<'_>) -> Result<Value, Malformed> {
    if !matches!(ty.shape(), Shape::Object(_)) {
        return Ok(leaf::value(at, ty, form, payload)?.unwrap_or(Value::Null));
    }
    let mut object = Map::new();
    message(at, ty, at.bytes(payload)?, &mut object)?;
    Ok(Value::Object(object))
}

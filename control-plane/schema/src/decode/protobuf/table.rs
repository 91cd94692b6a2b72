//! What a type's protobuf fields are. Made from `facts/protobuf.tsv` by the build; `build/shapes.rs` describes the records.

use serde_json::{Map, Value};

use crate::types::Type;

/// The fields of a message that is an object in JSON, sorted by number.
#[derive(Debug, Default)]
pub(crate) struct Wire(Vec<(u32, Target)>);

/// Where a field's value goes.
#[derive(Debug)]
pub(crate) enum Target {
    /// Into a property.
    Property(Slot),
    /// The fields of this message are properties of the same object.
    Inline(Wire),
}

/// A property as a field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Its place among the type's properties.
    pub(crate) at: usize,
    pub(super) presence: Presence,
    pub(crate) form: Form,
}

/// What a zero value on the wire means. Go's encoder writes every field that is no nil pointer, so that an unset number
/// arrives as 0; which of them JSON has is a matter of the Go field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// No pointer, left out of JSON when zero: the zero value says "unset".
    Value,
    /// No pointer, always in JSON.
    Kept,
    /// A pointer (`replicas: 0`, `automountServiceAccountToken: false`), a list or a map: set when it is there.
    Pointer,
}

/// How a message is written whose JSON is no object of known properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As the shape says; free JSON stands as text in field 1.
    Plain,
    /// A list: its items are the field 1 of a message, since protobuf has no maps of lists.
    Items,
    /// A message without fields.
    Empty,
    /// `JSONSchemaPropsOrArray`
    SchemaOrArray,
    /// `JSONSchemaPropsOrBool`
    SchemaOrBool,
    /// `JSONSchemaPropsOrStringArray`
    SchemaOrStrings,
}

impl Wire {
    /// All fields, by number.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (u32, &Target)> {
        self.0.iter().map(|(number, target)| (*number, target))
    }

    /// Whether an object of this type has something in one of the fields.
    pub(crate) fn any_in(&self, ty: &Type, object: &Map<String, Value>) -> bool {
        self.0.iter().any(|(_, target)| match target {
            Target::Property(slot) => {
                let name: &str = &ty.properties[slot.at].name;
                object.get(name).is_some_and(|value| !value.is_null())
            }
            Target::Inline(inner) => inner.any_in(ty, object),
        })
    }

    /// The field with this number.
    pub(super) fn get(&self, number: u32) -> Option<&Target> {
        let at = self.0.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(&self.0[at].1)
    }

    /// Adds a record of the embedded table, which is our own build's output: a fault in it is a bug, not an error.
    pub(crate) fn insert(&mut self, path: &str, at: usize, presence: &str, form: &str) {
        let (number, rest) = match path.split_once('.') {
            Some((number, rest)) => (number, Some(rest)),
            None => (path, None),
        };
        let number: u32 = number.parse().expect("the build checks that a field number is a number");
        let place = self.0.partition_point(|(known, _)| *known < number);
        match rest {
            None => {
                let slot = Slot { at, presence: presence_of(presence), form: form_of(form) };
                self.0.insert(place, (number, Target::Property(slot)));
            }
            Some(rest) => {
                if self.0.get(place).is_none_or(|(known, _)| *known != number) {
                    self.0.insert(place, (number, Target::Inline(Wire::default())));
                }
                if let (_, Target::Inline(inner)) = &mut self.0[place] {
                    inner.insert(rest, at, presence, form);
                }
            }
        }
    }
}

fn presence_of(text: &str) -> Presence {
    match text {
        "value" => Presence::Value,
        "kept" => Presence::Kept,
        "pointer" | "" => Presence::Pointer,
        _ => panic!("the embedded schema has an unknown presence: {text}"),
    }
}

fn form_of(text: &str) -> Form {
    match text {
        "" => Form::Plain,
        "i" => Form::Items,
        "e" => Form::Empty,
        "a" => Form::SchemaOrArray,
        "b" => Form::SchemaOrBool,
        "s" => Form::SchemaOrStrings,
        _ => panic!("the embedded schema has an unknown form: {text}"),
    }
}

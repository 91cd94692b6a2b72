//! One entry of `metadata.managedFields`: who, by which operation, in which version, when, and which fields.
//!
//! Form: `metav1.ManagedFieldsEntry`. Entries are written in upstream's order, their keys sorted.

use keelson_schema::structured::{Comparison, FieldSet, FieldsError};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{borrow::Cow, cmp::Ordering};

/// By which operation fields are owned. The order is that of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) enum Operation {
    /// They were applied: what is applied no longer goes.
    Apply,
    /// They were written by anything else.
    Update,
}

impl Operation {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// What tells entries apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manager {
    /// Its name.
    pub(crate) name: String,
    /// The operation.
    pub(crate) operation: Operation,
    /// The version that the fields are in.
    pub(crate) api_version: String,
    /// "" for the object itself.
    pub(crate) subresource: String,
}

impl Manager {
    /// Whether the entry is the same one. Who applies has one, whatever the version.
    pub(super) fn is(&self, other: &Manager) -> bool {
        self.name == other.name
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// As messages about conflicts name it.
    pub(super) fn described(&self) -> String {
        let mut text = keelson_schema::field::quote(&self.name);
        if !self.subresource.is_empty() {
            text.push_str(" with subresource ");
            text.push_str(&keelson_schema::field::quote(&self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(" using ");
            text.push_str(&self.api_version);
        }
        text
    }
}

/// An entry.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) manager: Manager,
    /// RFC 3339, whole seconds, UTC; "" where unknown.
    pub(crate) time: String,
    fields: Fields,
}

/// FieldsV1, read only where it is looked at.
#[derive(Clone, Debug)]
enum Fields {
    Text(String),
    Set(FieldSet),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow, default)]
    manager: Cow<'a, str>,
    operation: Operation,
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    fields_type: Cow<'a, str>,
    #[serde(borrow, default)]
    fields_v1: Option<&'a RawValue>,
    #[serde(borrow, default)]
    subresource: Cow<'a, str>,
}

/// Entries that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EntriesError {
    #[error("metadata.managedFields cannot be read: {0}")]
    Form(#[from] serde_json::Error),
    #[error("metadata.managedFields: {0}")]
    Fields(#[from] FieldsError),
    #[error("metadata.managedFields: an entry has no apiVersion, or another fieldsType than FieldsV1")]
    Sort,
}

/// Reads entries.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, EntriesError> {
    serde_json::from_str::<Vec<Wire<'_>>>(text)?.into_iter().map(read).collect()
}

fn read(wire: Wire<'_>) -> Result<Entry, EntriesError> {
    if wire.api_version.is_empty() || wire.fields_type != "FieldsV1" {
        return Err(EntriesError::Sort);
    }
    let manager = Manager {
        name: wire.manager.into_owned(),
        operation: wire.operation,
        api_version: wire.api_version.into_owned(),
        subresource: wire.subresource.into_owned(),
    };
    let text = wire.fields_v1.map_or("{}", RawValue::get).to_owned();
    Ok(Entry { manager, time: wire.time.unwrap_or_default().into_owned(), fields: Fields::Text(text) })
}

impl Entry {
    pub(super) fn new(manager: Manager, time: String, set: FieldSet) -> Self {
        Self { manager, time, fields: Fields::Set(set) }
    }

    /// The fields.
    pub(super) fn set(&self) -> Result<Cow<'_, FieldSet>, FieldsError> {
        match &self.fields {
            Fields::Text(text) => FieldSet::decode(text).map(Cow::Owned),
            Fields::Set(set) => Ok(Cow::Borrowed(set)),
        }
    }

    /// Whether a change touches the fields; reads no more of them than that needs.
    pub(super) fn is_touched(&self, change: &Comparison) -> Result<bool, FieldsError> {
        match &self.fields {
            Fields::Text(text) => change.touches(text),
            Fields::Set(set) => Ok(change.leaves_of(set).is_some()),
        }
    }

    pub(super) fn replace(&mut self, set: FieldSet) {
        self.fields = Fields::Set(set);
    }

    /// Reads the fields now, so that whoever gave the entry hears of it if he can.
    pub(super) fn read_fields(&mut self) -> Result<(), EntriesError> {
        if let Fields::Text(text) = &self.fields {
            self.fields = Fields::Set(FieldSet::decode(text)?);
        }
        Ok(())
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"apiVersion\":");
        write_text(&self.manager.api_version, out);
        out.extend_from_slice(b",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":");
        match &self.fields {
            Fields::Text(text) => out.extend_from_slice(text.as_bytes()),
            Fields::Set(set) => set.encode(out),
        }
        for (key, text) in [
            ("manager", self.manager.name.as_str()),
            ("operation", self.manager.operation.as_str()),
            ("subresource", &self.manager.subresource),
            ("time", &self.time),
        ] {
            if !text.is_empty() {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(key.as_bytes());
                out.extend_from_slice(b"\":");
                write_text(text, out);
            }
        }
        out.push(b'}');
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("writing to memory does not fail");
}

/// Operation, time, then names; times are written in one form, whose texts sort as they do.
fn order(a: &Entry, b: &Entry) -> Ordering {
    let key = |entry: &Entry| entry.manager.operation;
    key(a)
        .cmp(&key(b))
        .then_with(|| a.time.cmp(&b.time))
        .then_with(|| a.manager.name.cmp(&b.manager.name))
        .then_with(|| a.manager.api_version.cmp(&b.manager.api_version))
        .then_with(|| a.manager.subresource.cmp(&b.manager.subresource))
}

/// Writes entries as the JSON of `metadata.managedFields`, "" for none.
pub(super) fn write(mut entries: Vec<Entry>) -> String {
    if entries.is_empty() {
        return String::new();
    }
    entries.sort_by(order);
    let mut out = Vec::with_capacity(1024);
    for (at, entry) in entries.iter().enumerate() {
        out.push(if at == 0 { b'[' } else { b',' });
        entry.write(&mut out);
    }
    out.push(b']');
    String::from_utf8(out).expect("texts and the JSON made of them are UTF-8")
}

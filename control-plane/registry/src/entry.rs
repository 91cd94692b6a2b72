//! One object at one revision: encoded once, read by everybody, never changed.
//!
//! The stored body has no resourceVersion, since the store assigns the revision after the write. An [`Entry`] remembers
//! where it goes; every JSON answer in the stored version is prefix + resourceVersion + suffix.

use crate::{
    body::Body,
    derived::Derived,
    intern::Interner,
    kind::{Kind, Storage},
    scan,
    views::{Shown, Views},
};
use bytes::{BufMut, Bytes, BytesMut};
use keelson_schema::{
    TypeRef,
    encode::{self, EncodeError},
};
use keelson_store::Revision;
use serde_json::Value;
use std::{ops::Range, sync::Arc};

/// What stands before the value of metadata.managedFields.
pub(crate) const MANAGED_KEY: &[u8] = b"\"managedFields\":";

/// An object at one revision.
#[derive(Debug)]
pub struct Entry {
    /// What selectors and routes read.
    pub head: Head,
    body: Body,
    split: usize,
    managed: Range<u32>,
    revision: Revision,
    views: Views,
    message: Derived,
}

/// An entry as a kind shows it.
pub(crate) enum Form {
    /// In this form.
    Shown(Arc<Entry>),
    /// The stored body cannot be shown in that shape.
    Not,
    /// What it looks like only the definition's webhook can tell.
    Elsewhere,
}

/// What is known of an object without parsing it.
#[derive(Debug)]
pub struct Head {
    key: Arc<str>,
    namespace_at: u32,
    name_at: u32,
    /// metadata.uid.
    pub uid: Box<str>,
    /// metadata.labels, sorted by key.
    pub labels: Box<[(Arc<str>, Arc<str>)]>,
    /// Values of the kind's selectable fields, in the kind's order.
    pub fields: Box<[Arc<str>]>,
    /// Whether metadata.deletionTimestamp is set.
    pub deleting: bool,
    /// Whether metadata.finalizers has entries.
    pub finalizers: bool,
    /// metadata.generation, 0 for kinds that have none.
    pub generation: i64,
}

/// A stored body that is not what the registry writes.
#[derive(Debug, thiserror::Error)]
#[error("the stored object at {key} cannot be read")]
pub struct Unreadable {
    key: String,
    #[source]
    source: serde_json::Error,
}

impl Head {
    /// metadata.namespace, "" for a cluster-scoped object.
    pub fn namespace(&self) -> &str {
        let end = (self.name_at as usize).saturating_sub(1).max(self.namespace_at as usize);
        &self.key[self.namespace_at as usize..end]
    }

    /// metadata.name.
    pub fn name(&self) -> &str {
        &self.key[self.name_at as usize..]
    }

    /// The store's key.
    pub(crate) fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// The label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(own, _)| (**own).cmp(key)).ok()?;
        Some(&self.labels[at].1)
    }
}

impl Entry {
    /// Reads a stored body once. Strings that recur come from `interner`.
    pub(crate) fn read(
        kind: &Kind,
        key: Arc<str>,
        bytes: Bytes,
        revision: Revision,
        interner: &mut Interner,
    ) -> Result<Self, Unreadable> {
        let scanned = scan::scan(&bytes, &kind.fields)
            .map_err(|source| Unreadable { key: key.as_ref().to_owned(), source })?;
        let namespace_at = kind.prefix.len();
        let name_at = match (kind.namespaced, &scanned.metadata.namespace) {
            (true, Some(namespace)) => namespace_at + namespace.len() + 1,
            _ => namespace_at,
        };
        let name = key.get(name_at..).unwrap_or_default();
        if name != scanned.metadata.name {
            let source = serde::de::Error::custom(format!("it names itself {:?}", scanned.metadata.name));
            return Err(Unreadable { key: key.as_ref().to_owned(), source });
        }
        let labels =
            scanned.metadata.labels.iter().map(|(k, v)| (interner.get(k), interner.get(v))).collect();
        let head = Head {
            namespace_at: namespace_at as u32,
            name_at: name_at as u32,
            uid: scanned.metadata.uid.as_ref().into(),
            labels,
            fields: scanned.fields.iter().map(|value| interner.get(value)).collect(),
            deleting: scanned.metadata.deletion_timestamp.is_some(),
            finalizers: !scanned.metadata.finalizers.is_empty(),
            generation: scanned.metadata.generation,
            key,
        };
        let body = Body::new(&bytes, &scanned.texts, interner);
        let split = body.place(scanned.split);
        let managed = body.place(scanned.managed.start) as u32..body.place(scanned.managed.end) as u32;
        Ok(Self {
            head,
            body,
            split,
            managed,
            revision,
            views: Views::default(),
            message: Derived::default(),
        })
    }

    /// The revision that wrote this state: its resourceVersion.
    pub fn mod_revision(&self) -> Revision {
        self.revision
    }

    /// Writes the object with `revision` as its resourceVersion. A DELETED event carries the deletion's.
    pub fn write_json(&self, revision: Revision, out: &mut BytesMut) {
        out.reserve(self.json_len_max());
        self.body.write(0..self.split, out);
        out.put_slice(b"\"resourceVersion\":\"");
        put_decimal(revision, out);
        out.put_slice(b"\",");
        self.body.write(self.split..self.body.own_len(), out);
    }

    /// Bytes that [`Entry::write_json`] writes at most.
    pub fn json_len_max(&self) -> usize {
        self.body.len() + r#""resourceVersion":"","#.len() + DIGITS_MAX
    }

    /// The object as a protobuf message of `ty`, its kind's type, with `revision` as its resourceVersion. That of its own revision is
    /// made once.
    pub fn message(&self, ty: TypeRef<'_>, revision: Revision) -> Result<Bytes, EncodeError> {
        if revision == self.revision {
            return self.message.get(|| encode::message(ty, &self.to_value()));
        }
        let mut value = self.stored_value();
        value["metadata"]["resourceVersion"] = Value::String(revision.to_string());
        encode::message(ty, &value).map(Bytes::from)
    }

    /// Parses the object. For write paths and printing only; read paths copy bytes.
    pub fn to_value(&self) -> Value {
        let mut value = self.stored_value();
        value["metadata"]["resourceVersion"] = Value::String(self.revision.to_string());
        value
    }

    /// Parses the object less metadata.managedFields, which is large and which hardly a write reads.
    pub(crate) fn to_unmanaged_value(&self) -> Value {
        let Range { start, end } = self.managed_range();
        let mut value: Value = if start == end {
            self.stored_value()
        } else {
            // It is never the last key of metadata: uid is.
            let before = self.body.own(0..start - MANAGED_KEY.len());
            let after = self.body.own(end + 1..self.body.own_len());
            let parsed = serde_json::from_slice(&[before, after].concat());
            parsed.expect("the body was parsed when the entry was made")
        };
        value["metadata"]["resourceVersion"] = Value::String(self.revision.to_string());
        value
    }

    /// metadata.managedFields as JSON, "" where there is none.
    pub(crate) fn managed(&self) -> String {
        let bytes = self.body.copied(self.managed_range());
        String::from_utf8(bytes).expect("the body was parsed when the entry was made")
    }

    /// The stored bytes before and after metadata.managedFields; all and nothing where there is none.
    pub(crate) fn around_managed(&self) -> (&[u8], &[u8]) {
        let Range { start, end } = self.managed_range();
        if start == end {
            return (self.body.own(0..self.body.own_len()), &[]);
        }
        (self.body.own(0..start), self.body.own(end..self.body.own_len()))
    }

    /// Where that is in the body.
    fn managed_range(&self) -> Range<usize> {
        self.managed.start as usize..self.managed.end as usize
    }

    /// The stored value, without resourceVersion.
    pub(crate) fn stored_value(&self) -> Value {
        serde_json::from_slice(&self.body.whole()).expect("the body was parsed when the entry was made")
    }

    /// The stored bytes, without resourceVersion, in one piece.
    pub(crate) fn stored_bytes(&self) -> Bytes {
        self.body.whole().into()
    }

    /// Whether these are the stored bytes, without resourceVersion.
    pub(crate) fn is_body(&self, bytes: &[u8]) -> bool {
        self.body.is(bytes)
    }

    /// Bytes of memory that are its own.
    pub(crate) fn own_len(&self) -> usize {
        self.body.own_len()
    }

    /// The same object as `kind` shows it, for those who cannot wait: none also where a webhook has yet to make that form.
    pub(crate) fn as_kind(self: &Arc<Self>, kind: &Kind) -> Option<Arc<Self>> {
        match self.form(kind) {
            Form::Shown(entry) => Some(entry),
            Form::Not | Form::Elsewhere => None,
        }
    }

    /// The same object as `kind` shows it, derived on first use when `kind` is a view.
    pub(crate) fn form(self: &Arc<Self>, kind: &Kind) -> Form {
        let own = || self.body.own(0..self.body.own_len());
        let as_stored = match (kind.storage, &kind.custom) {
            (Storage::View(_), _) => false,
            (_, Some(custom)) => custom.is_shown_as(own(), self.revision),
            _ => true,
        };
        if as_stored {
            return Form::Shown(self.clone());
        }
        let shown = match (self.views.find(kind), &kind.custom) {
            (Some(shown), _) => shown,
            (None, Some(custom)) if kind.family().is_some() && !custom.is_written_in(own()) => {
                return Form::Elsewhere;
            }
            (None, _) => self.derive(kind),
        };
        match shown {
            Shown::AsStored => Form::Shown(self.clone()),
            Shown::Derived(entry) => Form::Shown(entry),
            Shown::Not => Form::Not,
        }
    }

    /// Two readers may do it at a time; both come to the same.
    fn derive(&self, kind: &Kind) -> Shown {
        let value = match (kind.storage, &kind.custom) {
            (Storage::View(conversion), _) => conversion.to_view(self.stored_value()),
            (_, Some(custom)) => custom.show(kind.api_version(), self.stored_value()),
            _ => return Shown::AsStored,
        };
        self.kept(kind, &value)
    }

    /// Keeps the form that the kind's webhook has made. None when it is none of this object.
    pub(crate) fn keep(self: &Arc<Self>, kind: &Kind, mut value: Value) -> Option<Arc<Self>> {
        crate::meta::set(&mut value, "resourceVersion", None);
        match self.kept(kind, &value) {
            Shown::AsStored => Some(self.clone()),
            Shown::Derived(entry) => Some(entry),
            Shown::Not => None,
        }
    }

    /// `value` is without resourceVersion.
    fn kept(&self, kind: &Kind, value: &Value) -> Shown {
        let body = Bytes::from(value.to_string());
        let shown = if self.body.is(&body) {
            Shown::AsStored
        } else {
            let view = Self::read(kind, self.head.key.clone(), body, self.revision, &mut Interner::default());
            match view {
                Ok(view) => Shown::Derived(Arc::new(view)),
                Err(error) => {
                    tracing::error!(%error, "deriving a view");
                    Shown::Not
                }
            }
        };
        self.views.keep(kind, &shown);
        shown
    }
}

/// Of a revision.
const DIGITS_MAX: usize = 20;

/// Writes a number in decimal, without an allocation.
fn put_decimal(mut number: u64, out: &mut BytesMut) {
    let mut digits = [0_u8; DIGITS_MAX];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::KindTable;

    #[test]
    fn the_revision_is_spliced_into_the_stored_bytes() {
        let table = KindTable::builtin();
        let kind = table.by_resource("", "v1", "configmaps").expect("configmaps are served");
        let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"labels":{"a":"b"},"name":"n","namespace":"ns","uid":"u"}}"#;
        let entry = Entry::read(
            kind,
            "/registry/core/configmaps/ns/n".into(),
            Bytes::from_static(body.as_bytes()),
            7,
            &mut Interner::default(),
        )
        .expect("the body is canonical");
        assert_eq!(
            (entry.head.namespace(), entry.head.name(), entry.head.label("a")),
            ("ns", "n", Some("b"))
        );
        let mut out = BytesMut::new();
        entry.write_json(120, &mut out);
        assert_eq!(out, body.replace("\"uid\"", "\"resourceVersion\":\"120\",\"uid\""));
        assert_eq!(entry.to_value()["metadata"]["resourceVersion"], "7");
    }
}

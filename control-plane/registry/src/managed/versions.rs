//! The versions of a kind as structured merge asks for them, and which part of an object a resource writes.

use super::memo::Memo;
use crate::{
    kind::{Kind, Storage},
    shape,
    table::KindTable,
};
use keelson_schema::structured::{Place, Versions};
use serde_json::Value;
use std::borrow::Cow;

/// The versions of one kind: itself, and what is kept in the same place in another shape.
pub(crate) struct KindVersions<'a> {
    pub(super) table: &'a KindTable,
    pub(super) kind: &'a Kind,
    pub(super) memo: Option<&'a Memo>,
}

impl KindVersions<'_> {
    fn find(&self, version: &str) -> Option<&Kind> {
        if is_version(self.kind, version) {
            return Some(self.kind);
        }
        self.table
            .iter()
            .map(AsRef::as_ref)
            .find(|kind| kind.prefix == self.kind.prefix && is_version(kind, version))
    }
}

/// Whether it is the kind's `group/version`, without making that text.
fn is_version(kind: &Kind, version: &str) -> bool {
    match version.split_once('/') {
        Some((group, version)) => group == kind.group && version == kind.version,
        None => kind.group.is_empty() && version == kind.version,
    }
}

impl Versions for KindVersions<'_> {
    fn show<'v>(&self, object: &'v Value, from: &str, to: &str) -> Option<(Place<'_>, Cow<'v, Value>)> {
        let to_kind = self.find(to)?;
        let place = Place::of(shape::type_of(to_kind, "")?);
        if from == to {
            return Some((place, Cow::Borrowed(object)));
        }
        if to_kind.family().is_some() {
            return self.memo?.show(object, from, to).map(|shown| (place, Cow::Owned(shown)));
        }
        let stored = match self.find(from)?.storage {
            Storage::View(conversion) => conversion.to_stored(object.clone()),
            Storage::Own | Storage::Virtual => object.clone(),
        };
        let shown = match to_kind.storage {
            Storage::View(conversion) => conversion.to_view(stored),
            Storage::Own | Storage::Virtual => stored,
        };
        Some((place, Cow::Owned(shown)))
    }
}

/// Which fields of the first level a resource writes: the rest is reset by it and nobody's by writing it.
pub(crate) fn written_by(kind: &Kind, sub: &str) -> impl Fn(&str) -> bool + Copy + Sync + use<> {
    let has_status = kind.has_status();
    let only = match sub {
        "status" | "approval" => Some(["metadata", "status"]),
        "scale" => Some(["spec", "spec"]),
        "finalize" => Some(["metadata", "spec"]),
        "ephemeralcontainers" | "resize" => Some(["spec", "spec"]),
        _ => None,
    };
    move |name| match only {
        Some(names) => names.contains(&name),
        None => !(has_status && name == "status"),
    }
}

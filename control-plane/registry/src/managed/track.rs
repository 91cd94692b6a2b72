//! Who owns what after a create, an update or a patch: the fields that changed are the writer's.

use super::{
    Ledger,
    entry::{self, EntriesError, Entry, Manager, Operation},
    memo::Memo,
    versions::{KindVersions, written_by},
};
use crate::{kind::Kind, meta, shape, table::KindTable};
use keelson_schema::structured::{Changes, FieldSet, Place, created};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};
use time::OffsetDateTime;

/// Entries of operation Update beyond this are merged, the oldest first.
const UPDATERS_MAX: usize = 10;
/// Whoever wrote so long ago that his name is no longer kept.
const ANCIENT: &str = "ancient-changes";
/// Whoever gives no name.
const UNKNOWN: &str = "unknown";

/// What a request says about the entries themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// Nothing: absent or empty.
    Nothing,
    /// `[{}]`: forget all.
    Reset,
    /// These instead, as JSON. What cannot be understood counts as nothing, as upstream has it.
    Entries(String),
}

impl Given {
    /// Takes `metadata.managedFields` out of a request's object.
    pub(crate) fn take(object: &mut Value) -> Self {
        let given = object
            .get_mut("metadata")
            .and_then(Value::as_object_mut)
            .and_then(|metadata| metadata.remove("managedFields"));
        match given {
            Some(Value::Array(items)) if items == [json!({})] => Self::Reset,
            Some(Value::Array(items)) if !items.is_empty() => Self::Entries(Value::Array(items).to_string()),
            _ => Self::Nothing,
        }
    }

    /// The entries instead of those that the object has; none if they are to stay.
    fn entries(&self, before: &str) -> Option<Vec<Entry>> {
        match self {
            Self::Nothing => None,
            Self::Reset => Some(Vec::new()),
            Self::Entries(text) if text == before => None,
            Self::Entries(text) => read(text).ok(),
        }
    }
}

fn read(given: &str) -> Result<Vec<Entry>, EntriesError> {
    let mut entries = entry::parse(given)?;
    entries.iter_mut().try_for_each(Entry::read_fields)?;
    Ok(entries)
}

/// The entries of a stored object. Those that cannot be read are as good as none, as upstream has it.
pub(super) fn stored(text: &str) -> Vec<Entry> {
    if text.is_empty() {
        return Vec::new();
    }
    entry::parse(text).unwrap_or_else(|error| {
        tracing::warn!(error = &error as &dyn std::error::Error, "managed fields are forgotten");
        Vec::new()
    })
}

/// A write by somebody.
#[derive(Clone)]
pub(crate) struct Track<'a> {
    pub(crate) table: Arc<KindTable>,
    /// The kind that the request names.
    pub(crate) kind: &'a Kind,
    /// "" for the object itself.
    pub(crate) sub: &'a str,
    /// Where a webhook converts: what it has converted.
    pub(crate) memo: Option<&'a Memo>,
    /// As the request names the writer.
    pub(crate) manager: &'a str,
    pub(crate) now: OffsetDateTime,
}

impl Track<'_> {
    pub(super) fn manager(&self, operation: Operation) -> Manager {
        let name = if self.manager.is_empty() { UNKNOWN } else { self.manager };
        Manager {
            name: name.to_owned(),
            operation,
            api_version: self.kind.api_version(),
            subresource: self.sub.to_owned(),
        }
    }

    pub(super) fn time(&self) -> String {
        keelson_semantics::timestamp::format_seconds(self.now)
    }

    /// A new object, as the client wants it. The text of its entries.
    pub(crate) fn created(&self, given: &Given, new: &Value) -> String {
        let mut entries = given.entries("").unwrap_or_default();
        if entries.is_empty() {
            entries.extend(self.created_entry(new));
        } else {
            self.update(&mut entries, &Value::Object(serde_json::Map::new()), new);
        }
        entry::write(entries)
    }

    fn created_entry(&self, new: &Value) -> Option<Entry> {
        let mut comparison = created(Place::of(shape::type_of(self.kind, "")?), new);
        comparison.retain(written_by(self.kind, self.sub));
        let mut fields = comparison.into_written();
        fields.subtract(&STRIPPED);
        (!fields.is_empty()).then(|| Entry::new(self.manager(Operation::Update), self.time(), fields))
    }

    /// A change from `old`, with the entries `before`, to `new` as the client wants it.
    pub(crate) fn updated(&self, before: &str, given: &Given, old: &Value, new: &Value) -> Ledger {
        // What a subresource is told about the entries of the whole object does not count.
        let given = Some(given).filter(|_| self.sub.is_empty()).and_then(|given| given.entries(before));
        let replaced = given.is_some();
        let mut entries = given.unwrap_or_else(|| stored(before));
        let touched = !entries.is_empty() && self.update(&mut entries, old, new);
        if !touched && !replaced {
            return Ledger::Kept;
        }
        let text = entry::write(entries);
        if text == before { Ledger::Kept } else { Ledger::Next { text, alone: replaced } }
    }

    /// Moves what changed to the writer. False if nothing did.
    fn update(&self, entries: &mut Vec<Entry>, old: &Value, new: &Value) -> bool {
        let versions = KindVersions { table: &self.table, kind: self.kind, memo: self.memo };
        let keep = written_by(self.kind, self.sub);
        let manager = self.manager(Operation::Update);
        let mut changes = Changes::new(&versions, &manager.api_version, old, new, &keep);
        let mut taken = match changes.seen_by(&manager.api_version) {
            Some(own) if !own.is_empty() => own.written().into_owned(),
            _ => return false,
        };
        taken.subtract(&STRIPPED);
        entries.retain_mut(|entry| {
            let own = entry.manager.is(&manager);
            match self.left_of(entry, own, &taken, &mut changes) {
                Left::All => true,
                Left::Nothing => false,
                Left::Some(set) => {
                    entry.replace(set);
                    true
                }
            }
        });
        if taken.is_empty() {
            entries.retain(|entry| entry.set().is_ok_and(|set| !set.is_empty()));
        } else {
            self.take(entries, manager, taken);
        }
        cap(entries);
        true
    }

    /// What a change leaves of an entry.
    fn left_of(&self, entry: &Entry, own: bool, taken: &FieldSet, changes: &mut Changes<'_>) -> Left {
        let Some(seen) = changes.seen_by(&entry.manager.api_version) else { return Left::Nothing };
        match entry.is_touched(seen) {
            Ok(true) => {}
            Ok(false) => return Left::All,
            Err(_) => return Left::Nothing,
        }
        let Ok(set) = entry.set() else { return Left::Nothing };
        // Who writes his own again keeps it, and hot writers (a status, a lease) are spared all but the look.
        if own && !set.overlaps(&seen.removed) && taken.is_within(&set) {
            return Left::All;
        }
        match seen.leaves_of(&set) {
            None => Left::All,
            Some(left) if left.is_empty() && !own => Left::Nothing,
            Some(left) => Left::Some(left),
        }
    }

    /// Gives the writer his fields and the time.
    fn take(&self, entries: &mut Vec<Entry>, manager: Manager, taken: FieldSet) {
        let Some(own) = entries.iter_mut().find(|entry| entry.manager.is(&manager)) else {
            entries.push(Entry::new(manager, self.time(), taken));
            return;
        };
        own.time = self.time();
        let whole = match own.set() {
            Ok(set) if taken.is_within(&set) => return,
            Ok(set) => set.union(&taken),
            Err(_) => taken,
        };
        own.replace(whole);
    }
}

/// What is left of an entry.
enum Left {
    All,
    Some(FieldSet),
    Nothing,
}

/// Merges the oldest entries of updates, by version, until there are few enough.
fn cap(entries: &mut Vec<Entry>) {
    let updaters = |entries: &[Entry]| {
        entries.iter().filter(|entry| entry.manager.operation == Operation::Update).count()
    };
    if updaters(entries) <= UPDATERS_MAX {
        return;
    }
    let oldest: Vec<Manager> = {
        let mut sorted: Vec<&Entry> =
            entries.iter().filter(|entry| entry.manager.operation == Operation::Update).collect();
        sorted.sort_by(|a, b| (&a.time, &a.manager.name).cmp(&(&b.time, &b.manager.name)));
        sorted.into_iter().map(|entry| entry.manager.clone()).collect()
    };
    // The first of a version stays until a second one is merged with it.
    let mut merged: Vec<(String, Manager)> = Vec::new();
    for manager in oldest {
        if updaters(entries) <= UPDATERS_MAX {
            break;
        }
        let bucket = merged.iter_mut().find(|(version, _)| *version == manager.api_version);
        let Some((_, bucket)) = bucket else {
            merged.push((manager.api_version.clone(), manager));
            continue;
        };
        let mut pull = |wanted: &Manager| {
            let at = entries.iter().position(|entry| entry.manager.is(wanted))?;
            Some(entries.remove(at))
        };
        let (first, second) = (pull(bucket), pull(&manager));
        let set = [&first, &second]
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.set().ok())
            .fold(FieldSet::default(), |all, set| all.union(&set));
        *bucket = Manager { name: ANCIENT.to_owned(), subresource: String::new(), ..manager };
        let time = second.map(|entry| entry.time).unwrap_or_default();
        entries.push(Entry::new(bucket.clone(), time, set));
    }
}

/// What is nobody's: it is the server's, or says which object this is.
pub(super) static STRIPPED: LazyLock<FieldSet> = LazyLock::new(|| {
    let paths: [&[&'static str]; 12] = [
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ];
    paths.iter().fold(FieldSet::default(), |all, path| all.union(&FieldSet::of_path(path)))
});

/// The entries of an object that the server itself makes.
pub(crate) fn of_created(table: &Arc<KindTable>, object: &Value, now: OffsetDateTime) -> String {
    let api_version = meta::text(object, &["apiVersion"]);
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let Some(kind) = table.by_kind(group, version, meta::text(object, &["kind"])) else {
        return String::new();
    };
    Track { table: table.clone(), kind, memo: None, sub: "", manager: "kube-apiserver", now }
        .created(&Given::Nothing, object)
}

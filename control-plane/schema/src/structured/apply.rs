//! Applying a configuration: what the object becomes, what everybody owns then, and who is in the way.
//!
//! Three steps: the configuration is merged into the live state; what the manager owned before, applies no longer and
//! nobody else owns goes; what changed by this and is another's is a conflict, or his no longer if forced.

use std::borrow::Cow;

use serde_json::Value;

use super::canonical::canonicalise;
use super::compare::{Comparison, compare};
use super::element::FieldPath;
use super::merge::merge;
use super::place::{Place, set_of};
use super::remove::remove;
use super::set::FieldSet;

/// Fields that somebody owns, in the terms of an API version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `v1`, `apps/v1`
    pub version: String,
    /// What is owned.
    pub set: FieldSet,
}

/// The versions of a kind.
pub trait Versions: Sync {
    /// The object, which is in version `from`, as version `to` shows it, with what the schema says of that. None: there
    /// is no such version.
    fn show<'v>(&self, object: &'v Value, from: &str, to: &str) -> Option<(Place<'_>, Cow<'v, Value>)>;
}

/// A change of an object in the terms of every version in which somebody owns fields.
pub struct Changes<'a> {
    versions: &'a dyn Versions,
    version: &'a str,
    old: &'a Value,
    new: &'a Value,
    keep: &'a (dyn Fn(&str) -> bool + Sync),
    seen: Vec<(String, Option<Comparison>)>,
}

impl<'a> Changes<'a> {
    /// Both states are in `version`; `keep` says which fields of the first level the write is about.
    #[must_use]
    pub fn new(
        versions: &'a dyn Versions,
        version: &'a str,
        old: &'a Value,
        new: &'a Value,
        keep: &'a (dyn Fn(&str) -> bool + Sync),
    ) -> Changes<'a> {
        Changes { versions, version, old, new, keep, seen: Vec::new() }
    }

    /// The change as a version sees it; none if there is no such version.
    pub fn seen_by(&mut self, version: &str) -> Option<&Comparison> {
        let at = match self.seen.iter().position(|(known, _)| known == version) {
            Some(at) => at,
            None => {
                self.seen.push((version.to_owned(), self.compare_in(version)));
                self.seen.len() - 1
            }
        };
        self.seen[at].1.as_ref()
    }

    fn compare_in(&self, version: &str) -> Option<Comparison> {
        let (place, old) = self.versions.show(self.old, self.version, version)?;
        let (_, new) = self.versions.show(self.new, self.version, version)?;
        let mut comparison = compare(place, &old, &new);
        comparison.retain(|name| (self.keep)(name));
        Some(comparison)
    }
}

/// An apply on one state.
pub struct Apply<'a> {
    /// The versions of the kind.
    pub versions: &'a dyn Versions,
    /// The version of both objects.
    pub version: &'a str,
    /// The present state; an empty object where there is none.
    pub live: &'a Value,
    /// What is wanted.
    pub config: &'a Value,
    /// Which fields of the first level the resource writes at all.
    pub keep: &'a (dyn Fn(&str) -> bool + Sync),
    /// What the manager owned until now.
    pub last: Option<&'a Owner>,
    /// What all others own.
    pub others: &'a [Owner],
    /// Take what conflicts.
    pub force: bool,
}

/// What an apply comes to.
#[derive(Debug)]
pub struct Applied {
    /// The next state, before defaults; nulls stand for what is to go.
    pub object: Value,
    /// What the manager owns now.
    pub owns: FieldSet,
    /// What is left to each of the others; none for whom nothing changes. Who owns in an unknown version owns nothing.
    pub others: Vec<Option<FieldSet>>,
}

/// A field that another manager owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Its place in [`Apply::others`].
    pub owner: usize,
    /// The field.
    pub path: FieldPath,
}

impl Apply<'_> {
    /// The outcome, or all conflicts. The configuration has been checked ([`super::check`]).
    pub fn run(&self) -> Result<Applied, Vec<Conflict>> {
        let place = match self.versions.show(self.live, self.version, self.version) {
            Some((place, _)) => place,
            None => Place::deduced(),
        };
        let mut config = self.config.clone();
        if let Some(ty) = place.ty() {
            canonicalise(ty, &mut config);
        }
        let mut owns = set_of(place, &config).below;
        owns.retain(self.keep);
        let merged = merge(place, Some(self.live), &config);
        let object = self.pruned(merged, &owns);
        let mut changes = Changes::new(self.versions, self.version, self.live, &object, self.keep);
        let mut conflicts = Vec::new();
        let mut others = Vec::with_capacity(self.others.len());
        for (owner, other) in self.others.iter().enumerate() {
            let Some(seen) = changes.seen_by(&other.version) else {
                others.push(Some(FieldSet::default()));
                continue;
            };
            let written = other.set.intersection(&seen.written());
            conflicts.extend(written.paths().into_iter().map(|path| Conflict { owner, path }));
            others.push(seen.leaves_of(&other.set));
        }
        drop(changes);
        if conflicts.is_empty() || self.force { Ok(Applied { object, owns, others }) } else { Err(conflicts) }
    }

    /// The merged state without what only this manager wanted. Everything of its own is taken out, what anybody owns is
    /// put back, and what nobody ever owned is put back, too.
    fn pruned(&self, merged: Value, owns: &FieldSet) -> Value {
        let Some(last) = self.last.filter(|last| !last.set.is_empty()) else { return merged };
        let Some((place, whole)) = self.versions.show(&merged, self.version, &last.version) else {
            return merged;
        };
        let mut state = Pruning {
            versions: self.versions,
            at: last.version.clone(),
            pruned: whole.clone().into_owned(),
            whole: whole.into_owned(),
        };
        let lasts = last.set.with_named(place);
        remove(place, &mut state.pruned, &lasts);
        for (version, managed) in self.managed(&last.version, owns) {
            let Some(place) = state.go(&version) else { continue };
            let kept = fields_of(place, &state.pruned).union(&managed.with_named(place));
            let gone = fields_of(place, &state.whole).difference(&kept);
            state.pruned = state.whole.clone();
            remove(place, &mut state.pruned, &gone);
        }
        let Some(place) = state.go(&last.version) else { return merged };
        let gone =
            fields_of(place, &state.whole).difference(&fields_of(place, &state.pruned)).intersection(&lasts);
        remove(place, &mut state.whole, &gone);
        if state.go(self.version).is_some() { state.whole } else { merged }
    }

    /// What is owned in each version, that one first.
    fn managed(&self, first: &str, owns: &FieldSet) -> Vec<(String, FieldSet)> {
        let mut managed = vec![(first.to_owned(), FieldSet::default())];
        let everybody = self.others.iter().map(|other| (other.version.as_str(), &other.set));
        for (version, set) in everybody.chain([(self.version, owns)]) {
            match managed.iter_mut().find(|(known, _)| known == version) {
                Some((_, all)) => *all = all.union(set),
                None => managed.push((version.to_owned(), set.clone())),
            }
        }
        managed
    }
}

fn fields_of(place: Place<'_>, object: &Value) -> FieldSet {
    set_of(place, object).below.with_named(place)
}

/// The merged state and what is left of it, both in one version.
struct Pruning<'a> {
    versions: &'a dyn Versions,
    at: String,
    whole: Value,
    pruned: Value,
}

impl<'a> Pruning<'a> {
    /// Goes on in another version, if there is one.
    fn go(&mut self, version: &str) -> Option<Place<'a>> {
        let (place, whole) = self.versions.show(&self.whole, &self.at, version)?;
        if self.at != version {
            let (_, pruned) = self.versions.show(&self.pruned, &self.at, version)?;
            (self.whole, self.pruned) = (whole.into_owned(), pruned.into_owned());
            version.clone_into(&mut self.at);
        }
        Some(place)
    }
}

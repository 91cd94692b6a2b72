//! What is served at one moment: the kinds, and the caches of those that are stored. Replaced whole by the feed, the only
//! one who sees definitions of custom kinds in the order of the store.

use super::{ResourceCache, Root, State};
use crate::{
    custom::{self, DEFINITIONS_MAX, Definition},
    entry::{Entry, Unreadable},
    intern::Interner,
    kind::{Kind, Storage},
    table::KindTable,
};
use keelson_store::Revision;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

/// Where definitions of custom kinds are in the store.
pub(crate) const DEFINITIONS: &str = "/registry/apiextensions.k8s.io/customresourcedefinitions/";

/// Kinds and caches. A request takes it once and is answered by it.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) table: Arc<KindTable>,
    by_prefix: HashMap<String, Arc<ResourceCache>>,
    builtin: Arc<[Arc<Kind>]>,
    /// By the definition's name.
    custom: BTreeMap<String, Served>,
}

/// The kinds of one definition.
#[derive(Clone)]
struct Served {
    /// Of all that they are made from.
    digest: u64,
    /// Of it what its objects are shown by.
    shape: u64,
    stored: Arc<Kind>,
    kinds: Vec<Arc<Kind>>,
}

/// A world that another one becomes.
pub(crate) struct Next {
    pub(crate) world: World,
    /// To be filled from the store before anybody sees the new world.
    pub(crate) appeared: Option<Arc<ResourceCache>>,
    /// To be closed once everybody does.
    pub(crate) gone: Option<Arc<ResourceCache>>,
}

impl World {
    /// The kinds of a table, each with an empty cache.
    pub(crate) fn new(table: KindTable) -> Self {
        let by_prefix = table
            .iter()
            .filter(|kind| matches!(kind.storage, Storage::Own))
            .map(|kind| (kind.prefix.clone(), Arc::new(ResourceCache::new(kind.clone()))))
            .collect();
        let builtin = table.iter().cloned().collect();
        Self { table: Arc::new(table), by_prefix, builtin, custom: BTreeMap::new() }
    }

    pub(crate) fn of_kind(&self, kind: &Kind) -> Option<&Arc<ResourceCache>> {
        self.by_prefix.get(&kind.prefix)
    }

    pub(crate) fn of_key(&self, key: &str) -> Option<&Arc<ResourceCache>> {
        let (end, _) = key.match_indices('/').nth(3)?;
        self.by_prefix.get(&key[..=end])
    }

    pub(crate) fn stored_of(&self, definition: &str) -> Option<&Arc<Kind>> {
        self.custom.get(definition).map(|served| &served.stored)
    }

    pub(crate) fn caches(&self) -> impl Iterator<Item = &Arc<ResourceCache>> {
        self.by_prefix.values()
    }

    /// Names of the definitions that are served.
    pub(crate) fn definitions(&self) -> impl Iterator<Item = &String> {
        self.custom.keys()
    }

    /// The world after a definition was written or, without one, deleted, by the transaction of `revision`. None when
    /// that changes nothing that is served.
    pub(crate) fn after(
        &self,
        name: &str,
        definition: Option<&Value>,
        revision: Revision,
    ) -> Result<Option<Next>, Unreadable> {
        let served = definition.and_then(|object| self.served(name, object, revision));
        let before = self.custom.get(name);
        if served.as_ref().map(|served| served.digest) == before.map(|before| before.digest) {
            return Ok(None);
        }
        let mut world = self.clone();
        let old = before.and_then(|before| self.by_prefix.get(&before.stored.prefix)).cloned();
        if let Some(before) = before {
            world.by_prefix.remove(&before.stored.prefix);
        }
        let (mut appeared, mut gone) = (None, old.clone());
        match served {
            None => drop(world.custom.remove(name)),
            Some(served) => {
                let cache = match &old {
                    // It is established or about to go.
                    Some(old) if before.is_some_and(|before| before.shape == served.shape) => {
                        gone = None;
                        old.clone()
                    }
                    // Watches are closed, and resume without a gap: they would go on to show what was declared before.
                    Some(old) if old.kind.selectable_fields == served.stored.selectable_fields => {
                        Arc::new(renewed(old, &served.stored))
                    }
                    Some(old) => Arc::new(read_anew(old, &served.stored)?),
                    None => {
                        let cache = Arc::new(ResourceCache::new(served.stored.clone()));
                        appeared = Some(cache.clone());
                        cache
                    }
                };
                world.by_prefix.insert(served.stored.prefix.clone(), cache);
                world.custom.insert(name.to_owned(), served);
            }
        }
        let custom = world.custom.values().flat_map(|served| served.kinds.iter());
        world.table = Arc::new(KindTable::new(world.builtin.iter().chain(custom).cloned().collect()));
        Ok(Some(Next { world, appeared, gone }))
    }

    fn served(&self, name: &str, object: &Value, revision: Revision) -> Option<Served> {
        let definition = Definition::read(object)
            .inspect_err(
                |error| tracing::error!(name, %error, "a definition cannot be read and is not served"),
            )
            .ok()?;
        if self.custom.len() >= DEFINITIONS_MAX && !self.custom.contains_key(name) {
            tracing::error!(name, most = DEFINITIONS_MAX, "a definition beyond the maximum is not served");
            return None;
        }
        let mut hasher = DefaultHasher::new();
        object["spec"].to_string().hash(&mut hasher);
        object["status"]["acceptedNames"].to_string().hash(&mut hasher);
        let shape = hasher.finish();
        (definition.is_deleting(), definition.is("Established")).hash(&mut hasher);
        let digest = hasher.finish();
        if let Some(before) = self.custom.get(name).filter(|before| before.digest == digest) {
            return Some(before.clone());
        }
        let (stored, kinds) = custom::kinds_of(&definition, revision)?;
        Some(Served { digest, shape, stored, kinds })
    }
}

/// The same objects and history, for others to watch.
fn renewed(old: &ResourceCache, kind: &Arc<Kind>) -> ResourceCache {
    let cache = ResourceCache::new(kind.clone());
    cache.replace(State::clone(&old.state()));
    cache
}

/// The same objects with the heads that another kind gives them, and without history.
fn read_anew(old: &ResourceCache, kind: &Arc<Kind>) -> Result<ResourceCache, Unreadable> {
    let cache = ResourceCache::new(kind.clone());
    let state = old.state();
    let mut interner = Interner::default();
    let entries = state.root.iter().map(|(key, entry)| {
        let read = Entry::read(kind, key.clone(), entry.stored_bytes(), entry.mod_revision(), &mut interner)?;
        Ok::<_, Unreadable>((key.clone(), Arc::new(read)))
    });
    let root = entries.collect::<Result<Root, _>>()?;
    cache.replace(State::loaded(root, state.changed));
    Ok(cache)
}

//! The cache of one kind: three verbs (apply, delete, reset) that answer what changed, and indexes that the view declares.

use crate::{ObjectKey, views::View};
use parking_lot::RwLock;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// What changed. `old` alone: deleted; `new` alone: added; both: modified, same uid.
#[derive(Clone, Debug)]
pub struct Change<T> {
    /// The last state known before.
    pub old: Option<Arc<T>>,
    /// The state now.
    pub new: Option<Arc<T>>,
}

impl<T> Change<T> {
    /// The newest state there is.
    pub fn latest(&self) -> &Arc<T> {
        self.new.as_ref().or(self.old.as_ref()).expect("a change has a side")
    }

    /// Old and new, as far as they are there.
    pub fn sides(&self) -> impl Iterator<Item = &Arc<T>> {
        self.old.iter().chain(self.new.iter())
    }
}

/// A way to find objects without scanning all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IndexKey {
    /// By the uid of the controlling owner.
    Controller(Arc<str>),
    /// Objects of a namespace that no owner controls.
    Orphans(Arc<str>),
    /// By namespace.
    Namespace(Arc<str>),
    /// By spec.nodeName.
    Node(Arc<str>),
    /// By the Service that a slice belongs to.
    Service(ObjectKey),
}

/// Objects by key, and the keys under each index.
pub struct Store<T>(RwLock<Inner<T>>);

struct Inner<T> {
    objects: HashMap<ObjectKey, Arc<T>>,
    index: HashMap<IndexKey, BTreeSet<ObjectKey>>,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self(RwLock::new(Inner { objects: HashMap::new(), index: HashMap::new() }))
    }
}

impl<T: View> Store<T> {
    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.0.read().objects.get(key).cloned()
    }

    /// All under an index key, sorted.
    pub fn by(&self, index: &IndexKey) -> Vec<Arc<T>> {
        let inner = self.0.read();
        let keys = inner.index.get(index).into_iter().flatten();
        keys.filter_map(|k| inner.objects.get(k).cloned()).collect()
    }

    /// All.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.0.read().objects.values().cloned().collect()
    }

    /// Adds or replaces.
    pub fn apply(&self, object: T) -> Vec<Change<T>> {
        let mut changes = Vec::with_capacity(1);
        self.0.write().apply(object, &mut changes);
        changes
    }

    /// Removes; `object` is its last state.
    pub fn delete(&self, object: T) -> Vec<Change<T>> {
        let key = object.meta().key();
        match self.0.write().remove(&key) {
            Some(_) => vec![Change { old: Some(Arc::new(object)), new: None }],
            None => Vec::new(),
        }
    }

    /// Makes the store hold exactly these.
    pub fn reset(&self, objects: Vec<T>) -> Vec<Change<T>> {
        let mut inner = self.0.write();
        let present: BTreeSet<ObjectKey> = objects.iter().map(|o| o.meta().key()).collect();
        let gone: Vec<ObjectKey> = inner.objects.keys().filter(|k| !present.contains(k)).cloned().collect();
        let mut changes = Vec::new();
        changes.extend(
            gone.iter().filter_map(|k| inner.remove(k)).map(|old| Change { old: Some(old), new: None }),
        );
        for object in objects {
            inner.apply(object, &mut changes);
        }
        changes
    }
}

impl<T: View> Inner<T> {
    fn apply(&mut self, mut object: T, changes: &mut Vec<Change<T>>) {
        let key = object.meta().key();
        let old = self.objects.get(&key).cloned();
        match &old {
            Some(old) if old.meta().resource_version == object.meta().resource_version => return,
            Some(old) => object.share(old),
            None => self.share_with_sibling(&mut object),
        }
        let old = old.and_then(|old| {
            if old.meta().uid == object.meta().uid {
                return Some(old);
            }
            // The deletion in between was not seen: subscribers see it nevertheless.
            changes.push(Change { old: self.remove(&key), new: None });
            None
        });
        let object = Arc::new(object);
        self.reindex(&key, old.as_deref(), Some(&object));
        self.objects.insert(key, object.clone());
        changes.push(Change { old, new: Some(object) });
    }

    fn share_with_sibling(&self, object: &mut T) {
        let Some(owner) = object.meta().controller() else { return };
        let siblings = self.index.get(&IndexKey::Controller(owner.uid.clone()));
        if let Some(sibling) = siblings.and_then(|s| s.first()).and_then(|k| self.objects.get(k)) {
            object.share(sibling);
        }
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Arc<T>> {
        let old = self.objects.remove(key)?;
        self.reindex(key, Some(&old), None);
        Some(old)
    }

    fn reindex(&mut self, key: &ObjectKey, old: Option<&T>, new: Option<&T>) {
        let keys = |object: Option<&T>| object.map(View::indexes).unwrap_or_default();
        let (before, after) = (keys(old), keys(new));
        for index in before.iter().filter(|i| !after.contains(i)) {
            if let Some(members) = self.index.get_mut(index) {
                members.remove(key);
                if members.is_empty() {
                    self.index.remove(index);
                }
            }
        }
        for index in after {
            if !before.contains(&index) {
                self.index.entry(index).or_default().insert(key.clone());
            }
        }
    }
}

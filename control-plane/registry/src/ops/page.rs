//! One part of a list, from the objects at one revision.

use super::{ListResult, Registry};
use crate::{
    cache::{self, select::Select, token::Continue},
    convert::{Forms, OBJECTS_MAX},
    entry::Entry,
    kind::Kind,
    status::Status,
};
use keelson_store::Revision;
use std::sync::Arc;

/// What of the objects is asked for.
pub(super) struct Page<'a> {
    pub(super) kind: &'a Kind,
    pub(super) select: &'a Select,
    pub(super) prefix: &'a str,
    pub(super) after: Option<&'a str>,
    /// 0 is no limit.
    pub(super) limit: u64,
}

impl Page<'_> {
    pub(super) async fn take(
        &self,
        registry: &Registry,
        root: &cache::Root,
        revision: Revision,
    ) -> Result<ListResult, Status> {
        let forms = self.forms(registry, root).await?;
        Ok(self.take_from(&forms, root, revision))
    }

    fn take_from(&self, forms: &Forms<'_>, root: &cache::Root, revision: Revision) -> ListResult {
        let whole = |items| ListResult { revision, items, continue_token: String::new(), remaining: None };
        let shown = |entry: &Arc<Entry>| forms.of(entry).filter(|entry| self.select.matches(entry));
        if let Some(key) = self.single() {
            return whole(root.get(key.as_str()).and_then(shown).into_iter().collect());
        }
        let limit = self.limit();
        let mut entries = cache::range(root, self.prefix, self.after);
        let items: Vec<_> = entries.by_ref().filter_map(shown).take(limit).collect();
        let (more, remaining) = if self.select.is_empty() {
            let rest = entries.count() as u64;
            (rest > 0, Some(rest))
        } else {
            (entries.any(|entry| shown(entry).is_some()), None)
        };
        let Some(last) = items.last().filter(|_| more) else { return whole(items) };
        let after = last.head.key()[self.prefix.len()..].to_owned();
        let continue_token = Continue { revision: Some(revision), after }.encode();
        ListResult { revision, items, continue_token, remaining }
    }

    fn limit(&self) -> usize {
        match self.limit {
            0 => usize::MAX,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        }
    }

    /// What must be made before the page can be taken: of most kinds nothing. Selectors see objects as they are shown, so that with
    /// one as many are made as it takes to find enough, and one more, which tells whether there is more.
    async fn forms(&self, registry: &Registry, root: &cache::Root) -> Result<Forms<'_>, Status> {
        let mut forms = Forms::new(self.kind);
        if self.kind.family().is_none() {
            return Ok(forms);
        }
        if let Some(key) = self.single() {
            forms.look_for(root.get(key.as_str()).cloned());
            registry.converter.complete(&mut forms).await?;
            return Ok(forms);
        }
        let plain = self.select.is_empty();
        let mut wanted = if plain { self.limit() } else { self.limit().saturating_add(1) };
        let mut after: Option<Arc<str>> = self.after.map(Into::into);
        while wanted > 0 {
            let most = if plain { wanted.min(OBJECTS_MAX) } else { OBJECTS_MAX };
            let part: Vec<Arc<Entry>> =
                cache::range(root, self.prefix, after.as_deref()).take(most).cloned().collect();
            let Some(last) = part.last() else { break };
            after = Some(last.head.key().clone());
            forms.look_for(part.iter().cloned());
            registry.converter.complete(&mut forms).await?;
            let found = part.iter().filter_map(|entry| forms.of(entry));
            wanted = wanted.saturating_sub(found.filter(|entry| self.select.matches(entry)).count());
        }
        Ok(forms)
    }

    /// The one key that is meant, where the selectors name one object.
    fn single(&self) -> Option<String> {
        let name = self.select.name()?;
        if !self.kind.namespaced || self.prefix.len() > self.kind.prefix.len() {
            return Some(format!("{}{name}", self.prefix));
        }
        Some(format!("{}{}/{name}", self.prefix, self.select.namespace()?))
    }
}

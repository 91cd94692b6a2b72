//! GET, LIST and WATCH, from the caches alone.

use super::{Registry, page::Page};
use crate::{
    cache::{
        self, State,
        select::Select,
        token::Continue,
        watcher::{Initial, WatchEvent, Watcher},
    },
    entry::Entry,
    kind::Kind,
    options::{ListOptions, VersionMatch, WatchOptions, parse_revision},
    status::Status,
};
use futures::stream;
use keelson_store::Revision;
use std::sync::Arc;

/// One part of a list.
#[derive(Debug)]
pub struct ListResult {
    /// metadata.resourceVersion of the list.
    pub revision: Revision,
    /// In the order of namespace, then name.
    pub items: Vec<Arc<Entry>>,
    /// metadata.continue, "" at the end.
    pub continue_token: String,
    /// metadata.remainingItemCount, where it is known.
    pub remaining: Option<u64>,
}

const EXPIRED_CONTINUE: &str = "The provided continue parameter is too old to display a consistent list result. You can \
start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of \
the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
deleted between the time the first chunk was returned and now may show up in the list.";

impl Registry {
    /// One object. `resource_version` as sent: absent or "" is the newest state, "0" any, else at least that one.
    pub async fn get(
        &self,
        kind: &Arc<Kind>,
        namespace: Option<&str>,
        name: &str,
        resource_version: Option<&str>,
    ) -> Result<Arc<Entry>, Status> {
        let cache = self.cache(kind)?;
        self.reach(resource_version.unwrap_or_default()).await?;
        let not_found = || Status::not_found(&kind.group_resource(), name);
        let entry = cache.get(&kind.key(namespace, name)).ok_or_else(not_found)?;
        self.shown(kind, &entry).await?.ok_or_else(not_found)
    }

    /// One object as the caches have it now, without asking the store: for lookups by components inside the server. What only a
    /// webhook can show in the kind's form is not there.
    pub fn cached(&self, kind: &Kind, namespace: Option<&str>, name: &str) -> Option<Arc<Entry>> {
        let cache = self.caches.of_kind(kind)?;
        cache.get(&kind.key(namespace, name)).and_then(|entry| entry.as_kind(kind))
    }

    /// The revision of the kind's last change: as long as it stays, what was made of all its objects is good.
    pub fn cached_revision(&self, kind: &Kind) -> Revision {
        self.caches.of_kind(kind).map_or(0, |cache| cache.state().changed)
    }

    /// All objects of a kind (in a namespace) as the caches have them now, those that a webhook has to convert among them.
    pub async fn all(&self, kind: &Kind, namespace: Option<&str>) -> Result<Vec<Arc<Entry>>, Status> {
        let prefix = kind.range(namespace);
        let page = Page { kind, select: &Select::default(), prefix: &prefix, after: None, limit: 0 };
        let state = self.cache(kind)?.state();
        Ok(page.take(self, &state.root, state.changed).await?.items)
    }

    /// All objects of a built-in kind (in a namespace) as the caches have them now.
    pub fn cached_all(&self, kind: &Kind, namespace: Option<&str>) -> Vec<Arc<Entry>> {
        let Some(cache) = self.caches.of_kind(kind) else { return Vec::new() };
        let state = cache.state();
        cache::range(&state.root, &kind.range(namespace), None)
            .filter_map(|entry| entry.as_kind(kind))
            .collect()
    }

    /// How many objects of a kind the caches have now, in all namespaces and versions; 0 for what is not stored.
    pub fn cached_count(&self, kind: &Kind) -> u64 {
        self.caches.of_kind(kind).map_or(0, |cache| cache.state().root.len() as u64)
    }

    async fn reach(&self, resource_version: &str) -> Result<Revision, Status> {
        match parse_revision(resource_version)? {
            0 if resource_version.is_empty() => self.fresh().await,
            revision => self.progress.wait(revision).await.map(|()| revision),
        }
    }

    /// A list, whole or in parts.
    pub async fn list(
        &self,
        kind: &Arc<Kind>,
        namespace: Option<&str>,
        options: &ListOptions,
    ) -> Result<ListResult, Status> {
        let cache = self.cache(kind)?;
        let select = Select::parse(kind, &options.label_selector, &options.field_selector)?;
        let matched = options.version_match()?;
        let prefix = kind.range(namespace);
        let token = match options.continue_token.as_str() {
            "" => None,
            token => Some(Continue::decode(token)?),
        };
        let asked = self.list_revision(options, matched, token.as_ref()).await?;
        // In this order: whatever is reached now is in the state taken after.
        let reached = self.progress.reached();
        let state = cache.state();
        let revision = asked.unwrap_or_else(|| state.changed.max(reached));
        let root = match asked.map(|revision| state.at(revision)) {
            None => state.root.clone(),
            Some(Some(root)) => root,
            Some(None) => return Err(gone(&state, revision, token)),
        };
        let after = token.map(|token| format!("{prefix}{}", token.after));
        let page =
            Page { kind, select: &select, prefix: &prefix, after: after.as_deref(), limit: options.limit };
        page.take(self, &root, revision).await
    }

    /// The exact revision to show, or None for the newest.
    async fn list_revision(
        &self,
        options: &ListOptions,
        matched: Option<VersionMatch>,
        token: Option<&Continue>,
    ) -> Result<Option<Revision>, Status> {
        let asked = options.resource_version.as_str();
        if let Some(token) = token {
            if !asked.is_empty() && asked != "0" {
                return Err(Status::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            self.fresh().await?;
            return Ok(token.revision);
        }
        let revision = self.reach(asked).await?;
        let exact = matched == Some(VersionMatch::Exact);
        // Without resourceVersionMatch a limited list at a revision has always been exact.
        let legacy = matched.is_none() && options.limit > 0 && !asked.is_empty() && asked != "0";
        Ok((exact || legacy).then_some(revision))
    }

    /// Every change after a revision, beginning with what exists where the options say so.
    pub async fn watch(
        &self,
        kind: &Arc<Kind>,
        namespace: Option<&str>,
        options: &WatchOptions,
    ) -> Result<stream::BoxStream<'static, WatchEvent>, Status> {
        let cache = self.cache(kind)?;
        let select = Select::parse(kind, &options.label_selector, &options.field_selector)?;
        options.check()?;
        let asked = parse_revision(&options.resource_version)?;
        let send_initial = options.send_initial_events.unwrap_or(asked == 0);
        if options.resource_version.is_empty() {
            self.fresh().await?;
        } else {
            self.progress.wait(asked).await?;
        }
        let progress = self.progress.clone();
        let mut watcher = Watcher::new(cache.clone(), kind.clone(), select, kind.range(namespace), progress);
        watcher.converter = self.converter.clone();
        watcher.bookmarks = options.allow_bookmarks;
        let reached = self.progress.reached();
        let state = cache.state();
        let newest = state.changed.max(reached);
        watcher.position = if send_initial || asked == 0 { newest } else { asked };
        if send_initial {
            let announce_end = options.send_initial_events == Some(true) && options.allow_bookmarks;
            watcher.initial = Some(Initial { root: state.root.clone(), after: None, announce_end });
        }
        Ok(Box::pin(watcher.into_stream()) as stream::BoxStream<'static, WatchEvent>)
    }
}

fn gone(state: &State, revision: Revision, token: Option<Continue>) -> Status {
    let Some(token) = token else { return Status::too_old(revision, state.ring.start()) };
    let mut status = Status::expired(EXPIRED_CONTINUE);
    status.continue_token = Some(Continue { revision: None, after: token.after }.encode());
    status
}

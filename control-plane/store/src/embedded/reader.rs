//! Reads: from the snapshot that was published with the newest revision, corrected by the ring where an earlier one is
//! asked for. They may go to disk, so they run on the blocking pool.

use super::log::{Deadline, Index, Record};
use crate::{
    contract::{Export, Exported, KeyValue, Listing, Revision, StoreError},
    history::{History, View},
};
use futures::TryStreamExt as _;
use std::{
    iter::Peekable,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Answers reads.
pub(super) struct Reader {
    history: Arc<History<Index>>,
}

impl Reader {
    pub(super) fn new(history: Arc<History<Index>>) -> Self {
        Self { history }
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<KeyValue>, StoreError> {
        let view = self.history.view(None)?;
        let key = key.to_owned();
        let record = blocking(move || view.snapshot.get(&key)).await?;
        Ok(record.map(|record| record.kv))
    }

    pub(super) fn export(&self) -> Result<Export, StoreError> {
        let view = self.history.view(None)?;
        Ok(export(view.snapshot, view.revision))
    }

    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Listing, StoreError> {
        let view = self.history.view(at)?;
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        blocking(move || list(&view, &prefix, after.as_deref(), limit)).await
    }
}

/// Keys that an export reads at a time.
const EXPORT_PAGE: usize = 256;

/// Everything in an index; writes and removed files do not touch it.
pub(super) fn export(index: Index, revision: Revision) -> Export {
    let pages = futures::stream::try_unfold((index, None::<Arc<str>>), |(index, after)| async move {
        let (index, page) = blocking(move || {
            let page = index.range("", after.as_deref()).take(EXPORT_PAGE).collect::<Result<Vec<_>, _>>()?;
            Ok((index, page))
        })
        .await?;
        let after = page.last().map(|record| record.kv.key.clone());
        Ok(after.map(|after| (futures::stream::iter(page.into_iter().map(Ok)), (index, Some(after)))))
    });
    let items =
        pages.try_flatten().map_ok(|record: Record| Exported { ttl: ttl(record.deadline), kv: record.kv });
    Export { revision, items: Box::pin(items) }
}

/// What is left until a deadline; one that has passed is due at once.
fn ttl(deadline: Deadline) -> Option<Duration> {
    let due = UNIX_EPOCH + Duration::from_secs(deadline);
    (deadline != 0).then(|| due.duration_since(SystemTime::now()).unwrap_or(Duration::from_secs(1)))
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(read).await {
        Ok(answer) => answer,
        Err(error) => Err(StoreError::unavailable("reading", error)),
    }
}

fn list(view: &View<Index>, prefix: &str, after: Option<&str>, limit: usize) -> Result<Listing, StoreError> {
    let overlay = view.overlay(prefix, after);
    let stored = view.snapshot.range(prefix, after).map(|record| record.map(|record| record.kv));
    let mut merged = Merged { stored: stored.peekable(), overlay: overlay.into_iter().peekable() };
    let mut items = Vec::new();
    while limit == 0 || items.len() < limit {
        match merged.next() {
            Some(kv) => items.push(kv?),
            None => return Ok(Listing { revision: view.revision, items, more: false }),
        }
    }
    let more = merged.next().transpose()?.is_some();
    Ok(Listing { revision: view.revision, items, more })
}

/// Two sequences in key order as one, where the overlay's word on a key counts.
struct Merged<S: Iterator, O: Iterator> {
    stored: Peekable<S>,
    overlay: Peekable<O>,
}

impl<S, O> Iterator for Merged<S, O>
where
    S: Iterator<Item = Result<KeyValue, StoreError>>,
    O: Iterator<Item = (Arc<str>, Option<KeyValue>)>,
{
    type Item = Result<KeyValue, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let overlaid = match (self.stored.peek(), self.overlay.peek()) {
                (_, None) | (Some(Err(_)), _) => return self.stored.next(),
                (Some(Ok(kv)), Some((key, _))) if kv.key < *key => return self.stored.next(),
                (Some(Ok(kv)), Some((key, _))) if kv.key == *key => {
                    self.stored.next();
                    self.overlay.next()
                }
                _ => self.overlay.next(),
            };
            // A key that was absent then is passed over.
            if let Some((_, Some(kv))) = overlaid {
                return Some(Ok(kv));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(text: &str) -> KeyValue {
        let (key, value) = text.split_once('=').unwrap();
        KeyValue { key: key.into(), value: value.to_owned().into(), mod_revision: 1, create_revision: 1 }
    }

    #[test]
    fn the_overlay_replaces_hides_and_adds() {
        let table: [(&[&str], &[&str], &[&str]); 6] = [
            (&["a=1", "b=1"], &[], &["a=1", "b=1"]),
            (&["a=1", "b=1"], &["a=0"], &["a=0", "b=1"]),
            (&["a=1", "b=1"], &["a", "b"], &[]),
            (&["b=1"], &["a=0", "c=0"], &["a=0", "b=1", "c=0"]),
            (&[], &["a=0", "b", "c=0"], &["a=0", "c=0"]),
            (&["a=1", "c=1"], &["b", "c"], &["a=1"]),
        ];
        for (stored, overlay, expected) in table {
            let stored = stored.iter().map(|text| Ok(kv(text))).peekable();
            let overlay = overlay.iter().map(|text| match text.split_once('=') {
                Some((key, _)) => (Arc::from(key), Some(kv(text))),
                None => (Arc::from(*text), None),
            });
            let merged = Merged { stored, overlay: overlay.peekable() };
            let shown: Vec<_> = merged
                .map(|item| item.unwrap())
                .map(|kv| format!("{}={}", kv.key, String::from_utf8_lossy(&kv.value)))
                .collect();
            assert_eq!(shown, expected);
        }
    }
}

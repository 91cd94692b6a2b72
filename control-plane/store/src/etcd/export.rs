//! Everything under the prefix at one revision, with what is left of the leases.

use super::{
    Calls, PAGE_KEYS_MAX,
    convert::{self, Refusal},
    endpoints::{Member, Repeat},
};
use crate::contract::{Export, Exported, Revision, StoreError};
use etcd_client::GetOptions;
use futures::TryStreamExt as _;
use std::{collections::HashMap, sync::Arc, time::Duration};

struct State {
    calls: Calls,
    revision: Revision,
    after: Option<Arc<str>>,
    more: bool,
    /// Keys share leases.
    ttls: HashMap<i64, Duration>,
}

/// Reads page after page, all at `revision`; as slow as its reader, it may find that compacted.
pub(super) fn export(calls: Calls, revision: Revision) -> Export {
    let state = State { calls, revision, after: None, more: true, ttls: HashMap::new() };
    let pages = futures::stream::try_unfold(state, |mut state| async move {
        if !state.more {
            return Ok(None);
        }
        let page = state.page().await?;
        Ok::<_, StoreError>(Some((futures::stream::iter(page.into_iter().map(Ok)), state)))
    });
    Export { revision, items: Box::pin(pages.try_flatten()) }
}

impl State {
    async fn page(&mut self) -> Result<Vec<Exported>, StoreError> {
        let prefix = self.calls.prefix.clone();
        let from = convert::range_start(&prefix, self.after.as_deref());
        let options = GetOptions::new()
            .with_range(convert::range_end(&prefix))
            .with_limit(i64::try_from(PAGE_KEYS_MAX).unwrap_or(i64::MAX))
            .with_revision(convert::signed(self.revision));
        let answer = match self.calls.read(&from, options).await {
            Ok(answer) => answer,
            Err(Refusal::Compacted) => {
                return Err(StoreError::Compacted { requested: self.revision, oldest: self.revision + 1 });
            }
            Err(refusal) => return Err(refusal.unavailable("exporting from etcd")),
        };
        self.more = answer.more();
        let mut page = Vec::with_capacity(answer.kvs().len());
        for kv in answer.kvs() {
            let ttl = match kv.lease() {
                0 => None,
                lease => Some(self.ttl(lease).await?),
            };
            page.push(Exported { kv: convert::key_value(kv)?, ttl });
        }
        self.after = page.last().map(|item| item.kv.key.clone());
        Ok(page)
    }

    async fn ttl(&mut self, lease: i64) -> Result<Duration, StoreError> {
        if let Some(ttl) = self.ttls.get(&lease) {
            return Ok(*ttl);
        }
        let ask = |mut member: Member| async move { member.lease.time_to_live(lease, None).await };
        let answer = self.calls.endpoints.call(Repeat::Harmless, ask).await;
        let answer = answer.map_err(|refusal| refusal.unavailable("asking etcd for a lease's time"))?;
        // One that has expired since has none: its keys are due at once.
        let ttl = Duration::from_secs(u64::try_from(answer.ttl()).unwrap_or(0).max(1));
        self.ttls.insert(lease, ttl);
        Ok(ttl)
    }
}

//! The contract as tests: every backend passes the same ones, so that what is tried on the model holds for etcd. A
//! case is an async function over a [`Fixture`]; [`contract_suite!`](crate::contract_suite) makes a test of each.
//!
//! Cases use keys under `/registry/` and expect a store that nobody else writes to.

mod concurrency;
mod helpers;
mod past;
mod reopen;
mod ttl;
mod txn;
mod watch;

pub use concurrency::*;
pub use past::*;
pub use reopen::*;
pub use ttl::*;
pub use txn::*;
pub use watch::*;

use crate::Store;
use async_trait::async_trait;
use std::sync::Arc;

/// A place for one store, empty at first.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Opens the store. A case that opens it again has dropped what it got before, and expects to find its data.
    async fn open(&self) -> Arc<dyn Store>;
}

/// One `#[tokio::test]` a case. The expression makes an `Option` of a [`Fixture`](crate::suite::Fixture): `None`, after
/// it printed why, where the backend cannot run here.
#[macro_export]
macro_rules! contract_suite {
    ($fixture:expr) => {
        $crate::contract_suite! { @cases $fixture;
            a_new_store_is_empty,
            revisions_grow_by_one_for_each_transaction,
            a_transaction_is_all_or_nothing,
            a_conflict_shows_every_compared_key,
            compares_tell_absent_from_old,
            a_put_keeps_the_create_revision_until_deletion,
            deleting_an_absent_key_is_no_event,
            an_invalid_transaction_is_refused_and_leaves_nothing,
            a_list_is_in_key_order_and_pages,
            a_list_keeps_to_its_prefix,
            a_list_at_a_past_revision_shows_the_past,
            a_compacted_revision_is_refused,
            a_future_revision_is_refused,
            the_size_covers_what_was_written,
            a_watch_delivers_each_transaction_as_one_commit,
            a_watch_from_the_past_has_no_gap,
            two_watchers_see_the_same,
            a_watch_after_compaction_begins_where_it_may,
            watchers_miss_nothing_while_many_write,
            concurrent_creates_have_one_winner,
            concurrent_increments_lose_nothing,
            the_revision_covers_every_answered_commit,
            a_key_with_a_ttl_is_deleted_by_a_transaction_of_expiries,
            a_later_put_starts_the_time_anew,
            reopening_keeps_values_and_revisions,
            reopening_keeps_deadlines,
        }
    };
    (@cases $fixture:expr; $($case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(fixture) = $fixture {
                    $crate::suite::$case(&fixture).await;
                }
            }
        )*
    };
}

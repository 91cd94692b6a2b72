//! What a request waits for that is not the server's own work: webhooks, its turn. Noted where it is waited, for whoever times the
//! request as a whole; a value of the task, as who waits and who times know nothing of each other.

use std::{cell::Cell, future::Future, time::Duration};

tokio::task_local! {
    static WAITED: Cell<Duration>;
}

/// Does the work, and says how much of it was waiting as noted by [`note`] on the way.
pub async fn noting<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let both = async {
        let result = work.await;
        (result, WAITED.with(Cell::get))
    };
    WAITED.scope(Cell::default(), both).await
}

/// This much was waited. Without anybody who wants to know it is nothing.
pub fn note(waited: Duration) {
    // Err: nobody does.
    let _ = WAITED.try_with(|sum| sum.set(sum.get() + waited));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_waited_on_the_way_is_told_at_the_end() {
        note(Duration::from_secs(9));
        let work = async {
            note(Duration::from_secs(1));
            tokio::task::yield_now().await;
            note(Duration::from_secs(2));
            "done"
        };
        assert_eq!(noting(work).await, ("done", Duration::from_secs(3)));
        assert_eq!(noting(async {}).await, ((), Duration::ZERO));
    }
}

//! Conversions under way: a form that many wait for, as the watchers of a kind do, is asked for once.
//!
//! Whoever boards first calls; the others wait for his outcome, his failure included: they would hear the same, later. When he
//! goes away before it is there, those who waited board themselves.

use crate::{
    entry::{Entry, Form},
    kind::Kind,
    status::Status,
};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::watch;

/// A kind's id and an entry's address; whoever is under way keeps the entry.
type Place = (u64, usize);
type Outcome = Option<Result<(), Status>>;

/// What is being converted now.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<Place, watch::Receiver<Outcome>>>);

/// Entries that the holder has converted.
pub(super) struct Flight<'f> {
    flights: &'f Flights,
    kind: u64,
    entries: Vec<Arc<Entry>>,
    outcome: watch::Sender<Outcome>,
}

/// A conversion that somebody else waits for.
pub(super) struct Awaited(watch::Receiver<Outcome>);

impl Flights {
    /// Takes those of the entries that nobody has taken and whose form is still missing; of the others, whom to wait for.
    pub(super) fn board(&self, kind: &Kind, entries: &[Arc<Entry>]) -> (Option<Flight<'_>>, Vec<Awaited>) {
        let (outcome, receiver) = watch::channel(None);
        let (mut ours, mut awaited): (Vec<Arc<Entry>>, Vec<Awaited>) = (Vec::new(), Vec::new());
        let mut under_way = self.0.lock();
        for entry in entries {
            match under_way.get(&place(kind.id, entry)) {
                // Twice in one batch, or on the flight that is waited for already.
                Some(other) if other.same_channel(&receiver) => {}
                Some(other) if awaited.iter().any(|known| known.0.same_channel(other)) => {}
                Some(other) => awaited.push(Awaited(other.clone())),
                // It may have landed since the entry was looked at.
                None if matches!(entry.form(kind), Form::Elsewhere) => {
                    under_way.insert(place(kind.id, entry), receiver.clone());
                    ours.push(entry.clone());
                }
                None => {}
            }
        }
        drop(under_way);
        let flight =
            (!ours.is_empty()).then(|| Flight { flights: self, kind: kind.id, entries: ours, outcome });
        (flight, awaited)
    }
}

fn place(kind: u64, entry: &Arc<Entry>) -> Place {
    (kind, Arc::as_ptr(entry).addr())
}

impl Flight<'_> {
    pub(super) fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// Tells those who wait. The forms are with their entries by now.
    pub(super) fn land(self, outcome: Result<(), Status>) {
        self.outcome.send_replace(Some(outcome));
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut under_way = self.flights.0.lock();
        for entry in &self.entries {
            under_way.remove(&place(self.kind, entry));
        }
    }
}

impl Awaited {
    /// Ok also when he who called went away: then it is to be looked at anew.
    pub(super) async fn landed(mut self) -> Result<(), Status> {
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
            Err(_) => Ok(()),
        }
    }
}

//! A store's life on a disk: random transactions, each answer compared with the model's; and what must be found after it.

use crate::disk::{Image, Op, SimDisk};
use bytes::Bytes;
use futures::future::FutureExt as _;
use keelson_store::{
    Compare, KeyValue, Store, Txn, TxnOutcome, Write,
    embedded::{Embedded, EmbeddedConfig},
    model::Model,
};
use rand::{Rng, rngs::StdRng};
use std::{collections::VecDeque, sync::Arc, time::Duration};

const KEYS: usize = 12;
const HOUR: Duration = Duration::from_secs(3_600);

/// Everything that ever took a revision, and what the store had after each.
#[derive(Clone, Default)]
pub(crate) struct History {
    committed: Vec<Txn>,
    /// By revision, from zero on; all but the first item are one more than `committed`.
    states: Vec<Vec<KeyValue>>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self { committed: Vec::new(), states: vec![Vec::new()] }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.committed.len() as u64
    }

    /// What was not found never was.
    pub(crate) fn forget_after(&mut self, revision: u64) {
        let revision = usize::try_from(revision).unwrap();
        self.committed.truncate(revision);
        self.states.truncate(revision + 1);
    }

    async fn model(&self) -> Model {
        let model = Model::default();
        for txn in &self.committed {
            model.commit(txn.clone()).await.unwrap();
        }
        model
    }
}

pub(crate) fn config(segment_bytes_max: u64) -> EmbeddedConfig {
    EmbeddedConfig { segment_bytes_max, ..EmbeddedConfig::default() }
}

fn key(rng: &mut StdRng) -> Arc<str> {
    format!("/registry/{:02}", rng.random_range(0..KEYS)).into()
}

fn txn(rng: &mut StdRng, revision: u64) -> Txn {
    let compares = match rng.random_range(0..6) {
        0 => vec![Compare::Absent(key(rng))],
        1 => vec![Compare::ModRevision(key(rng), revision.saturating_sub(rng.random_range(0..8)).max(1))],
        _ => vec![],
    };
    let mut writes: Vec<Write> = Vec::new();
    for _ in 0..rng.random_range(1..4) {
        let key = key(rng);
        if writes.iter().any(|write| *write.key() == key) {
            continue;
        }
        let bytes = if rng.random_bool(0.1) { 6_000 } else { 300 };
        let value = Bytes::from(vec![rng.random_range(b'a'..=b'z'); rng.random_range(0..bytes)]);
        writes.push(match rng.random_bool(0.25) {
            true => Write::Delete { key },
            false => Write::Put { key, value, ttl: rng.random_bool(0.2).then_some(HOUR) },
        });
    }
    Txn { compares, writes }
}

/// What the model answers, remembered.
async fn foresee(model: &Model, history: &mut History, txn: &Txn) -> TxnOutcome {
    let outcome = model.commit(txn.clone()).await.unwrap();
    if model.revision().await.unwrap() > history.revision() {
        history.committed.push(txn.clone());
        history.states.push(model.list("", None, 0, None).await.unwrap().items);
    }
    outcome
}

/// Some transactions, one at a time or several in a group, on what is there; ends by closing the store.
pub(crate) async fn live(disk: &SimDisk, segment_bytes_max: u64, history: &mut History, rng: &mut StdRng) {
    let store = Embedded::open_on(Arc::new(disk.clone()), &config(segment_bytes_max)).unwrap();
    found(&store, history).await;
    disk.mark(Op::Answered(history.revision()));
    let model = history.model().await;
    for _ in 0..rng.random_range(1..14) {
        let mut batch = VecDeque::new();
        for _ in 0..rng.random_range(1..6) {
            let txn = txn(rng, history.revision());
            let outcome = foresee(&model, history, &txn).await;
            batch.push_back((txn, outcome, history.revision()));
        }
        disk.mark(Op::Began(history.revision()));
        commit(&store, disk, batch).await;
    }
}

/// The store shows the newest state of the history.
async fn found(store: &Embedded, history: &History) {
    assert_eq!(store.revision().await.unwrap(), history.revision());
    let listing = store.list("", None, 0, None).await.unwrap();
    assert_eq!(listing.items, history.states[history.states.len() - 1]);
}

/// The first in a group of its own, the others, which gather while it is synced, in the next.
async fn commit(store: &Embedded, disk: &SimDisk, mut batch: VecDeque<(Txn, TxnOutcome, u64)>) {
    while let Some((txn, expected, revision)) = batch.pop_front() {
        disk.hold();
        let mut first = store.commit(txn).boxed();
        let answer = tokio::select! {
            // Asked for before the others, whatever else the disk syncs.
            biased;
            answer = &mut first => Some(answer),
            () = disk.held() => None,
        };
        let others: Vec<_> = match answer {
            // It changed nothing, so that nothing was synced.
            Some(_) => Vec::new(),
            None => {
                batch.drain(..).map(|(txn, expected, at)| (store.commit(txn).boxed(), expected, at)).collect()
            }
        };
        let others: Vec<_> = others
            .into_iter()
            .map(|(mut other, expected, at)| ((&mut other).now_or_never(), other, expected, at))
            .collect();
        disk.release();
        let answer = match answer {
            Some(answer) => answer,
            None => first.await,
        };
        assert_eq!(answer.unwrap(), expected);
        disk.mark(Op::Answered(revision));
        for (ready, other, expected, at) in others {
            let answer = match ready {
                Some(answer) => answer,
                None => other.await,
            };
            assert_eq!(answer.unwrap(), expected);
            disk.mark(Op::Answered(at));
        }
    }
}

/// Opens what a loss of power left: every transaction that was answered is there, none that was not asked for, in order.
pub(crate) async fn examine(
    image: &Image,
    segment_bytes_max: u64,
    ops: &[Op],
    history: &mut History,
    first: u64,
) {
    let (mut began, mut answered) = (first, first);
    for op in ops {
        match op {
            Op::Began(revision) => began = *revision,
            Op::Answered(revision) => answered = *revision,
            _ => (),
        }
    }
    let disk = SimDisk::new(image);
    let store = Embedded::open_on(Arc::new(disk), &config(segment_bytes_max)).unwrap();
    let revision = store.revision().await.unwrap();
    assert!(revision >= answered, "{answered} was answered, {revision} is there");
    assert!(revision <= began, "{revision} is there, only {began} was begun");
    history.forget_after(revision);
    found(&store, history).await;
}

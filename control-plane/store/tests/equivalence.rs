//! Any sequence of operations has the same answers from the embedded store as from the model: outcomes, values, lists
//! at every revision, commits, and all of it again after the store was closed and opened.

use bytes::Bytes;
use futures::StreamExt;
use keelson_store::{
    Commit, Compare, Store, Txn, Write,
    embedded::{Embedded, EmbeddedConfig},
    model::Model,
};
use proptest::prelude::*;

const KEYS: [&str; 4] = ["/registry/a", "/registry/a/b", "/registry/b", "/registry/c"];

#[derive(Clone, Debug)]
enum Step {
    /// Transactions sent together, in this order.
    Txns(Vec<Txn>),
    Compact(u64),
    Reopen,
}

fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&KEYS[..])
}

fn txn() -> impl Strategy<Value = Txn> {
    let compare = prop_oneof![
        key().prop_map(|key| Compare::Absent(key.into())),
        (key(), 1..12_u64).prop_map(|(key, revision)| Compare::ModRevision(key.into(), revision)),
    ];
    let value = prop::option::of(0..100_u32);
    let writes = prop::collection::btree_map(key(), value, 1..3);
    let writes = writes.prop_map(|writes| writes.into_iter().map(|(key, value)| write(key, value)).collect());
    (prop::collection::vec(compare, 0..2), writes).prop_map(|(compares, writes)| Txn { compares, writes })
}

fn write(key: &str, value: Option<u32>) -> Write {
    match value {
        Some(value) => Write::Put { key: key.into(), value: Bytes::from(value.to_string()), ttl: None },
        None => Write::Delete { key: key.into() },
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(txn(), 1..4).prop_map(Step::Txns),
        1 => (0..30_u64).prop_map(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

/// Everything that can be asked, as text.
async fn show(store: &dyn Store, oldest: u64) -> String {
    let newest = store.revision().await.unwrap();
    let mut text = String::new();
    for at in oldest..=newest {
        let whole = store.list("/registry/", None, 0, Some(at)).await.unwrap();
        let page = store.list("/registry/a", Some("/registry/a"), 1, Some(at)).await.unwrap();
        text += &format!("{whole:?}\n{page:?}\n");
    }
    for key in KEYS {
        text += &format!("{:?}\n", store.get(key).await.unwrap());
    }
    let watch = store.watch(oldest).await.unwrap();
    let count = usize::try_from(newest - oldest).unwrap();
    let commits: Vec<Commit> = watch.take(count).map(|commit| commit.unwrap()).collect().await;
    text + &format!("{commits:?}")
}

async fn run(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let open = || Embedded::open(folder.path(), &EmbeddedConfig::default()).unwrap();
    let (model, mut embedded) = (Model::default(), open());
    let mut oldest = 0;
    for step in steps {
        match step {
            Step::Txns(txns) => {
                let answers = txns.iter().map(|txn| embedded.commit(txn.clone()));
                let answers = futures::future::join_all(answers).await;
                for (txn, answer) in txns.into_iter().zip(answers) {
                    assert_eq!(answer.unwrap(), model.commit(txn).await.unwrap());
                }
            }
            Step::Compact(before) => {
                let (ours, models) = (embedded.compact(before).await, model.compact(before).await);
                assert_eq!(format!("{ours:?}"), format!("{models:?}"));
                oldest = if ours.is_ok() { oldest.max(before) } else { oldest };
            }
            Step::Reopen => {
                drop(embedded);
                embedded = open();
                // The past is in memory.
                oldest = embedded.revision().await.unwrap();
                model.compact(oldest).await.unwrap();
            }
        }
        assert_eq!(show(&embedded, oldest).await, show(&model, oldest).await);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn embedded_answers_as_the_model_does(steps in prop::collection::vec(step(), 1..12)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(steps));
    }
}

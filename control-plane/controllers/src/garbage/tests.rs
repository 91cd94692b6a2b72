//! The graph's verbs, and the verdicts.

use super::{
    graph::{Graph, Uid},
    plan::{Dependents, Owner, Verdict, verdict},
};
use keelson_harness::{
    Meta, OwnerReference, Resource,
    api::{PODS, Propagation, REPLICA_SETS},
};
use serde_json::{Value, json};
use std::sync::Arc;

fn meta(uid: &str, owners: &[&str], change: Value) -> Meta {
    let owners: Vec<Value> = owners
        .iter()
        .map(|o| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": o, "uid": o, "blockOwnerDeletion": true}))
        .collect();
    let mut object = json!({"name": uid, "namespace": "n", "uid": uid, "ownerReferences": owners});
    object.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

fn foreground() -> Value {
    json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["foregroundDeletion"]})
}

fn resources() -> (Arc<Resource>, Arc<Resource>) {
    (Arc::new(REPLICA_SETS), Arc::new(PODS))
}

fn sorted(mut uids: Vec<Uid>) -> Vec<String> {
    uids.sort();
    uids.iter().map(ToString::to_string).collect()
}

#[test]
fn a_deleted_owner_brings_up_its_dependents() {
    let ((sets, pods), mut g) = (resources(), Graph::default());
    assert!(g.apply(&sets, &meta("r1", &[], json!({}))).is_empty());
    assert!(g.apply(&pods, &meta("p1", &["r1"], json!({}))).is_empty(), "the owner is known");
    assert!(g.apply(&pods, &meta("p2", &["r1", "r2"], json!({}))).len() == 1, "one owner is not known");
    assert_eq!(sorted(g.delete("r1")), ["p1", "p2"]);
    assert!(g.delete("r1").len() == 2, "asking again is harmless");
    g.delete("p1");
    assert_eq!(sorted(g.delete("r1")), ["p2"]);
}

#[test]
fn an_owner_missed_while_nobody_watched_is_found_by_the_next_list() {
    let ((sets, pods), mut g) = (resources(), Graph::default());
    g.apply(&sets, &meta("r1", &[], json!({})));
    g.apply(&pods, &meta("p1", &["r1"], json!({})));
    assert_eq!(sorted(g.reset(&sets, &[meta("r2", &[], json!({}))])), ["p1"]);
    assert_eq!(sorted(g.doubtful()), ["p1"]);
    assert!(g.reset(&sets, &[meta("r1", &[], json!({}))]).is_empty());
    assert!(g.doubtful().is_empty());
}

#[test]
fn foreground_waits_for_blocking_dependents_alone() {
    let ((sets, pods), mut g) = (resources(), Graph::default());
    g.apply(&sets, &meta("r1", &[], json!({})));
    g.apply(&pods, &meta("p1", &["r1"], json!({})));
    let mut free = meta("p2", &["r1"], json!({}));
    free.owner_references[0].block_owner_deletion = false;
    g.apply(&pods, &free);
    assert_eq!(sorted(g.apply(&sets, &meta("r1", &[], foreground()))), ["r1"]);
    let blocking: Vec<_> = g.blocking("r1").into_iter().map(|(uid, _)| uid.to_string()).collect();
    assert_eq!(blocking, ["p1"]);
    assert_eq!(sorted(g.delete("p1")), ["r1"], "the owner is looked at when its dependent is gone");
    assert!(g.blocking("r1").is_empty());
}

#[test]
fn a_reference_that_is_dropped_frees_the_owner() {
    let ((sets, pods), mut g) = (resources(), Graph::default());
    g.apply(&sets, &meta("r1", &[], foreground()));
    g.apply(&pods, &meta("p1", &["r1"], json!({})));
    assert_eq!(sorted(g.apply(&pods, &meta("p1", &[], json!({})))), ["r1"]);
}

#[test]
fn an_object_goes_only_when_every_owner_is_known_to_be_gone() {
    use Owner::{Absent, Solid, Waiting};
    let two = meta("p", &["a", "b"], json!({}));
    let references = |uids: &[usize]| {
        Verdict::DropReferences(uids.iter().map(|i| two.owner_references[*i].clone()).collect())
    };
    let unblocked: Vec<_> = two
        .owner_references
        .iter()
        .map(|o| OwnerReference { block_owner_deletion: false, ..o.clone() })
        .collect();
    let rows: [(&[Owner], Dependents, Verdict); 10] = [
        (&[Solid, Solid], Dependents::None, Verdict::Keep),
        (&[Solid, Absent], Dependents::None, references(&[1])),
        (&[Waiting, Solid], Dependents::None, references(&[0])),
        (&[Absent, Absent], Dependents::None, Verdict::Delete(Propagation::Background)),
        (&[Absent, Waiting], Dependents::None, Verdict::Delete(Propagation::Background)),
        (&[Absent, Waiting], Dependents::Some, Verdict::Delete(Propagation::Foreground)),
        (&[Absent, Absent], Dependents::Some, Verdict::Delete(Propagation::Background)),
        (&[Absent, Waiting], Dependents::Waiting, Verdict::StopBlocking(unblocked)),
        (&[Absent, Absent], Dependents::Waiting, Verdict::Delete(Propagation::Background)),
        (&[], Dependents::None, Verdict::Keep),
    ];
    for (owners, dependents, expected) in rows {
        let live = if owners.is_empty() { meta("p", &[], json!({})) } else { two.clone() };
        assert_eq!(verdict(&live, owners, dependents), expected, "{owners:?} {dependents:?}");
    }
    let orphaning = meta("p", &["a"], json!({"finalizers": ["orphan"]}));
    assert_eq!(verdict(&orphaning, &[Absent], Dependents::None), Verdict::Delete(Propagation::Orphan));
}

#[test]
fn a_circle_is_broken_once() {
    let mut live = meta("p", &["a"], json!({}));
    live.owner_references[0].block_owner_deletion = false;
    let verdict = verdict(&live, &[Owner::Waiting], Dependents::Waiting);
    assert_eq!(verdict, Verdict::Delete(Propagation::Foreground));
}

//! The annotations that make `kubectl rollout history` and `undo` work, and those that remember sizes. Pure.

use keelson_harness::{Meta, meta::LAST_APPLIED};
use std::collections::BTreeMap;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
const HISTORY_BYTES_MAX: usize = 2000;

type Annotations = BTreeMap<String, String>;

/// The revision in an object's annotations; 0 if there is none.
pub(super) fn revision(meta: &Meta) -> i64 {
    meta.annotation(REVISION).and_then(|r| r.parse().ok()).unwrap_or(0)
}

/// What the new ReplicaSet's annotations become: the Deployment's, and the newest revision. When an older set becomes
/// the newest again (a rollback), its former revision goes into the history.
pub(super) fn of_new_set(deployment: &Meta, current: &Annotations, newest: i64) -> Annotations {
    let mut annotations = current.clone();
    let skipped = [LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED_REPLICAS, MAX_REPLICAS, ROLLBACK_TO];
    let copied = deployment.annotations.iter().filter(|(k, _)| !skipped.contains(&k.as_str()));
    annotations.extend(copied.map(|(k, v)| (k.clone(), v.clone())));
    let former = current.get(REVISION);
    let former_number = former.and_then(|r| r.parse::<i64>().ok()).unwrap_or(0);
    if former_number < newest {
        annotations.insert(REVISION.to_owned(), newest.to_string());
        if let Some(former) = former {
            let history = current.get(REVISION_HISTORY).map_or("", String::as_str);
            annotations.insert(REVISION_HISTORY.to_owned(), append(history, former));
        }
    }
    annotations
}

fn append(history: &str, revision: &str) -> String {
    let mut all: Vec<&str> = history.split(',').filter(|r| !r.is_empty()).collect();
    all.push(revision);
    while all.len() > 1 && all.iter().map(|r| r.len() + 1).sum::<usize>() > HISTORY_BYTES_MAX {
        all.remove(0);
    }
    all.join(",")
}

/// Remembers what the Deployment wanted when the set was last scaled.
pub(super) fn remember_sizes(annotations: &mut Annotations, desired: i32, max: i32) {
    annotations.insert(DESIRED_REPLICAS.to_owned(), desired.to_string());
    annotations.insert(MAX_REPLICAS.to_owned(), max.to_string());
}

/// A number in an annotation.
pub(super) fn number(annotations: &Annotations, name: &str) -> Option<i32> {
    annotations.get(name).and_then(|v| v.parse().ok())
}

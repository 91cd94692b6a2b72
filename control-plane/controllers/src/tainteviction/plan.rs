//! How long a pod may stay on a tainted node. Pure.

use keelson_harness::Timestamp;
use keelson_semantics::{
    Taint, Toleration,
    taints::{Stay, effect::NO_EXECUTE, stay},
    timestamp,
};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// What becomes of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    StaysFor(Duration),
    Goes,
}

/// The earliest of all taints' deadlines counts. `added` answers when a taint was added.
pub(super) fn fate(
    taints: &[Taint],
    tolerations: &[Toleration],
    added: &dyn Fn(&Taint) -> Option<Timestamp>,
    now: Timestamp,
) -> Fate {
    let mut deadline: Option<Timestamp> = None;
    for taint in taints.iter().filter(|t| t.effect == NO_EXECUTE) {
        let seconds = match stay(std::slice::from_ref(taint), tolerations) {
            Stay::No => return Fate::Goes,
            Stay::Forever => continue,
            Stay::Seconds(seconds) => seconds.max(0) as u64,
        };
        let at = added(taint).unwrap_or(now).after(Duration::from_secs(seconds));
        deadline = Some(deadline.map_or(at, |d| d.min(at)));
    }
    match deadline {
        None => Fate::Stays,
        Some(at) if at <= now => Fate::Goes,
        Some(at) => Fate::StaysFor(at.since(now)),
    }
}

/// When taints that carry no time were first seen.
#[derive(Debug, Default)]
pub(super) struct FirstSeen(HashMap<Arc<str>, Vec<(String, String, Timestamp)>>);

impl FirstSeen {
    /// A node's taints as they are now.
    pub(super) fn note(&mut self, node: &Arc<str>, taints: &[Taint], now: Timestamp) {
        let before = self.0.remove(node).unwrap_or_default();
        let current: Vec<_> = taints
            .iter()
            .filter(|t| t.effect == NO_EXECUTE)
            .map(|t| {
                let known = before.iter().find(|(key, value, _)| *key == t.key && *value == t.value);
                (t.key.clone(), t.value.clone(), known.map_or(now, |(_, _, at)| *at))
            })
            .collect();
        if !current.is_empty() {
            self.0.insert(node.clone(), current);
        }
    }

    /// When a taint was added: by its own word, or by ours.
    pub(super) fn of(&self, node: &Arc<str>, taint: &Taint) -> Option<Timestamp> {
        let own = taint.time_added.as_deref().and_then(|text| timestamp::parse(text).ok()).map(Timestamp);
        let seen = || {
            let all = self.0.get(node)?;
            all.iter()
                .find(|(key, value, _)| *key == taint.key && *value == taint.value)
                .map(|(_, _, at)| *at)
        };
        own.or_else(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str) -> Taint {
        Taint { key: key.into(), value: String::new(), effect: NO_EXECUTE.into(), time_added: None }
    }

    fn tolerates(key: &str, seconds: Option<i64>) -> Toleration {
        Toleration {
            key: key.into(),
            operator: "Exists".into(),
            toleration_seconds: seconds,
            ..Toleration::default()
        }
    }

    #[test]
    fn each_taint_counts_from_its_own_time_and_the_earliest_deadline_decides() {
        let at = |s| Timestamp::from_unix(s);
        let added = |t: &Taint| Some(if t.key == "a" { at(0) } else { at(50) });
        let (a, b) = (taint("a"), taint("b"));
        let rows = [
            (vec![], vec![], Fate::Stays),
            (vec![a.clone()], vec![], Fate::Goes),
            (vec![a.clone()], vec![tolerates("a", None)], Fate::Stays),
            (vec![a.clone()], vec![tolerates("a", Some(100))], Fate::StaysFor(Duration::from_secs(40))),
            (vec![a.clone()], vec![tolerates("a", Some(60))], Fate::Goes),
            (
                vec![a.clone(), b.clone()],
                vec![tolerates("", Some(100))],
                Fate::StaysFor(Duration::from_secs(40)),
            ),
            (vec![b.clone()], vec![tolerates("", Some(100))], Fate::StaysFor(Duration::from_secs(90))),
            (vec![a, b], vec![tolerates("a", None)], Fate::Goes),
        ];
        for (taints, tolerations, expected) in rows {
            assert_eq!(fate(&taints, &tolerations, &added, at(60)), expected, "{taints:?} {tolerations:?}");
        }
    }

    #[test]
    fn a_taint_without_time_counts_from_when_it_was_first_seen() {
        let (mut seen, node) = (FirstSeen::default(), Arc::from("n"));
        seen.note(&node, &[taint("a")], Timestamp::from_unix(10));
        seen.note(&node, &[taint("a"), taint("b")], Timestamp::from_unix(20));
        assert_eq!(seen.of(&node, &taint("a")), Some(Timestamp::from_unix(10)));
        assert_eq!(seen.of(&node, &taint("b")), Some(Timestamp::from_unix(20)));
        seen.note(&node, &[], Timestamp::from_unix(30));
        assert_eq!(seen.of(&node, &taint("a")), None);
    }
}

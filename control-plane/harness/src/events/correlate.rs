//! Which notes become an Event, which raise a count, which are dropped. Pure; time is a parameter.
//!
//! Rules as client-go's EventCorrelator: the same message about the same object raises `count`; more than ten different
//! messages of one reason within ten minutes become one combined event; each object may have 25 events at once and one
//! more every five minutes.

use super::{Involved, Note, Severity};
use crate::Timestamp;
use std::{collections::HashMap, time::Duration};

/// Objects and messages remembered; the oldest half is forgotten beyond.
const REMEMBERED_MAX: usize = 4096;
const SIMILAR_MAX: u32 = 10;
const SIMILAR_WINDOW: Duration = Duration::from_secs(600);
const OBJECT_BURST: f64 = 25.0;
const OBJECT_RATE_PER_SECOND: f64 = 1.0 / 300.0;

/// What to do with a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// A new Event with this message.
    Create { message: String },
    /// Raise the count of an existing one.
    Count { name: String, count: u32 },
    /// The object has had too many.
    Drop,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct GroupKey {
    involved: Involved,
    severity: Severity,
    reason: &'static str,
}

struct Group {
    different: u32,
    since: Timestamp,
    /// Message -> name and count of its Event.
    written: HashMap<String, (String, u32)>,
}

struct Budget {
    tokens: f64,
    at: Timestamp,
}

#[derive(Default)]
pub(super) struct Correlator {
    groups: HashMap<GroupKey, Group>,
    budgets: HashMap<Involved, Budget>,
    made: u32,
}

fn group_key(note: &Note) -> GroupKey {
    GroupKey { involved: note.involved.clone(), severity: note.severity, reason: note.reason }
}

impl Correlator {
    pub(super) fn decide(&mut self, note: &Note, now: Timestamp) -> Decision {
        self.bound(now);
        if !self.spend(&note.involved, now) {
            return Decision::Drop;
        }
        let fresh = || Group { different: 0, since: now, written: HashMap::new() };
        let group = self.groups.entry(group_key(note)).or_insert_with(fresh);
        if now.since(group.since) > SIMILAR_WINDOW {
            *group = fresh();
        }
        let mut message = note.message.clone();
        if !group.written.contains_key(&message) {
            group.different += 1;
            if group.different > SIMILAR_MAX {
                message = format!("(combined from similar events): {message}");
                return match group.written.iter_mut().find(|(m, _)| m.starts_with("(combined")) {
                    Some((_, (name, count))) => {
                        *count += 1;
                        Decision::Count { name: name.clone(), count: *count }
                    }
                    None => Decision::Create { message },
                };
            }
        }
        match group.written.get_mut(&message) {
            Some((name, count)) => {
                *count += 1;
                Decision::Count { name: name.clone(), count: *count }
            }
            None => Decision::Create { message },
        }
    }

    /// A name as upstream's: the object's, and the time in hexadecimal.
    pub(super) fn name(&mut self, note: &Note, now: Timestamp) -> String {
        self.made = self.made.wrapping_add(1);
        let stamp = now.0.unix_timestamp_nanos() as u64 ^ u64::from(self.made);
        let object: String = note.involved.name.chars().take(230).collect();
        format!("{}.{stamp:016x}", object.replace(':', "-").to_lowercase())
    }

    pub(super) fn created(&mut self, note: &Note, message: &str, name: String) {
        if let Some(group) = self.groups.get_mut(&group_key(note)) {
            group.written.insert(message.to_owned(), (name, 1));
        }
    }

    /// The events of this group are gone (they expire): write new ones.
    pub(super) fn forget(&mut self, note: &Note) {
        self.groups.remove(&group_key(note));
    }

    fn spend(&mut self, involved: &Involved, now: Timestamp) -> bool {
        let budget = self.budgets.entry(involved.clone()).or_insert(Budget { tokens: OBJECT_BURST, at: now });
        let earned = now.since(budget.at).as_secs_f64() * OBJECT_RATE_PER_SECOND;
        budget.tokens = (budget.tokens + earned).min(OBJECT_BURST);
        budget.at = now;
        let enough = budget.tokens >= 1.0;
        if enough {
            budget.tokens -= 1.0;
        }
        enough
    }

    fn bound(&mut self, now: Timestamp) {
        if self.groups.len() >= REMEMBERED_MAX {
            self.groups.retain(|_, g| now.since(g.since) <= SIMILAR_WINDOW);
            while self.groups.len() >= REMEMBERED_MAX {
                let Some(oldest) = self.groups.iter().min_by_key(|(_, g)| g.since).map(|(k, _)| k.clone())
                else {
                    break;
                };
                self.groups.remove(&oldest);
            }
        }
        if self.budgets.len() >= REMEMBERED_MAX {
            let mut ages: Vec<Timestamp> = self.budgets.values().map(|b| b.at).collect();
            ages.sort_unstable();
            let median = ages[ages.len() / 2];
            self.budgets.retain(|_, b| b.at > median);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(message: &str) -> Note {
        let involved = Involved {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: "a".into(),
            name: "b".into(),
            uid: "u".into(),
        };
        Note { involved, severity: Severity::Warning, reason: "Failed", message: message.into() }
    }

    #[test]
    fn the_same_message_raises_a_count_and_many_messages_are_combined() {
        let (mut c, now) = (Correlator::default(), Timestamp::from_unix(0));
        for i in 0..SIMILAR_MAX {
            let n = note(&i.to_string());
            assert_eq!(c.decide(&n, now), Decision::Create { message: i.to_string() });
            c.created(&n, &i.to_string(), format!("e{i}"));
        }
        assert_eq!(c.decide(&note("3"), now), Decision::Count { name: "e3".into(), count: 2 });
        let combined = "(combined from similar events): new".to_owned();
        assert_eq!(c.decide(&note("new"), now), Decision::Create { message: combined.clone() });
        c.created(&note("new"), &combined, "all".into());
        assert_eq!(c.decide(&note("newer"), now), Decision::Count { name: "all".into(), count: 2 });
    }

    #[test]
    fn one_object_cannot_flood_the_store() {
        let (mut c, now) = (Correlator::default(), Timestamp::from_unix(0));
        let written = (0..100).filter(|_| c.decide(&note("x"), now) != Decision::Drop).count();
        assert_eq!(written, 25);
        assert_ne!(c.decide(&note("x"), now.after(Duration::from_secs(301))), Decision::Drop);
    }
}

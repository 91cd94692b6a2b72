//! Keys in the order in which they expire. It mirrors the deadlines of the records; the writer alone changes it.

use super::log::Deadline;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A clock that was set forward is noticed within this.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(30);

/// When keys are due.
#[derive(Default)]
pub(super) struct Deadlines {
    by_time: BTreeSet<(Deadline, Arc<str>)>,
}

impl Deadlines {
    /// Replaces a key's deadline; zero is none.
    pub(super) fn change(&mut self, key: &Arc<str>, old: Deadline, new: Deadline) {
        if old != 0 {
            self.by_time.remove(&(old, key.clone()));
        }
        if new != 0 {
            self.by_time.insert((new, key.clone()));
        }
    }

    /// The first keys whose time has come, at most `max`.
    pub(super) fn due(&self, now: SystemTime, max: usize) -> Vec<(Deadline, Arc<str>)> {
        let now_s = unix_time(now).as_secs();
        self.by_time.iter().take_while(|(deadline, _)| *deadline <= now_s).take(max).cloned().collect()
    }

    /// How long nothing is due; `None`: for ever.
    pub(super) fn idle(&self, now: SystemTime) -> Option<Duration> {
        let (deadline, _) = self.by_time.first()?;
        Some(Duration::from_secs(*deadline).saturating_sub(unix_time(now)).min(LOOK_AGAIN_MAX))
    }
}

/// The deadline of what is written now: rounded up, so that nothing ends early.
pub(super) fn deadline(now: SystemTime, ttl: Duration) -> Deadline {
    let exact = unix_time(now).saturating_add(ttl);
    exact.as_secs().saturating_add(u64::from(exact.subsec_nanos() > 0))
}

/// A clock before 1970 is a clock at 1970.
fn unix_time(now: SystemTime) -> Duration {
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(ms)
    }

    #[test]
    fn deadlines_are_rounded_up_to_seconds() {
        let table = [(1_000, 2_000, 3), (1_001, 2_000, 4), (1_999, 1, 2), (1_999, 2, 3)];
        for (now, ttl, expected) in table {
            assert_eq!(deadline(at(now), Duration::from_millis(ttl)), expected, "{now} + {ttl}");
        }
    }

    #[test]
    fn the_earliest_comes_first_and_a_change_moves_it() {
        let mut deadlines = Deadlines::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        assert_eq!(deadlines.idle(at(0)), None);
        deadlines.change(&a, 0, 5);
        deadlines.change(&b, 0, 3);
        assert_eq!(deadlines.idle(at(1_000)), Some(Duration::from_secs(2)));
        assert_eq!(deadlines.due(at(5_000), 10), [(3, b.clone()), (5, a.clone())]);
        assert_eq!(deadlines.due(at(5_000), 1), [(3, b.clone())]);
        deadlines.change(&b, 3, 9);
        assert_eq!(deadlines.due(at(4_999), 10), []);
        deadlines.change(&a, 5, 0);
        assert_eq!(deadlines.due(at(9_000), 10), [(9, b)]);
        assert_eq!(deadlines.idle(at(9_500)), Some(Duration::ZERO));
    }
}

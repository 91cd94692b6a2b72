//! What a Service's endpoints were, and which answers were right when. Pure: moments are arguments.
//!
//! ```text
//!  write begun ──▶ answered ─────▶ next begun ──▶ next answered ─▶ right_by
//!  └──────── these endpoints may answer a connection that is open at any of these moments ┘
//! ```

use keelson_tests::fleet::Endpoints;
use std::time::{Duration, Instant};

/// One set of endpoints.
#[derive(Clone, Copy, Debug)]
struct State {
    endpoints: Endpoints,
    /// When its write began; `None`: it was there before.
    began: Option<Instant>,
    /// When the next one's was answered; `None`: it has not been.
    replaced: Option<Instant>,
}

/// The sets that a Service had, in order.
#[derive(Debug)]
pub(super) struct History(Vec<State>);

/// States that are remembered: older ones have gone for longer than is ever promised.
const STATES_MAX: usize = 64;

impl History {
    pub(super) fn new(endpoints: Endpoints) -> History {
        History(vec![State { endpoints, began: None, replaced: None }])
    }

    /// A write is about to be sent.
    pub(super) fn began(&mut self, endpoints: Endpoints, now: Instant) {
        if self.0.len() == STATES_MAX {
            self.0.remove(0);
        }
        self.0.push(State { endpoints, began: Some(now), replaced: None });
    }

    /// The API has answered it.
    pub(super) fn answered(&mut self, now: Instant) {
        if let [.., before, _] = &mut self.0[..] {
            before.replaced = Some(now);
        }
    }

    /// What it has now.
    pub(super) fn now(&self) -> Endpoints {
        self.0.last().map_or(Endpoints(0), |state| state.endpoints)
    }

    /// How long an endpoint had gone that answered a connection made between two moments; zero if it had not. `None`: the
    /// Service never had it so far.
    pub(super) fn lateness(
        &self,
        number: u8,
        connected: Instant,
        ended: Instant,
        deaths: &Deaths,
    ) -> Option<Duration> {
        let had = self
            .0
            .iter()
            .filter(|state| state.endpoints.holds(number) && state.began.is_none_or(|began| began <= ended));
        had.map(|state| match state.replaced {
            Some(replaced) => connected.saturating_duration_since(deaths.alive_after(replaced)),
            None => Duration::ZERO,
        })
        .min()
    }
}

/// When the daemon was dead.
#[derive(Debug, Default)]
pub(super) struct Deaths(Vec<(Instant, Option<Instant>)>);

impl Deaths {
    pub(super) fn begin(&mut self, now: Instant) {
        self.0.push((now, None));
    }

    pub(super) fn end(&mut self, now: Instant) {
        if let Some((_, end)) = self.0.last_mut() {
            *end = Some(now);
        }
    }

    pub(super) fn number(&self) -> usize {
        self.0.len()
    }

    /// Whether it is dead.
    pub(super) fn now(&self) -> bool {
        self.0.last().is_some_and(|(_, end)| end.is_none())
    }

    /// The moment from which the time counts in which something said at `moment` has to be done: the end of the last death that
    /// left it less time than is due. `moment` itself without such; far in the future while it is dead.
    fn alive_after(&self, moment: Instant) -> Instant {
        let far = |from: Instant| from + Duration::from_secs(86_400);
        self.0.iter().fold(moment, |since, &(begin, end)| {
            let interrupted = begin < since + super::DUE && end.is_none_or(|end| end > since);
            if interrupted { end.unwrap_or_else(|| far(begin)) } else { since }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn an_endpoint_is_late_by_the_time_since_its_successors_were_answered() {
        let start = Instant::now();
        let mut history = History::new(Endpoints(0b01));
        history.began(Endpoints(0b10), at(start, 10));
        let late = |history: &History, number, moment| {
            history.lateness(number, at(start, moment), at(start, moment), &Deaths::default())
        };
        assert_eq!(late(&history, 0, 60), Some(Duration::ZERO), "its successor was not answered");
        history.answered(at(start, 11));
        assert_eq!(late(&history, 0, 11), Some(Duration::ZERO));
        assert_eq!(late(&history, 0, 14), Some(Duration::from_secs(3)));
        assert_eq!(late(&history, 1, 14), Some(Duration::ZERO));
        assert_eq!(late(&history, 1, 9), None, "before anybody wrote it");
        assert_eq!(late(&history, 2, 14), None);
        history.began(Endpoints(0b01), at(start, 20));
        assert_eq!(late(&history, 0, 21), Some(Duration::ZERO), "it has come back");
    }

    #[test]
    fn while_the_daemon_is_dead_nothing_is_late_and_then_the_time_begins_anew() {
        let start = Instant::now();
        let mut history = History::new(Endpoints(0b01));
        history.began(Endpoints(0b10), at(start, 10));
        history.answered(at(start, 10));
        let mut deaths = Deaths::default();
        deaths.begin(at(start, 11));
        let late =
            |deaths: &Deaths, moment| history.lateness(0, at(start, moment), at(start, moment), deaths);
        assert_eq!(late(&deaths, 50), Some(Duration::ZERO));
        deaths.end(at(start, 52));
        assert_eq!(late(&deaths, 53), Some(Duration::from_secs(1)));
        deaths.begin(at(start, 90));
        deaths.end(at(start, 91));
        assert_eq!(late(&deaths, 92), Some(Duration::from_secs(40)), "that came long after it was due");
    }
}

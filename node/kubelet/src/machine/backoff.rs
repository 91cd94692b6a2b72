//! Pauses that double: 10 s, 20 s, ... 5 min, forgotten after ten quiet minutes.
//! The numbers are upstream's (`MaxContainerBackOff`, pod lifecycle: "container restart policy").

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

/// The first pause.
pub const FIRST: Duration = Duration::from_secs(10);
/// The longest pause.
pub const LONGEST: Duration = Duration::from_secs(300);
/// After so long without a new failure it starts again from the first.
pub const FORGET: Duration = Duration::from_secs(600);

/// The pause of one container. The first failure is free: only the second waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    pause: Duration,
    grown_at: Option<Timestamp>,
}

impl Backoff {
    /// The pause that applies to a failure at `at`.
    pub fn pause(&self, at: Timestamp) -> Duration {
        if self.is_forgotten(at) { Duration::ZERO } else { self.pause }
    }

    /// Counts a try at `now`: the next failure waits longer.
    pub fn grow(&mut self, now: Timestamp) {
        self.pause = if self.is_forgotten(now) || self.pause.is_zero() {
            FIRST
        } else {
            (self.pause * 2).min(LONGEST)
        };
        self.grown_at = Some(now);
    }

    fn is_forgotten(&self, now: Timestamp) -> bool {
        self.grown_at.is_none_or(|grown| grown + FORGET < now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_to_five_minutes_and_is_forgotten_after_ten() {
        let mut now = Timestamp::UNIX_EPOCH;
        let mut backoff = Backoff::default();
        assert_eq!(backoff.pause(now), Duration::ZERO);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            backoff.grow(now);
            pauses.push(backoff.pause(now).as_secs());
            now += backoff.pause(now);
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300]);
        now += FORGET + Duration::from_secs(1);
        assert_eq!(backoff.pause(now), Duration::ZERO);
        backoff.grow(now);
        assert_eq!(backoff.pause(now), FIRST);
    }
}

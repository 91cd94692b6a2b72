//! The way down: main containers together, then sidecars one by one in reverse, then the sandbox.
//! What is being started is waited for and then stopped, so that nothing is left behind.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{Effect, Machine, Preparation, Role, Run, Sandbox, Stage, Why};

/// What a container gets at least when the pod's grace is used up by those before it (upstream: 2 s).
const GRACE_LEFT_MIN: Duration = Duration::from_secs(2);

/// The stage of a pod that its object calls ended, when a daemon finds it.
pub(super) fn finished(alive: bool, since: Timestamp) -> Stage {
    if alive {
        Stage::Stopping { why: Why::Completed, grace: Duration::ZERO, since }
    } else {
        Stage::Releasing { why: Why::Completed }
    }
}

impl Machine {
    /// Active => Stopping; or a shorter grace, or deletion of what has ended.
    pub(super) fn begin_stop(
        &mut self,
        now: Timestamp,
        why: Why,
        grace: Duration,
        effects: &mut Vec<Effect>,
    ) {
        match &mut self.stage {
            Stage::Active => {
                self.stage = Stage::Stopping { why, grace, since: now };
                effects.push(Effect::BeginStop);
            }
            // A second delete with less patience: those being stopped are stopped harder.
            Stage::Stopping { why: present, grace: longer, since } => {
                if why == Why::Deleted {
                    *present = why;
                }
                if grace < *longer {
                    *longer = grace;
                    let left = grace.saturating_sub(elapsed(*since, now));
                    self.kill_again(left, effects);
                }
            }
            Stage::Releasing { why: present } => {
                if why == Why::Deleted {
                    *present = why;
                }
            }
            Stage::Stopped { .. } => {
                if why == Why::Deleted {
                    self.stage = Stage::Removing;
                    effects.push(Effect::Remove);
                }
            }
            Stage::Removing | Stage::Gone => {}
        }
    }

    fn kill_again(&self, grace: Duration, effects: &mut Vec<Effect>) {
        for (index, slot) in self.slots.iter().enumerate() {
            if let Run::Stopping(live) = &slot.run {
                effects.push(Effect::Kill {
                    slot: index,
                    id: live.id.clone(),
                    grace,
                    message: String::new(),
                    draining: false,
                    again: true,
                });
            }
        }
    }

    pub(super) fn advance_stopping(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Stage::Stopping { why, grace, since } = self.stage else { return };
        let spent = elapsed(since, now);
        let left = match grace.saturating_sub(spent) {
            left if left < GRACE_LEFT_MIN && grace >= GRACE_LEFT_MIN => GRACE_LEFT_MIN,
            left => left,
        };
        let sidecar = |index: &usize| self.shape.containers[*index].role == Role::Sidecar;
        let alive: Vec<usize> = (0..self.slots.len()).filter(|i| self.slots[*i].run.is_alive()).collect();
        let (sidecars, others): (Vec<usize>, Vec<usize>) = alive.into_iter().partition(sidecar);
        if !others.is_empty() {
            for index in others {
                self.kill_for_stop(index, left, why, effects);
            }
            return;
        }
        if let Some(last) = sidecars.last() {
            return self.kill_for_stop(*last, left, why, effects);
        }
        // A sandbox or volume under way is waited for: what it makes must be undone.
        let busy = matches!(self.sandbox, Sandbox::Starting { .. } | Sandbox::Lost { removing: true, .. })
            || matches!(self.volumes, Preparation::Working { .. });
        if !busy {
            self.stage = Stage::Releasing { why };
            effects.push(Effect::Release);
        }
    }

    fn kill_for_stop(&mut self, index: usize, grace: Duration, why: Why, effects: &mut Vec<Effect>) {
        let Run::Running(live) = &self.slots[index].run else { return };
        let live = live.clone();
        effects.push(Effect::Kill {
            slot: index,
            id: live.id.clone(),
            grace,
            message: format!("Stopping container {}", self.shape.containers[index].name),
            draining: why == Why::Deleted && self.shape.containers[index].role == Role::Main,
            again: false,
        });
        self.slots[index].run = Run::Stopping(live);
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

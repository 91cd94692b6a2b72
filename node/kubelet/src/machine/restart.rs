//! One container: when it is started, started again, or held back; and how it is killed.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{Effect, Exit, Machine, RestartPolicy, Run};

impl Machine {
    /// Whether a container that ended like this is started again.
    pub(super) fn restarts_after(&self, index: usize, exit: &Exit) -> bool {
        if self.slots[index].again {
            return true;
        }
        match self.shape.restart_policy(index) {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => exit.code != 0,
            RestartPolicy::Never => false,
        }
    }

    /// Brings one container a step nearer to running.
    pub(super) fn run(&mut self, index: usize, now: Timestamp, effects: &mut Vec<Effect>) {
        match &self.slots[index].run {
            Run::Pending => self.start(index, effects),
            Run::Waiting { due, .. } if *due <= now => self.retry(index, now, effects),
            Run::Exited(exit) if self.restarts_after(index, exit) => {
                let exit = exit.clone();
                let due = exit.finished_at + self.slots[index].crash.pause(exit.finished_at);
                if due <= now || self.slots[index].again {
                    self.restart(index, exit, now, effects);
                } else {
                    self.slots[index].run = Run::CrashLoop { exit, due };
                    effects.push(Effect::ReportBackOff { slot: index, crashed: true });
                }
            }
            Run::CrashLoop { exit, due } if *due <= now => {
                let exit = exit.clone();
                self.restart(index, exit, now, effects);
            }
            // The spec names another image than the one that runs.
            Run::Running(_) if self.slots[index].hash != self.shape.containers[index].hash => {
                let name = &self.shape.containers[index].name;
                let message = format!("Container {name} definition changed, will be restarted");
                self.kill(index, self.shape.grace, message, effects);
            }
            _ => {}
        }
    }

    fn start(&mut self, index: usize, effects: &mut Vec<Effect>) {
        let slot = &mut self.slots[index];
        slot.hash.clone_from(&self.shape.containers[index].hash);
        slot.retry_at = None;
        slot.probing.clear();
        slot.has = Some(Arc::clone(&self.allocated[index]));
        slot.again = false;
        slot.run = Run::Starting { id: None };
        effects.push(Effect::Start { slot: index, restarts: slot.restarts });
    }

    /// Waiting => Starting, or from showing an image's error to showing its back-off.
    fn retry(&mut self, index: usize, now: Timestamp, effects: &mut Vec<Effect>) {
        let slot = &mut self.slots[index];
        match (&mut slot.run, slot.retry_at) {
            (Run::Waiting { reason, message, due }, Some(retry_at)) if retry_at > now => {
                let image = &self.shape.containers[index].image;
                *message = format!("Back-off pulling image \"{image}\": {reason}: {message}");
                "ImagePullBackOff".clone_into(reason);
                *due = retry_at;
                effects.push(Effect::ReportBackOff { slot: index, crashed: false });
            }
            _ => self.start(index, effects),
        }
    }

    /// Exited or CrashLoop => Starting. The exit becomes the last one; the one before it is forgotten.
    fn restart(&mut self, index: usize, exit: Exit, now: Timestamp, effects: &mut Vec<Effect>) {
        let slot = &mut self.slots[index];
        if !slot.again {
            slot.crash.grow(now);
        }
        slot.restarts += 1;
        if let Some(old) = slot.last.replace(exit)
            && !old.id.is_empty()
        {
            effects.push(Effect::RemoveContainer { id: old.id });
        }
        self.start(index, effects);
    }

    /// Running => Stopping. Not running means nothing to do.
    pub(super) fn kill(&mut self, index: usize, grace: Duration, message: String, effects: &mut Vec<Effect>) {
        let slot = &mut self.slots[index];
        if let Run::Running(live) = &slot.run {
            let live = live.clone();
            effects.push(Effect::StopProbes { slot: index });
            effects.push(Effect::Kill {
                slot: index,
                id: live.id.clone(),
                grace,
                message,
                draining: false,
                again: false,
            });
            slot.run = Run::Stopping(live);
        }
    }
}

//! Taking an event into the state. Each arm names the transition; what follows from it is asked for by
//! `advance`. An event about a container that is no longer the present one changes nothing.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{
    Adopted, Amounts, Effect, Event, Exit, Live, Machine, PodShape, Preparation, ProbeKind, Role, Run,
    Sandbox, Slot, Stage, Why, backoff, stop,
};

/// Pause after the first failure of a sandbox or a volume, and its longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// For how long an image error is shown before its back-off is, where one applies.
const ERROR_SHOWN: Duration = Duration::from_secs(2);

/// Restarts of an adopted container that count for its back-off: with them it is at its longest.
const RESTARTS_COUNTED: u32 = 6;

pub(super) fn retry_at(now: Timestamp, failures: u32) -> Timestamp {
    now + RETRY.0.saturating_mul(1 << failures.min(10)).min(RETRY.1)
}

impl Machine {
    pub(super) fn absorb(&mut self, now: Timestamp, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Tick => {}
            Event::Adopt(found) => self.adopt(found, effects),
            Event::Changed { shape, deletion } => {
                if let Some(shape) = shape.in_order_of(&self.shape) {
                    self.image_changed(now, &shape);
                    self.slots.resize_with(shape.containers.len(), Slot::default);
                    let new = shape.containers.iter().skip(self.allocated.len()).map(|one| &one.resources);
                    let new: Vec<Amounts> = new.cloned().collect();
                    self.cgroup.extend(new.iter().cloned());
                    self.allocated.extend(new);
                    self.shape = Arc::new(shape);
                }
                if let Some(grace) = deletion {
                    self.begin_stop(now, Why::Deleted, grace, effects);
                }
            }
            Event::Vanished => {
                self.vanished = true;
                self.begin_stop(now, Why::Deleted, self.shape.grace, effects);
            }
            Event::VolumesReady => self.volumes = Preparation::Done,
            Event::VolumesFailed => {
                let failures =
                    if let Preparation::Working { failures } = self.volumes { failures } else { 0 };
                self.volumes = Preparation::Failed {
                    due: retry_at(now, failures),
                    failures: failures.saturating_add(1),
                };
            }
            // Starting => Ready. The next sandbox, if there is one, has the next number.
            Event::SandboxReady(info) => {
                self.sandbox_attempt = info.attempt + 1;
                self.sandbox = Sandbox::Ready(info);
            }
            Event::SandboxFailed => {
                let failures = if let Sandbox::Starting { failures } = self.sandbox { failures } else { 0 };
                self.sandbox_attempt += 1;
                self.sandbox =
                    Sandbox::Failed { due: retry_at(now, failures), failures: failures.saturating_add(1) };
            }
            // Ready => Lost: everything in it is stopped first.
            Event::SandboxDied { id } => {
                if self.sandbox_info().is_some_and(|info| info.id == id) && self.stage == Stage::Active {
                    self.sandbox = Sandbox::Lost { id, removing: false };
                }
            }
            Event::SandboxReleased => self.sandbox_released(effects),
            Event::Created { slot, id } => {
                if let Run::Starting { id: known } = &mut self.slots[slot].run {
                    *known = Some(id);
                }
            }
            Event::Started { slot, id, image_id, at } => self.started(slot, id, image_id, at),
            Event::StartFailed { slot, reason, message } => self.start_failed(now, slot, reason, message),
            Event::Hooked { id, ok } => self.hooked(&id, ok, effects),
            Event::Exited { exit } => self.exited(exit, effects),
            Event::Probed { id, kind, healthy, grace } => self.probed(&id, kind, healthy, grace, effects),
            Event::Allocated { wanted, refusal } => self.allocated(wanted, refusal),
            Event::Resized { cgroup, read, error } => self.resized(now, cgroup, read, error),
            Event::Freed => self.freed(),
            Event::Removed => self.stage = Stage::Gone,
        }
    }

    /// Starting => Running. Where the exit was told before, the slot has moved on already, perhaps to its
    /// next container: then this only completes what is known of the one that ended.
    fn started(&mut self, slot: usize, id: String, image_id: String, at: Timestamp) {
        let shape = &self.shape.containers[slot];
        let slot = &mut self.slots[slot];
        match &mut slot.run {
            Run::Starting { id: Some(known) } if *known == id => {
                slot.run = Run::Running(Live {
                    id,
                    image_id,
                    started_at: at,
                    hooked: !shape.post_start,
                    started: !shape.startup,
                    ready: !shape.readiness,
                });
            }
            Run::Exited(exit) | Run::CrashLoop { exit, .. } if exit.id == id => {
                exit.started_at = Some(at);
                exit.image_id = image_id;
            }
            _ => {
                if let Some(exit) = slot.last.as_mut().filter(|exit| exit.id == id) {
                    exit.started_at = Some(at);
                    exit.image_id = image_id;
                }
            }
        }
    }

    /// Starting => Waiting. Image errors are shown for a moment, then their back-off.
    fn start_failed(&mut self, now: Timestamp, slot: usize, reason: String, message: String) {
        let slot = &mut self.slots[slot];
        if !matches!(slot.run, Run::Starting { .. }) {
            return;
        }
        let pause = if matches!(reason.as_str(), "ErrImagePull" | "CreateContainerError") {
            slot.start.grow(now);
            slot.start.pause(now)
        } else {
            // What is missing (a ConfigMap, an image that is not to be pulled) is someone else's to bring, and looking
            // for it is cheap.
            backoff::FIRST
        };
        let retry_at = now + pause;
        slot.retry_at = Some(retry_at);
        let due = if reason == "ErrImagePull" { retry_at.min(now + ERROR_SHOWN) } else { retry_at };
        slot.run = Run::Waiting { reason, message, due };
    }

    /// Waiting => started by this step, where the image is another one: the back-off was the old one's.
    fn image_changed(&mut self, now: Timestamp, shape: &PodShape) {
        let pairs = self.shape.containers.iter().zip(&shape.containers);
        for (slot, (old, new)) in self.slots.iter_mut().zip(pairs) {
            if old.image != new.image
                && let Run::Waiting { due, .. } = &mut slot.run
            {
                *due = now;
                slot.retry_at = None;
                slot.start = backoff::Backoff::default();
            }
        }
    }

    fn hooked(&mut self, id: &str, ok: bool, effects: &mut Vec<Effect>) {
        let Some(slot) = self.slot_of(id) else { return };
        if let Run::Running(live) = &mut self.slots[slot].run {
            live.hooked = ok;
            if !ok {
                self.kill(slot, self.shape.grace, "FailedPostStartHook".to_owned(), effects);
            }
        }
    }

    /// Starting, Running or Stopping => Exited.
    fn exited(&mut self, mut exit: Exit, effects: &mut Vec<Effect>) {
        let Some(index) = self.slot_of(&exit.id) else { return };
        let slot = &mut self.slots[index];
        match &slot.run {
            Run::Running(live) | Run::Stopping(live) => {
                exit.started_at = Some(live.started_at);
                exit.image_id.clone_from(&live.image_id);
            }
            Run::Starting { .. } => {}
            _ => return,
        }
        slot.run = Run::Exited(exit);
        effects.push(Effect::StopProbes { slot: index });
    }

    fn probed(
        &mut self,
        id: &str,
        kind: ProbeKind,
        healthy: bool,
        grace: Option<Duration>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(slot) = self.slot_of(id) else { return };
        let (Run::Running(live) | Run::Stopping(live)) = &mut self.slots[slot].run else { return };
        match (kind, healthy) {
            (ProbeKind::Readiness, healthy) => live.ready = healthy,
            (ProbeKind::Startup, true) => live.started = true,
            (ProbeKind::Liveness, true) => {}
            (ProbeKind::Startup | ProbeKind::Liveness, false) => {
                let name = &self.shape.containers[slot].name;
                let probe = kind.title().to_lowercase();
                let message = format!("Container {name} failed {probe} probe, will be restarted");
                self.kill(slot, grace.unwrap_or(self.shape.grace), message, effects);
            }
        }
    }

    fn sandbox_released(&mut self, effects: &mut Vec<Effect>) {
        match self.stage {
            // Lost => None: a fresh start, init containers included.
            Stage::Active => {
                self.sandbox = Sandbox::None;
                self.forget_init();
            }
            // Removed while the pod began to stop: nothing is left of it.
            Stage::Stopping { .. } => self.sandbox = Sandbox::None,
            Stage::Releasing { why: Why::Deleted } => {
                self.sandbox = Sandbox::None;
                self.stage = Stage::Removing;
                effects.push(Effect::Remove);
            }
            Stage::Releasing { why } => {
                self.sandbox = Sandbox::None;
                self.stage = Stage::Stopped { why };
            }
            _ => {}
        }
    }

    /// A fresh sandbox runs the plain init containers again.
    fn forget_init(&mut self) {
        self.initialized = false;
        for (slot, shape) in self.slots.iter_mut().zip(&self.shape.containers) {
            if shape.role == Role::Init {
                slot.last = slot.exit().cloned();
                slot.run = Run::Pending;
            }
        }
    }

    /// Fills a new machine with what is found in the runtime. Nothing of it is restarted.
    fn adopt(&mut self, found: Adopted, effects: &mut Vec<Effect>) {
        if let Some(at) = found.started_at {
            self.started_at = at;
        }
        self.sandbox_attempt = found.sandbox_attempt.map_or(0, |attempt| attempt + 1);
        if let Some(info) = found.sandbox {
            self.sandbox = Sandbox::Ready(info);
        }
        for (shape, allocated) in self.shape.containers.iter().zip(&mut self.allocated) {
            if let Some(given) = found.given.get(&shape.name) {
                *allocated = Arc::clone(given);
            }
        }
        self.cgroup = if found.unsettled { Vec::new() } else { self.allocated.clone() };
        for container in found.containers {
            let Some(index) = self.shape.containers.iter().position(|c| c.name == container.name) else {
                continue;
            };
            let slot = &mut self.slots[index];
            slot.restarts = container.restarts;
            slot.hash = container.hash;
            slot.last = container.last;
            slot.has = container.has;
            if let Some(exit) = container.exit.as_ref().or(slot.last.as_ref()) {
                // The pauses before it are not known; they were at least these.
                (0..slot.restarts.min(RESTARTS_COUNTED)).for_each(|_| slot.crash.grow(exit.finished_at));
            }
            slot.run = match (container.live, container.exit) {
                (Some(live), _) => Run::Running(live),
                (None, Some(exit)) => Run::Exited(exit),
                (None, None) => Run::Pending,
            };
            if self.shape.containers[index].role == Role::Main && slot.run != Run::Pending {
                self.initialized = true;
            }
        }
        if found.finished {
            self.stage = stop::finished(self.any_alive(), self.started_at);
            if matches!(self.stage, Stage::Releasing { .. }) {
                effects.push(Effect::Release);
            }
        }
    }
}

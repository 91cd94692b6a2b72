//! Asking for everything that is due and not under way, on the way up: volumes, sandbox, containers in
//! their order. The way down is in `stop.rs`.

use k8s_openapi::jiff::Timestamp;

use super::{Effect, Machine, Preparation, ProbeKind, Role, Run, Sandbox, Stage, Why};

impl Machine {
    pub(super) fn advance(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        match self.stage {
            Stage::Active => self.advance_active(now, effects),
            Stage::Stopping { .. } => self.advance_stopping(now, effects),
            Stage::Removing | Stage::Releasing { .. } | Stage::Stopped { .. } | Stage::Gone => {}
        }
    }

    fn advance_active(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.shape.refused.is_some() {
            return;
        }
        if self.shape.deadline.is_some_and(|limit| self.started_at + limit <= now) {
            return self.begin_and_advance(now, Why::Deadline, effects);
        }
        if self.is_complete() {
            return self.begin_and_advance(now, Why::Completed, effects);
        }
        if matches!(self.sandbox, Sandbox::Lost { .. }) {
            return self.advance_lost(effects);
        }
        self.prepare(now, effects);
        if self.volumes == Preparation::Done && self.sandbox_info().is_some() {
            self.advance_containers(now, effects);
            self.advance_ephemeral(now, effects);
            self.advance_resize(now, effects);
            // Probes of what has just been found running, or has just passed its startup probe.
            self.ask_probes(effects);
        }
    }

    fn begin_and_advance(&mut self, now: Timestamp, why: Why, effects: &mut Vec<Effect>) {
        self.begin_stop(now, why, self.shape.grace, effects);
        self.advance(now, effects);
    }

    /// Volumes and sandbox do not need each other: both at once.
    fn prepare(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let failures = match self.volumes {
            Preparation::Idle => Some(0),
            Preparation::Failed { due, failures } if due <= now => Some(failures),
            _ => None,
        };
        if let Some(failures) = failures {
            self.volumes = Preparation::Working { failures };
            effects.push(Effect::MountVolumes);
        }
        let failures = match self.sandbox {
            Sandbox::None => Some(0),
            Sandbox::Failed { due, failures } if due <= now => Some(failures),
            _ => None,
        };
        if let Some(failures) = failures {
            self.sandbox = Sandbox::Starting { failures };
            effects.push(Effect::RunSandbox { attempt: self.sandbox_attempt });
        }
    }

    /// The sandbox died: stop what was in it, remove it, and begin anew.
    fn advance_lost(&mut self, effects: &mut Vec<Effect>) {
        for slot in 0..self.slots.len() {
            let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
            self.kill(slot, self.shape.grace, message, effects);
        }
        if self.any_alive() {
            return;
        }
        if let Sandbox::Lost { id, removing } = &mut self.sandbox
            && !std::mem::replace(removing, true)
        {
            effects.push(Effect::RemoveSandbox { id: id.clone() });
        }
    }

    fn advance_containers(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for slot in 0..self.slots.len() {
            let role = self.shape.containers[slot].role;
            match role {
                Role::Init if self.initialized => continue,
                Role::Init => {
                    if self.slots[slot].exit().is_some_and(|exit| exit.code == 0) {
                        continue;
                    }
                    self.run(slot, now, effects);
                    return;
                }
                Role::Sidecar => {
                    self.run(slot, now, effects);
                    if !self.initialized && !self.slots[slot].has_started() {
                        return;
                    }
                }
                Role::Main => {
                    self.initialized = true;
                    self.run(slot, now, effects);
                    // A postStart hook holds back the containers after it, as users rely on.
                    let live = matches!(&self.slots[slot].run, Run::Running(live) if live.hooked);
                    if self.shape.containers[slot].post_start && !live && self.slots[slot].restarts == 0 {
                        return;
                    }
                }
                Role::Ephemeral => {}
            }
        }
    }

    /// They wait for no other container, and none for them: a pod that hangs in its initialisation is to be looked into.
    fn advance_ephemeral(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for slot in 0..self.slots.len() {
            if self.shape.containers[slot].role == Role::Ephemeral {
                self.run(slot, now, effects);
            }
        }
    }

    fn ask_probes(&mut self, effects: &mut Vec<Effect>) {
        for (index, (slot, shape)) in self.slots.iter_mut().zip(&self.shape.containers).enumerate() {
            let Run::Running(live) = &slot.run else { continue };
            if !live.hooked {
                continue;
            }
            let wanted: &[(ProbeKind, bool)] = if live.started {
                &[(ProbeKind::Readiness, shape.readiness), (ProbeKind::Liveness, shape.liveness)]
            } else {
                &[(ProbeKind::Startup, shape.startup)]
            };
            for &(kind, wanted) in wanted {
                if wanted && slot.probing.insert(kind) {
                    effects.push(Effect::Probe { slot: index, id: live.id.clone(), kind });
                }
            }
        }
    }

    /// Whether nothing is left to run: the main containers are done, or an init container failed for good.
    fn is_complete(&self) -> bool {
        let over = |index: usize| matches!(&self.slots[index].run, Run::Exited(exit) if !self.restarts_after(index, exit));
        let roles = || self.shape.containers.iter().enumerate();
        let failed_init = roles().any(|(index, shape)| {
            shape.role == Role::Init
                && over(index)
                && !self.initialized
                && self.slots[index].exit().is_some_and(|exit| exit.code != 0)
        });
        let mut mains = roles().filter(|(_, shape)| shape.role == Role::Main).peekable();
        failed_init || (mains.peek().is_some() && mains.all(|(index, _)| over(index)))
    }
}

//! The pod machine: `step(state, event) -> (state, effects)`, pure and without a clock.
//!
//! Owns what happens to a pod and in which order: sandbox and volumes side by side, init containers
//! one after another, main containers, restarts with back-off, and the way down. Does not own how:
//! effects are carried out by `crate::worker`, each answered by an event. Nor what the API shows:
//! `status.rs` derives that from the state.
//!
//! [`Machine::step`] first takes the event in (`absorb.rs`), then looks at the whole state and asks
//! for everything that is due and not yet under way (`advance.rs`, `restart.rs`, `stop.rs`). What is under way is
//! in the state, so nothing is asked for twice and a lost hint costs nothing: any later step finds it.

mod absorb;
mod advance;
pub mod backoff;
pub mod effect;
pub mod event;
pub mod resize;
mod restart;
pub mod shape;
pub mod state;
pub mod status;
mod stop;
#[cfg(test)]
mod tests;

pub use effect::Effect;
pub use event::{Adopted, AdoptedContainer, Event, ProbeKind};
pub use resize::{Amounts, Applying, Resize};
pub use shape::{ContainerShape, PodShape, RestartPolicy, Role};
pub use state::{Exit, Live, Preparation, Run, Sandbox, SandboxInfo, Slot, Stage, Why};

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

/// A pod on this node, from its binding to its end.
#[derive(Clone, Debug)]
pub struct Machine {
    /// What the machine needs to know of the spec.
    pub shape: Arc<PodShape>,
    /// Where in its life the pod is.
    pub stage: Stage,
    /// The pod's volumes.
    pub volumes: Preparation,
    /// The pod's sandbox.
    pub sandbox: Sandbox,
    /// Attempt number of the next sandbox.
    pub sandbox_attempt: u32,
    /// One for each container of the shape, in its order.
    pub slots: Vec<Slot>,
    /// The plain init containers have all succeeded in this sandbox.
    pub initialized: bool,
    /// When this node took the pod on.
    pub started_at: Timestamp,
    /// The API object is gone: nothing is left to report to.
    pub vanished: bool,
    /// What the node has given to each container.
    pub allocated: Vec<Amounts>,
    /// What the pod's cgroup was made for, container by container; empty where that is not known.
    pub cgroup: Vec<Amounts>,
    /// The way from what the spec asks for to what the containers have.
    pub resize: Resize,
}

impl Machine {
    /// A pod of which nothing exists on this node yet.
    pub fn new(shape: Arc<PodShape>, now: Timestamp) -> Self {
        let slots = shape.containers.iter().map(|_| Slot::default()).collect();
        let allocated: Vec<Amounts> = shape.containers.iter().map(|one| Arc::clone(&one.resources)).collect();
        Self {
            cgroup: allocated.clone(),
            allocated,
            resize: Resize::default(),
            shape,
            stage: Stage::Active,
            volumes: Preparation::Idle,
            sandbox: Sandbox::None,
            sandbox_attempt: 0,
            slots,
            initialized: false,
            started_at: now,
            vanished: false,
        }
    }

    /// Takes `event` in and answers the next state with what is to be done.
    #[must_use]
    pub fn step(mut self, now: Timestamp, event: Event) -> (Self, Vec<Effect>) {
        let mut effects = Vec::new();
        self.absorb(now, event, &mut effects);
        self.advance(now, &mut effects);
        (self, effects)
    }

    /// When the machine wants a [`Event::Tick`], if nothing else happens before.
    pub fn next_due(&self) -> Option<Timestamp> {
        if !matches!(self.stage, Stage::Active) {
            return None;
        }
        let slots = self.slots.iter().filter_map(|slot| match &slot.run {
            Run::Waiting { due, .. } | Run::CrashLoop { due, .. } => Some(*due),
            _ => None,
        });
        let deadline = self.shape.deadline.map(|limit| self.started_at + limit);
        let resize = match &self.resize.applying {
            Applying::Failed { due, .. } => Some(*due),
            _ => None,
        };
        slots.chain(resize).chain(self.volumes.due()).chain(self.sandbox.due()).chain(deadline).min()
    }

    /// The sandbox to start containers in, if there is one.
    pub fn sandbox_info(&self) -> Option<&SandboxInfo> {
        match &self.sandbox {
            Sandbox::Ready(info) => Some(info),
            _ => None,
        }
    }

    fn slot_of(&self, id: &str) -> Option<usize> {
        self.slots.iter().position(|slot| slot.id() == Some(id))
    }

    /// Whether a container's process exists or may come to exist by an effect under way.
    fn any_alive(&self) -> bool {
        self.slots.iter().any(|slot| slot.run.is_alive())
    }
}

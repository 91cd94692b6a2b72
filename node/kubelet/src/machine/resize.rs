//! In-place resize: from what the spec asks for, over what the node has given, to what the running containers have.
//!
//! Owns the two steps between the three: asking the node, which may have no room, and bringing it to the containers, of which
//! some want to be restarted for it. The pod's cgroup is raised before they are and lowered after them, so that it never holds
//! back what one of them has. Whether there is room is decided by `crate::allocation`.
//! Rules: KEP-1287, <https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/>.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use keelson_semantics::resources::{ResourceRequirements, raise};

use super::absorb::retry_at;
use super::{Effect, Machine, Role, Run};

/// Requests and limits of one container, shared between those who compare them.
pub type Amounts = Arc<ResourceRequirements>;

/// Why a node does not give what a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no room now.
    Deferred(String),
    /// There never will be.
    Infeasible(String),
}

/// How far the node is with what the spec asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Asking {
    /// It is given, or is to be asked for by the next step => Asked when the spec changes.
    #[default]
    Settled,
    /// The node is being asked => Settled or Refused.
    Asked,
    /// The containers stay as they are => Asked when the spec changes or, deferred, when the node has more room.
    Refused {
        /// What was asked for.
        wanted: Vec<Amounts>,
        /// What the node says.
        refusal: Refusal,
    },
}

/// How far the running containers are with what is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Applying {
    /// All have it, or it is to be brought to them by the next step => Working.
    #[default]
    Idle,
    /// Cgroups are being changed => Idle or Failed.
    Working {
        /// Failures so far.
        failures: u32,
    },
    /// To be tried again => Working.
    Failed {
        /// When.
        due: Timestamp,
        /// Failures so far.
        failures: u32,
        /// Why.
        message: String,
    },
}

/// A pod's resize.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resize {
    /// Asking the node.
    pub asking: Asking,
    /// Bringing it to the containers.
    pub applying: Applying,
    /// `metadata.generation` of the spec that the node agreed to last; None before the first resize.
    pub generation: Option<i64>,
}

/// What a container has, as it was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadBack {
    /// Which container.
    pub slot: usize,
    /// The runtime's id.
    pub id: String,
    /// What it has.
    pub has: Amounts,
}

impl Machine {
    /// What the spec asks for. Plain init containers and ephemeral ones are not resized.
    fn wanted(&self) -> Vec<Amounts> {
        let pairs = self.shape.containers.iter().zip(&self.allocated);
        pairs
            .map(|(shape, allocated)| match shape.role {
                Role::Main | Role::Sidecar => Arc::clone(&shape.resources),
                Role::Init | Role::Ephemeral => Arc::clone(allocated),
            })
            .collect()
    }

    /// What a running container has that is not what is given to it.
    fn behind(&self, index: usize) -> Option<&Amounts> {
        let slot = &self.slots[index];
        let has = slot.has.as_ref().filter(|_| matches!(slot.run, Run::Running(_)))?;
        (*has != self.allocated[index]).then_some(has)
    }

    /// Whether something that is given has not arrived yet.
    pub fn is_resizing(&self) -> bool {
        self.resize.applying != Applying::Idle
            || self.cgroup != self.allocated
            || self.slots.iter().any(|slot| slot.again)
            || (0..self.slots.len()).any(|index| self.behind(index).is_some())
    }

    pub(super) fn advance_resize(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.ask(effects);
        let failures = match self.resize.applying {
            Applying::Working { .. } => return,
            Applying::Failed { due, .. } if due > now => return,
            Applying::Failed { failures, .. } => failures,
            Applying::Idle => 0,
        };
        let behind: Vec<usize> =
            (0..self.slots.len()).filter(|index| self.behind(*index).is_some()).collect();
        let (restarted, slots): (Vec<usize>, Vec<usize>) =
            behind.iter().partition(|index| self.restarts_for_resize(**index));
        let last = self.covering(&restarted);
        if !slots.is_empty() || self.cgroup != last {
            let first = self.covering(&behind);
            self.resize.applying = Applying::Working { failures };
            effects.push(Effect::Resize { first, slots, last });
            return;
        }
        self.resize.applying = Applying::Idle;
        for index in restarted {
            let message = format!("Container {} resize requires restart", self.shape.containers[index].name);
            self.slots[index].again = true;
            self.kill(index, self.shape.grace, message, effects);
        }
    }

    fn ask(&mut self, effects: &mut Vec<Effect>) {
        let wanted = self.wanted();
        match &self.resize.asking {
            Asking::Asked => {}
            _ if wanted == self.allocated => self.resize.asking = Asking::Settled,
            Asking::Refused { wanted: refused, .. } if *refused == wanted => {}
            Asking::Settled | Asking::Refused { .. } => {
                self.resize.asking = Asking::Asked;
                effects.push(Effect::Allocate { wanted });
            }
        }
    }

    /// What the pod's cgroup must have room for while these containers still have what they had.
    fn covering(&self, behind: &[usize]) -> Vec<Amounts> {
        let both = |(index, given): (usize, &Amounts)| match self.behind(index) {
            Some(has) if behind.contains(&index) => Arc::new(most(given, has)),
            _ => Arc::clone(given),
        };
        self.allocated.iter().enumerate().map(both).collect()
    }

    fn restarts_for_resize(&self, index: usize) -> bool {
        let Some(has) = self.behind(index) else { return false };
        let given = &self.allocated[index];
        let differs = |name: &String| {
            has.requests.get(name) != given.requests.get(name)
                || has.limits.get(name) != given.limits.get(name)
        };
        self.shape.containers[index].restart_for.iter().any(differs)
    }

    /// Asked => Settled or Refused.
    pub(super) fn allocated(&mut self, mut wanted: Vec<Amounts>, refusal: Option<Refusal>) {
        // Ephemeral containers may have come since it was asked for; they are not resized.
        wanted.extend(self.allocated.iter().skip(wanted.len()).cloned());
        self.resize.asking = match refusal {
            None => {
                self.allocated = wanted;
                self.resize.generation = self.shape.generation;
                // What failed was about other amounts.
                if let Applying::Failed { .. } = self.resize.applying {
                    self.resize.applying = Applying::Idle;
                }
                Asking::Settled
            }
            Some(refusal) => Asking::Refused { wanted, refusal },
        };
    }

    /// Working => Idle or Failed. Believed is what was read back.
    pub(super) fn resized(
        &mut self,
        now: Timestamp,
        cgroup: Option<Vec<Amounts>>,
        read: Vec<ReadBack>,
        error: Option<String>,
    ) {
        for ReadBack { slot, id, has } in read {
            if self.slots[slot].id() == Some(&id) {
                self.slots[slot].has = Some(has);
            }
        }
        if let Some(mut cgroup) = cgroup {
            cgroup.extend(self.allocated.iter().skip(cgroup.len()).cloned());
            self.cgroup = cgroup;
        }
        let Applying::Working { failures } = self.resize.applying else { return };
        self.resize.applying = match error {
            None => Applying::Idle,
            Some(message) => Applying::Failed {
                due: retry_at(now, failures),
                failures: failures.saturating_add(1),
                message,
            },
        };
    }

    /// Something on the node became free: what was deferred is asked for again.
    pub(super) fn freed(&mut self) {
        if let Asking::Refused { refusal: Refusal::Deferred(_), .. } = self.resize.asking {
            self.resize.asking = Asking::Settled;
        }
    }
}

/// The larger of each request; of limits likewise, where there is one in both: none is more than any.
fn most(a: &ResourceRequirements, b: &ResourceRequirements) -> ResourceRequirements {
    let mut sum = a.clone();
    raise(&mut sum.requests, &b.requests);
    sum.limits.retain(|name, _| b.limits.contains_key(name));
    let shared = b.limits.iter().filter(|(name, _)| a.limits.contains_key(*name));
    raise(&mut sum.limits, &shared.map(|(name, amount)| (name.clone(), *amount)).collect());
    sum
}

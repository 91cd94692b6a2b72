//! The states of a pod, its sandbox, its volumes and its containers. Each variant says what comes next.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::backoff::Backoff;
use super::{Amounts, ProbeKind};

/// Why a pod is on its way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its object has a deletionTimestamp, or is gone.
    Deleted,
    /// All its main containers are done, or an init container failed for good.
    Completed,
    /// `activeDeadlineSeconds` is over.
    Deadline,
}

/// Where in its life a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Is being brought up or runs => Stopping.
    Active,
    /// Containers are being stopped: main ones first, then sidecars in reverse => Releasing.
    Stopping {
        /// What for.
        why: Why,
        /// Time from the stop signal to SIGKILL, counted from `since`.
        grace: Duration,
        /// When stopping began.
        since: Timestamp,
    },
    /// Nothing runs; the sandbox is being stopped and its network released => Stopped or Removing.
    Releasing {
        /// What for.
        why: Why,
    },
    /// Nothing runs and nothing will; the object is there to be read => Removing when it is deleted.
    Stopped {
        /// What for.
        why: Why,
    },
    /// Traces are being removed from the node, then the object from the API => Gone.
    Removing,
    /// Nothing is left. The worker ends.
    Gone,
}

/// A step that is tried until it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preparation {
    /// Not asked for.
    Idle,
    /// Under way => Done or Failed.
    Working {
        /// Failures so far.
        failures: u32,
    },
    /// Done.
    Done,
    /// To be tried again.
    Failed {
        /// When.
        due: Timestamp,
        /// Failures so far.
        failures: u32,
    },
}

impl Preparation {
    pub(super) fn due(&self) -> Option<Timestamp> {
        match self {
            Self::Failed { due, .. } => Some(*due),
            _ => None,
        }
    }
}

/// A sandbox that exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxInfo {
    /// The runtime's id.
    pub id: String,
    /// Addresses of the pod; empty in the host's network.
    pub ips: Vec<String>,
    /// Which try this is.
    pub attempt: u32,
}

/// The pod's sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// None yet, or the last one was removed => Starting.
    None,
    /// Being created => Ready or Failed.
    Starting {
        /// Failures so far.
        failures: u32,
    },
    /// Containers can run => Lost when its process dies.
    Ready(SandboxInfo),
    /// To be tried again => Starting.
    Failed {
        /// When.
        due: Timestamp,
        /// Failures so far.
        failures: u32,
    },
    /// Died. Its containers are being stopped, then it is removed => None.
    Lost {
        /// The runtime's id.
        id: String,
        /// Its removal is under way.
        removing: bool,
    },
}

impl Sandbox {
    pub(super) fn due(&self) -> Option<Timestamp> {
        match self {
            Self::Failed { due, .. } => Some(*due),
            _ => None,
        }
    }
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The runtime's id; empty where the container was never made.
    pub id: String,
    /// Digest or id of its image.
    pub image_id: String,
    /// Exit code; 128 + n for signal n.
    pub code: i32,
    /// `Completed`, `Error`, `OOMKilled`, ...
    pub reason: String,
    /// The termination message.
    pub message: String,
    /// When it started; absent where that is not known.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// A container whose process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// The runtime's id.
    pub id: String,
    /// Digest or id of its image.
    pub image_id: String,
    /// When it started.
    pub started_at: Timestamp,
    /// The postStart hook is done (or there is none).
    pub hooked: bool,
    /// The startup probe passed (or there is none).
    pub started: bool,
    /// The readiness probe passes (or there is none).
    pub ready: bool,
}

/// What a container does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Run {
    /// Has not been started in this sandbox => Starting.
    #[default]
    Pending,
    /// Being created and started => Running, Waiting, or Exited where it ended before we were told.
    Starting {
        /// The runtime's id, once it is known.
        id: Option<String>,
    },
    /// Could not be started => Starting.
    Waiting {
        /// `ErrImagePull`, `CreateContainerConfigError`, ...
        reason: String,
        /// Why.
        message: String,
        /// When to try again, or to show the image's back-off instead of its error.
        due: Timestamp,
    },
    /// Its process runs => Stopping or Exited.
    Running(Live),
    /// Its process is being stopped => Exited.
    Stopping(Live),
    /// Ended, and whether it starts again is decided by the next step => Starting, CrashLoop, or for good.
    Exited(Exit),
    /// Ended, and starts again when its back-off is over => Starting.
    CrashLoop {
        /// How it ended.
        exit: Exit,
        /// When it starts again.
        due: Timestamp,
    },
}

impl Run {
    pub(super) fn is_alive(&self) -> bool {
        matches!(self, Self::Starting { .. } | Self::Running(_) | Self::Stopping(_))
    }
}

/// A container of the pod over all its restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// What it does now.
    pub run: Run,
    /// How often it was restarted.
    pub restarts: u32,
    /// Hash of the spec that the present container was made from.
    pub hash: String,
    /// How the container before the present one ended.
    pub last: Option<Exit>,
    /// Pauses between restarts.
    pub crash: Backoff,
    /// Pauses between tries to start it (image pulls and the like).
    pub start: Backoff,
    /// When a container that could not be started is tried again.
    pub retry_at: Option<Timestamp>,
    /// Probes that were asked for, for the present container.
    pub probing: BTreeSet<ProbeKind>,
    /// What the newest container has: what it was made with, or what was read back since.
    pub has: Option<Amounts>,
    /// Is being stopped to start again at once, with what it was given since, whatever the pod's restart policy.
    pub again: bool,
}

impl Slot {
    /// The runtime's id of the present container.
    pub fn id(&self) -> Option<&str> {
        match &self.run {
            Run::Starting { id } => id.as_deref(),
            Run::Running(live) | Run::Stopping(live) => Some(&live.id),
            Run::Exited(exit) | Run::CrashLoop { exit, .. } => Some(&exit.id),
            Run::Pending | Run::Waiting { .. } => None,
        }
    }

    /// Whether the process runs and has passed its startup.
    pub fn has_started(&self) -> bool {
        matches!(&self.run, Run::Running(live) if live.hooked && live.started)
    }

    /// Whether the container counts as ready.
    pub fn is_ready(&self) -> bool {
        match &self.run {
            Run::Running(live) | Run::Stopping(live) => live.hooked && live.started && live.ready,
            _ => false,
        }
    }

    /// How the container ended, where it has.
    pub fn exit(&self) -> Option<&Exit> {
        match &self.run {
            Run::Exited(exit) | Run::CrashLoop { exit, .. } => Some(exit),
            _ => None,
        }
    }
}

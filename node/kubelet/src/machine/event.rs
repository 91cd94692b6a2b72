//! What the machine is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::resize::{ReadBack, Refusal};
use super::{Amounts, Exit, Live, PodShape, SandboxInfo};

/// The three probes of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Must pass before the others run.
    Startup,
    /// Decides whether the container gets traffic.
    Readiness,
    /// Restarts the container when it fails.
    Liveness,
}

impl ProbeKind {
    /// As it is written in events.
    pub fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// Something happened. `slot` is the container's index in the shape.
#[derive(Clone, Debug)]
pub enum Event {
    /// Look again: time has passed.
    Tick,
    /// The object changed: what it asks for now, and the grace if it is being deleted.
    Changed {
        /// The new shape. It has all containers that there were, and perhaps more ephemeral ones: the API sees to it.
        shape: Arc<PodShape>,
        /// Set once the object has a deletionTimestamp.
        deletion: Option<Duration>,
    },
    /// The object is gone from the API.
    Vanished,
    /// What a daemon before us left running; sent once, before anything else.
    Adopt(Adopted),
    /// All volumes are in place.
    VolumesReady,
    /// A volume could not be set up.
    VolumesFailed,
    /// The sandbox runs.
    SandboxReady(SandboxInfo),
    /// The sandbox could not be created.
    SandboxFailed,
    /// The sandbox's process ended without our doing.
    SandboxDied {
        /// The runtime's id.
        id: String,
    },
    /// A lost sandbox was removed, or the pod's last one was stopped.
    SandboxReleased,
    /// A container exists but does not run yet.
    Created {
        /// Which.
        slot: usize,
        /// The runtime's id.
        id: String,
    },
    /// A container's process runs.
    Started {
        /// Which.
        slot: usize,
        /// The runtime's id.
        id: String,
        /// Digest or id of its image.
        image_id: String,
        /// When.
        at: Timestamp,
    },
    /// A container could not be created or started.
    StartFailed {
        /// Which.
        slot: usize,
        /// `ErrImagePull`, `CreateContainerConfigError`, ...
        reason: String,
        /// Why.
        message: String,
    },
    /// The postStart hook ended.
    Hooked {
        /// The runtime's id.
        id: String,
        /// Whether it succeeded.
        ok: bool,
    },
    /// A container's process ended. May come twice, and before `Started`.
    Exited {
        /// How. Without `started_at` and `image_id` where the teller does not know.
        exit: Exit,
    },
    /// A probe crossed its threshold.
    Probed {
        /// The runtime's id.
        id: String,
        /// Which probe.
        kind: ProbeKind,
        /// To which side.
        healthy: bool,
        /// Grace that the probe itself asks for.
        grace: Option<Duration>,
    },
    /// The node has answered what was asked for.
    Allocated {
        /// What was asked for.
        wanted: Vec<Amounts>,
        /// Why it is not given; None where it is.
        refusal: Option<Refusal>,
    },
    /// Cgroups were changed, or not.
    Resized {
        /// What the pod's cgroup is for now; None where it was not touched.
        cgroup: Option<Vec<Amounts>>,
        /// What containers have.
        read: Vec<ReadBack>,
        /// What went wrong.
        error: Option<String>,
    },
    /// Another pod has given something back to the node.
    Freed,
    /// All traces are gone from node and API.
    Removed,
}

/// What is found in the runtime for a pod when the daemon starts.
#[derive(Clone, Debug, Default)]
pub struct Adopted {
    /// The newest sandbox, if it is ready.
    pub sandbox: Option<SandboxInfo>,
    /// The highest attempt among all sandboxes.
    pub sandbox_attempt: Option<u32>,
    /// The newest container of each name.
    pub containers: Vec<AdoptedContainer>,
    /// `status.startTime` of the object.
    pub started_at: Option<Timestamp>,
    /// The object says that the pod has ended: nothing is to be started.
    pub finished: bool,
    /// What the node gave to containers by their names, where it may be something else than the spec asks for.
    pub given: HashMap<String, Amounts>,
    /// The pod's cgroup is not what it should be for that.
    pub unsettled: bool,
}

/// A container that is found in the runtime, or that only the API remembers.
#[derive(Clone, Debug)]
pub struct AdoptedContainer {
    /// Name in the spec.
    pub name: String,
    /// How often it was restarted.
    pub restarts: u32,
    /// Hash of the spec that it was made from.
    pub hash: String,
    /// The process runs.
    pub live: Option<Live>,
    /// The process has ended.
    pub exit: Option<Exit>,
    /// How the one before ended.
    pub last: Option<Exit>,
    /// What it has, if it runs.
    pub has: Option<Amounts>,
}

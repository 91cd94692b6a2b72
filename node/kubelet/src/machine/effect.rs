//! What the machine asks for. Each effect is answered by the event that its documentation names.

use std::time::Duration;

use super::{Amounts, ProbeKind};

/// Something is to be done. `slot` is the container's index in the shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Set up all volumes => `VolumesReady` or `VolumesFailed`.
    MountVolumes,
    /// Create a sandbox => `SandboxReady` or `SandboxFailed`.
    RunSandbox {
        /// Which try this is.
        attempt: u32,
    },
    /// Remove a sandbox that died => `SandboxReleased`.
    RemoveSandbox {
        /// The runtime's id.
        id: String,
    },
    /// Pull, create, start => `Created`, `Started` and, with a postStart hook, `Hooked`; or `StartFailed`.
    Start {
        /// Which container.
        slot: usize,
        /// How often it was restarted.
        restarts: u32,
    },
    /// preStop, stop signal, SIGKILL => `Exited`.
    Kill {
        /// Which container.
        slot: usize,
        /// The runtime's id.
        id: String,
        /// Time for preStop and the stop signal together.
        grace: Duration,
        /// Shown in the `Killing` event.
        message: String,
        /// The whole pod goes: wait until no new connections are sent to it.
        draining: bool,
        /// A kill with a longer grace is under way; the hooks have run.
        again: bool,
    },
    /// Begin a probe => `Probed`, whenever it crosses its threshold, until `StopProbes`.
    Probe {
        /// Which container.
        slot: usize,
        /// The runtime's id.
        id: String,
        /// Which probe.
        kind: ProbeKind,
    },
    /// End all probes of a container. Not answered.
    StopProbes {
        /// Which container.
        slot: usize,
    },
    /// The pod is on its way down: end probes that could restart a container, give up image pulls (which
    /// then answer `StartFailed`). Not answered.
    BeginStop,
    /// Remove a dead container that nothing shows any more. Not answered.
    RemoveContainer {
        /// The runtime's id.
        id: String,
    },
    /// Tell the user that a container is held back. Not answered.
    ReportBackOff {
        /// Which container.
        slot: usize,
        /// Being restarted, rather than having its image pulled.
        crashed: bool,
    },
    /// Ask the node for these amounts, one for each container => `Allocated`.
    Allocate {
        /// What is wanted.
        wanted: Vec<Amounts>,
    },
    /// Bring to these containers what they were given => `Resized`.
    Resize {
        /// What the pod's cgroup must have room for before.
        first: Vec<Amounts>,
        /// Which containers.
        slots: Vec<usize>,
        /// What the pod's cgroup is left with.
        last: Vec<Amounts>,
    },
    /// Stop the sandbox, releasing its network => `SandboxReleased`.
    Release,
    /// Remove every trace from the node, then, unless it vanished, the object from the API => `Removed`.
    Remove,
}

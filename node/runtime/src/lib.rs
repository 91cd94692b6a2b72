//! Containers over CRI, their events over containerd's own API, and a fake for tests.
//!
//! Owns the seam between the node and its container runtime: [`Runtime`] is what the kubelet may ask,
//! [`RuntimeEvent`] is what it is told. [`CriRuntime`] speaks to any CRI v1 socket; [`follow`] reads
//! containerd's event stream, because CRI before containerd 1.7 has none; [`fake::FakeRuntime`] keeps
//! CRI's rules in memory. Nothing here knows pods, restart policies or the Kubernetes API.
#![forbid(unsafe_code)]

mod cri;
mod error;
mod events;
pub mod fake;

pub use cri::CriRuntime;
pub use error::{Fault, RuntimeError};
pub use events::{RuntimeEvent, follow};
pub use keelson_cri::{keys, v1};

use std::time::Duration;

/// Answer of every call to the runtime.
pub type Result<T, E = RuntimeError> = std::result::Result<T, E>;

/// What a command in a container printed, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    /// Standard output, as far as the runtime kept it (containerd: 16 MiB).
    pub stdout: Vec<u8>,
    /// Standard error, likewise.
    pub stderr: Vec<u8>,
    /// Exit code of the command.
    pub exit_code: i32,
}

/// Which streams of a process an exec or attach asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// Data from the client.
    pub stdin: bool,
    /// Data to the client.
    pub stdout: bool,
    /// Never together with `tty`.
    pub stderr: bool,
    /// The process has a terminal.
    pub tty: bool,
}

/// The container runtime of a node: CRI v1 without its envelopes.
///
/// Every call is bounded in time by the implementation. `stop_*` and `remove_*` are idempotent: what
/// is not there counts as stopped and removed. Reads of what is not there fail with [`Fault::NotFound`].
#[async_trait::async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Name and version of the runtime.
    async fn version(&self) -> Result<v1::VersionResponse>;
    /// Conditions `RuntimeReady` and `NetworkReady`.
    async fn conditions(&self) -> Result<Vec<v1::RuntimeCondition>>;

    /// Creates and starts a sandbox by one of the runtime's handlers (empty: its usual one), network included; answers its id.
    async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String>;
    /// Kills what runs in the sandbox and releases its network.
    async fn stop_sandbox(&self, id: &str) -> Result<()>;
    /// Removes the sandbox and all its containers.
    async fn remove_sandbox(&self, id: &str) -> Result<()>;
    /// State and addresses of a sandbox.
    async fn sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus>;
    /// Sandboxes of all pods.
    async fn sandboxes(&self) -> Result<Vec<v1::PodSandbox>>;

    /// Makes a container in a sandbox; answers its id.
    async fn create_container(
        &self,
        sandbox: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String>;
    /// Starts a created container.
    async fn start_container(&self, id: &str) -> Result<()>;
    /// Stop signal now, SIGKILL after `grace`; answers when the process is gone.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()>;
    /// Removes a container, killing it if need be.
    async fn remove_container(&self, id: &str) -> Result<()>;
    /// Everything the runtime knows of one container.
    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus>;
    /// Changes the cgroup of a container; numbers that are zero stay as they are.
    async fn update_resources(&self, id: &str, resources: v1::LinuxContainerResources) -> Result<()>;
    /// Containers of all pods, also those that have ended.
    async fn containers(&self) -> Result<Vec<v1::Container>>;
    /// Lets the runtime open a fresh log file after the old one was renamed.
    async fn reopen_log(&self, id: &str) -> Result<()>;

    /// Runs a command to its end; `timeout` zero means no limit beyond the implementation's own.
    async fn exec_sync(&self, id: &str, command: &[String], timeout: Duration) -> Result<ExecOutput>;
    /// URL at which the runtime serves the streams of a new command.
    async fn exec_url(&self, id: &str, command: &[String], streams: Streams) -> Result<String>;
    /// URL at which the runtime serves the streams of the container's main process.
    async fn attach_url(&self, id: &str, streams: Streams) -> Result<String>;
    /// URL at which the runtime forwards to ports inside the sandbox.
    async fn port_forward_url(&self, sandbox: &str, ports: &[i32]) -> Result<String>;
    /// Usage of all running containers.
    async fn stats(&self) -> Result<Vec<v1::ContainerStats>>;

    /// The image, or `None` where it is not on the node.
    async fn image(&self, reference: &str) -> Result<Option<v1::Image>>;
    /// Fetches an image; answers its id or digest.
    async fn pull_image(
        &self,
        reference: &str,
        auth: Option<v1::AuthConfig>,
        sandbox: Option<v1::PodSandboxConfig>,
    ) -> Result<String>;
    /// All images on the node.
    async fn images(&self) -> Result<Vec<v1::Image>>;
    /// Removes an image.
    async fn remove_image(&self, reference: &str) -> Result<()>;
    /// Where images are kept and how much they take.
    async fn image_file_systems(&self) -> Result<Vec<v1::FilesystemUsage>>;
}

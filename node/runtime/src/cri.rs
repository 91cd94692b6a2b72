//! [`Runtime`] over a CRI v1 socket. Each call has a deadline; the connection is made on first use and
//! made again by itself when the runtime was restarted.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use v1::image_service_client::ImageServiceClient;
use v1::runtime_service_client::RuntimeServiceClient;

use crate::{ExecOutput, Fault, Result, Runtime, RuntimeError, Streams, v1};

/// Longest wait for a call that only reads or flips state.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest wait for a sandbox: CNI and, at first use, the pause image are in it (upstream: 4 minutes).
const SANDBOX_TIMEOUT: Duration = Duration::from_secs(240);
/// Longest pull. A registry that sends nothing for so long will not.
const PULL_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// How much longer than asked for a stop or an exec may take before the runtime counts as stuck.
const SLACK: Duration = Duration::from_secs(30);
/// Longest answer that is read; ExecSync alone may carry 16 MiB for each stream.
const MESSAGE_BYTES_MAX: usize = 36 << 20;

/// A client of one CRI socket. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct CriRuntime {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

/// A channel over a Unix socket that connects lazily and reconnects.
pub(crate) fn channel(socket: &Path) -> Channel {
    let socket: PathBuf = socket.to_owned();
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    }))
}

async fn bounded<T>(
    call: &'static str,
    limit: Duration,
    answer: impl Future<Output = std::result::Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(RuntimeError::from_status(call, &status)),
        Err(_) => Err(RuntimeError::new(
            call,
            Fault::Timeout,
            format!("the container runtime did not answer {call} within {} s", limit.as_secs()),
        )),
    }
}

fn gone_is_fine(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

fn missing(call: &'static str, what: &str) -> RuntimeError {
    RuntimeError::new(call, Fault::Runtime, format!("the container runtime answered {call} without {what}"))
}

fn image_spec(reference: &str) -> Option<v1::ImageSpec> {
    Some(v1::ImageSpec { image: reference.to_owned(), ..Default::default() })
}

impl CriRuntime {
    /// A client of the socket at `path`. Nothing is dialled until the first call.
    pub fn new(path: &Path) -> Self {
        let channel = channel(path);
        Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
        }
    }

    fn rt(&self) -> RuntimeServiceClient<Channel> {
        self.runtime.clone()
    }

    fn im(&self) -> ImageServiceClient<Channel> {
        self.images.clone()
    }
}

#[async_trait::async_trait]
impl Runtime for CriRuntime {
    async fn version(&self) -> Result<v1::VersionResponse> {
        let request = v1::VersionRequest { version: "v1".to_owned() };
        bounded("Version", CALL_TIMEOUT, self.rt().version(request)).await
    }

    async fn conditions(&self) -> Result<Vec<v1::RuntimeCondition>> {
        let answer = bounded("Status", CALL_TIMEOUT, self.rt().status(v1::StatusRequest::default())).await?;
        answer.status.map(|s| s.conditions).ok_or_else(|| missing("Status", "a status"))
    }

    async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String> {
        let request = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.to_owned() };
        let answer = bounded("RunPodSandbox", SANDBOX_TIMEOUT, self.rt().run_pod_sandbox(request)).await?;
        Ok(answer.pod_sandbox_id)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let request = v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let answer = bounded("StopPodSandbox", CALL_TIMEOUT, self.rt().stop_pod_sandbox(request)).await;
        gone_is_fine(answer.map(drop))
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let request = v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let answer = bounded("RemovePodSandbox", CALL_TIMEOUT, self.rt().remove_pod_sandbox(request)).await;
        gone_is_fine(answer.map(drop))
    }

    async fn sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus> {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let answer = bounded("PodSandboxStatus", CALL_TIMEOUT, self.rt().pod_sandbox_status(request)).await?;
        answer.status.ok_or_else(|| missing("PodSandboxStatus", "a status"))
    }

    async fn sandboxes(&self) -> Result<Vec<v1::PodSandbox>> {
        let request = v1::ListPodSandboxRequest::default();
        Ok(bounded("ListPodSandbox", CALL_TIMEOUT, self.rt().list_pod_sandbox(request)).await?.items)
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String> {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let answer = bounded("CreateContainer", CALL_TIMEOUT, self.rt().create_container(request)).await?;
        Ok(answer.container_id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let request = v1::StartContainerRequest { container_id: id.to_owned() };
        bounded("StartContainer", CALL_TIMEOUT, self.rt().start_container(request)).await.map(drop)
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        // Whole seconds, rounded up: a grace of 300 ms is not "kill at once".
        let timeout = i64::try_from(grace.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
        let request = v1::StopContainerRequest { container_id: id.to_owned(), timeout };
        let limit = grace.saturating_add(SLACK);
        gone_is_fine(bounded("StopContainer", limit, self.rt().stop_container(request)).await.map(drop))
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let request = v1::RemoveContainerRequest { container_id: id.to_owned() };
        let answer = bounded("RemoveContainer", CALL_TIMEOUT, self.rt().remove_container(request)).await;
        gone_is_fine(answer.map(drop))
    }

    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus> {
        let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let answer = bounded("ContainerStatus", CALL_TIMEOUT, self.rt().container_status(request)).await?;
        answer.status.ok_or_else(|| missing("ContainerStatus", "a status"))
    }

    async fn update_resources(&self, id: &str, resources: v1::LinuxContainerResources) -> Result<()> {
        let request = v1::UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(resources),
            annotations: Default::default(),
        };
        const CALL: &str = "UpdateContainerResources";
        bounded(CALL, CALL_TIMEOUT, self.rt().update_container_resources(request)).await.map(drop)
    }

    async fn containers(&self) -> Result<Vec<v1::Container>> {
        let request = v1::ListContainersRequest::default();
        Ok(bounded("ListContainers", CALL_TIMEOUT, self.rt().list_containers(request)).await?.containers)
    }

    async fn reopen_log(&self, id: &str) -> Result<()> {
        let request = v1::ReopenContainerLogRequest { container_id: id.to_owned() };
        bounded("ReopenContainerLog", CALL_TIMEOUT, self.rt().reopen_container_log(request)).await.map(drop)
    }

    async fn exec_sync(&self, id: &str, command: &[String], timeout: Duration) -> Result<ExecOutput> {
        let seconds = i64::try_from(timeout.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
        let request =
            v1::ExecSyncRequest { container_id: id.to_owned(), cmd: command.to_vec(), timeout: seconds };
        let limit = if timeout.is_zero() { CALL_TIMEOUT } else { timeout.saturating_add(SLACK) };
        let answer = bounded("ExecSync", limit, self.rt().exec_sync(request)).await?;
        Ok(ExecOutput { stdout: answer.stdout, stderr: answer.stderr, exit_code: answer.exit_code })
    }

    async fn exec_url(&self, id: &str, command: &[String], streams: Streams) -> Result<String> {
        let request = v1::ExecRequest {
            container_id: id.to_owned(),
            cmd: command.to_vec(),
            tty: streams.tty,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
        };
        Ok(bounded("Exec", CALL_TIMEOUT, self.rt().exec(request)).await?.url)
    }

    async fn attach_url(&self, id: &str, streams: Streams) -> Result<String> {
        let request = v1::AttachRequest {
            container_id: id.to_owned(),
            stdin: streams.stdin,
            tty: streams.tty,
            stdout: streams.stdout,
            stderr: streams.stderr,
        };
        Ok(bounded("Attach", CALL_TIMEOUT, self.rt().attach(request)).await?.url)
    }

    async fn port_forward_url(&self, sandbox: &str, ports: &[i32]) -> Result<String> {
        let request = v1::PortForwardRequest { pod_sandbox_id: sandbox.to_owned(), port: ports.to_vec() };
        Ok(bounded("PortForward", CALL_TIMEOUT, self.rt().port_forward(request)).await?.url)
    }

    async fn stats(&self) -> Result<Vec<v1::ContainerStats>> {
        let request = v1::ListContainerStatsRequest::default();
        Ok(bounded("ListContainerStats", CALL_TIMEOUT, self.rt().list_container_stats(request)).await?.stats)
    }

    async fn image(&self, reference: &str) -> Result<Option<v1::Image>> {
        let request = v1::ImageStatusRequest { image: image_spec(reference), verbose: false };
        Ok(bounded("ImageStatus", CALL_TIMEOUT, self.im().image_status(request)).await?.image)
    }

    async fn pull_image(
        &self,
        reference: &str,
        auth: Option<v1::AuthConfig>,
        sandbox: Option<v1::PodSandboxConfig>,
    ) -> Result<String> {
        let request = v1::PullImageRequest { image: image_spec(reference), auth, sandbox_config: sandbox };
        Ok(bounded("PullImage", PULL_TIMEOUT, self.im().pull_image(request)).await?.image_ref)
    }

    async fn images(&self) -> Result<Vec<v1::Image>> {
        let request = v1::ListImagesRequest::default();
        Ok(bounded("ListImages", CALL_TIMEOUT, self.im().list_images(request)).await?.images)
    }

    async fn remove_image(&self, reference: &str) -> Result<()> {
        let request = v1::RemoveImageRequest { image: image_spec(reference) };
        gone_is_fine(bounded("RemoveImage", CALL_TIMEOUT, self.im().remove_image(request)).await.map(drop))
    }

    async fn image_file_systems(&self) -> Result<Vec<v1::FilesystemUsage>> {
        let request = v1::ImageFsInfoRequest {};
        Ok(bounded("ImageFsInfo", CALL_TIMEOUT, self.im().image_fs_info(request)).await?.image_filesystems)
    }
}

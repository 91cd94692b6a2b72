//! [`FakeRuntime`]: CRI's rules kept in memory, for tests. Strict where a lax fake would hide bugs: a
//! container needs a ready sandbox and a present image, (name, attempt) is unique, only a created
//! container starts, only a running one execs, reads of what is gone fail with NotFound.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::{ExecOutput, Fault, Result, Runtime, RuntimeError, RuntimeEvent, Streams, v1};

/// Events that wait for a reader at most; a test that leaves more unread is wrong.
const EVENTS_MAX: usize = 1024;

/// What the fake keeps; a test may look into and change it.
#[derive(Debug, Default)]
pub struct World {
    /// Sandboxes by id.
    pub sandboxes: BTreeMap<String, v1::PodSandbox>,
    /// Containers by id.
    pub containers: BTreeMap<String, v1::ContainerStatus>,
    /// Configurations that containers were created with, by id.
    pub configs: BTreeMap<String, v1::ContainerConfig>,
    /// Sandbox of each container.
    pub sandbox_of: BTreeMap<String, String>,
    /// Images on the node.
    pub images: BTreeSet<String>,
    /// Images that can be pulled.
    pub registry: BTreeSet<String>,
    /// User and password without which the registry does not give an image out.
    pub private: BTreeMap<String, (String, String)>,
    /// Answer of the next execs, the first first; then exit code 0.
    pub execs: Vec<ExecOutput>,
    /// Calls in order, such as `StartContainer web`.
    pub calls: Vec<String>,
    /// Handlers beside the usual one, which has no name.
    pub handlers: BTreeSet<String>,
    /// Containers that ignore the stop signal.
    pub stubborn: BTreeSet<String>,
    next: u64,
}

/// A container runtime in memory.
pub struct FakeRuntime {
    /// Its state.
    pub world: Mutex<World>,
    events: Mutex<mpsc::Sender<RuntimeEvent>>,
}

fn nanos() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn not_found(call: &'static str, what: &str, id: &str) -> RuntimeError {
    RuntimeError::new(call, Fault::NotFound, format!("{what} \"{id}\" not found"))
}

fn refused(call: &'static str, message: String) -> RuntimeError {
    RuntimeError::new(call, Fault::Runtime, message)
}

fn name_of(status: &v1::ContainerStatus) -> String {
    status.metadata.as_ref().map(|m| m.name.clone()).unwrap_or_default()
}

impl FakeRuntime {
    /// An empty runtime with these images, and its event stream.
    pub fn new(images: &[&str]) -> (Self, mpsc::Receiver<RuntimeEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let images = images.iter().map(|image| (*image).to_owned()).collect();
        (
            Self { world: Mutex::new(World { images, ..World::default() }), events: Mutex::new(events) },
            receiver,
        )
    }

    /// A new event stream in place of the one before.
    pub fn subscribe(&self) -> mpsc::Receiver<RuntimeEvent> {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        *self.events.lock() = events;
        receiver
    }

    /// Ends a container's process, as if by itself. Unknown or not running: panics, the test is wrong.
    pub fn exit(&self, id: &str, code: i32) {
        assert!(self.end(id, code), "container {id} does not run");
    }

    /// Id of the running container with this name.
    pub fn running(&self, name: &str) -> Option<String> {
        let world = self.world.lock();
        let running = v1::ContainerState::ContainerRunning;
        world.containers.values().find(|c| name_of(c) == name && c.state() == running).map(|c| c.id.clone())
    }

    fn end(&self, id: &str, code: i32) -> bool {
        let mut world = self.world.lock();
        let Some(status) = world.containers.get_mut(id) else { return false };
        if status.state() != v1::ContainerState::ContainerRunning {
            return false;
        }
        status.set_state(v1::ContainerState::ContainerExited);
        status.finished_at = nanos();
        status.exit_code = code;
        status.reason = if code == 0 { "Completed" } else { "Error" }.to_owned();
        let event = RuntimeEvent::Exited { id: id.to_owned(), code, at: SystemTime::now() };
        self.events.lock().try_send(event).expect("the test reads its events");
        true
    }

    fn call(&self, text: String) {
        self.world.lock().calls.push(text);
    }
}

#[async_trait::async_trait]
impl Runtime for FakeRuntime {
    async fn version(&self) -> Result<v1::VersionResponse> {
        Ok(v1::VersionResponse {
            version: "0.1.0".into(),
            runtime_name: "fake".into(),
            runtime_version: "1.0.0".into(),
            runtime_api_version: "v1".into(),
        })
    }

    async fn conditions(&self) -> Result<Vec<v1::RuntimeCondition>> {
        let condition =
            |kind: &str| v1::RuntimeCondition { r#type: kind.into(), status: true, ..Default::default() };
        Ok(vec![condition("RuntimeReady"), condition("NetworkReady")])
    }

    async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String> {
        let mut world = self.world.lock();
        let metadata = config.metadata.unwrap_or_default();
        let by = if handler.is_empty() { String::new() } else { format!(" by {handler}") };
        world.calls.push(format!("RunPodSandbox {} {}{by}", metadata.name, metadata.attempt));
        if !handler.is_empty() && !world.handlers.contains(handler) {
            return Err(refused("RunPodSandbox", format!("no runtime for \"{handler}\" is configured")));
        }
        if world.sandboxes.values().any(|s| s.metadata.as_ref() == Some(&metadata)) {
            return Err(refused("RunPodSandbox", format!("name {} is reserved", metadata.name)));
        }
        world.next += 1;
        let id = format!("sandbox-{}", world.next);
        let sandbox = v1::PodSandbox {
            id: id.clone(),
            metadata: Some(metadata),
            state: v1::PodSandboxState::SandboxReady.into(),
            created_at: nanos(),
            labels: config.labels,
            annotations: config.annotations,
        };
        world.sandboxes.insert(id.clone(), sandbox);
        Ok(id)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        self.call(format!("StopPodSandbox {id}"));
        let inside: Vec<String> = {
            let mut world = self.world.lock();
            let Some(sandbox) = world.sandboxes.get_mut(id) else { return Ok(()) };
            sandbox.set_state(v1::PodSandboxState::SandboxNotready);
            world.sandbox_of.iter().filter(|(_, s)| *s == id).map(|(c, _)| c.clone()).collect()
        };
        for container in inside {
            self.end(&container, 137);
        }
        Ok(())
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        self.stop_sandbox(id).await?;
        let mut world = self.world.lock();
        world.calls.push(format!("RemovePodSandbox {id}"));
        world.sandboxes.remove(id);
        let inside: Vec<String> =
            world.sandbox_of.iter().filter(|(_, s)| *s == id).map(|(c, _)| c.clone()).collect();
        for container in inside {
            world.containers.remove(&container);
            world.sandbox_of.remove(&container);
        }
        Ok(())
    }

    async fn sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus> {
        let world = self.world.lock();
        let sandbox = world.sandboxes.get(id).ok_or_else(|| not_found("PodSandboxStatus", "sandbox", id))?;
        Ok(v1::PodSandboxStatus {
            id: id.to_owned(),
            metadata: sandbox.metadata.clone(),
            state: sandbox.state,
            created_at: sandbox.created_at,
            network: Some(v1::PodSandboxNetworkStatus {
                ip: "10.244.0.9".into(),
                additional_ips: Vec::new(),
            }),
            labels: sandbox.labels.clone(),
            annotations: sandbox.annotations.clone(),
        })
    }

    async fn sandboxes(&self) -> Result<Vec<v1::PodSandbox>> {
        Ok(self.world.lock().sandboxes.values().cloned().collect())
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: v1::ContainerConfig,
        _sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String> {
        let call = "CreateContainer";
        let mut world = self.world.lock();
        let metadata = config.metadata.clone().unwrap_or_default();
        world.calls.push(format!("{call} {} {}", metadata.name, metadata.attempt));
        let ready = world.sandboxes.get(sandbox).ok_or_else(|| not_found(call, "sandbox", sandbox))?.state();
        if ready != v1::PodSandboxState::SandboxReady {
            return Err(refused(call, format!("sandbox {sandbox} is not ready")));
        }
        let image = config.image.as_ref().map(|i| i.image.clone()).unwrap_or_default();
        if !world.images.contains(&image) {
            return Err(not_found(call, "image", &image));
        }
        let taken = |(id, status): (&String, &v1::ContainerStatus)| {
            status.metadata.as_ref() == Some(&metadata)
                && world.sandbox_of.get(id).is_some_and(|s| s == sandbox)
        };
        if world.containers.iter().any(taken) {
            return Err(refused(call, format!("container name {} is reserved", metadata.name)));
        }
        world.next += 1;
        let id = format!("container-{}", world.next);
        let status = v1::ContainerStatus {
            id: id.clone(),
            metadata: Some(metadata),
            state: v1::ContainerState::ContainerCreated.into(),
            created_at: nanos(),
            image: config.image.clone(),
            image_ref: format!("sha256:{image}"),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            resources: Some(v1::ContainerResources {
                linux: config.linux.as_ref().and_then(|linux| linux.resources.clone()),
            }),
            ..Default::default()
        };
        world.containers.insert(id.clone(), status);
        world.sandbox_of.insert(id.clone(), sandbox.to_owned());
        world.configs.insert(id.clone(), config);
        Ok(id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let mut world = self.world.lock();
        let status =
            world.containers.get_mut(id).ok_or_else(|| not_found("StartContainer", "container", id))?;
        if status.state() != v1::ContainerState::ContainerCreated {
            return Err(refused("StartContainer", format!("container {id} is not in created state")));
        }
        status.set_state(v1::ContainerState::ContainerRunning);
        status.started_at = nanos();
        let name = name_of(status);
        world.calls.push(format!("StartContainer {name}"));
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let stubborn = {
            let mut world = self.world.lock();
            let Some(name) = world.containers.get(id).map(name_of) else { return Ok(()) };
            world.calls.push(format!("StopContainer {name} {}", grace.as_millis().div_ceil(1000)));
            world.stubborn.contains(&name)
        };
        if stubborn {
            tokio::time::sleep(grace).await;
        }
        self.end(id, if stubborn || grace.is_zero() { 137 } else { 0 });
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let mut world = self.world.lock();
        world.calls.push(format!("RemoveContainer {id}"));
        world.containers.remove(id);
        world.sandbox_of.remove(id);
        Ok(())
    }

    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus> {
        let world = self.world.lock();
        world.containers.get(id).cloned().ok_or_else(|| not_found("ContainerStatus", "container", id))
    }

    async fn update_resources(&self, id: &str, resources: v1::LinuxContainerResources) -> Result<()> {
        const CALL: &str = "UpdateContainerResources";
        let mut world = self.world.lock();
        let status = world.containers.get_mut(id).ok_or_else(|| not_found(CALL, "container", id))?;
        if status.state() == v1::ContainerState::ContainerExited {
            return Err(refused(CALL, format!("container {id} is in exited state")));
        }
        let name = name_of(status);
        let linux = status.resources.get_or_insert_default().linux.get_or_insert_default();
        for (number, new) in [
            (&mut linux.cpu_shares, resources.cpu_shares),
            (&mut linux.cpu_quota, resources.cpu_quota),
            (&mut linux.memory_limit_in_bytes, resources.memory_limit_in_bytes),
        ] {
            if new != 0 {
                *number = new;
            }
        }
        world.calls.push(format!(
            "{CALL} {name} {} {} {}",
            resources.cpu_shares, resources.cpu_quota, resources.memory_limit_in_bytes
        ));
        Ok(())
    }

    async fn containers(&self) -> Result<Vec<v1::Container>> {
        let world = self.world.lock();
        let containers = world.containers.values().map(|status| v1::Container {
            id: status.id.clone(),
            pod_sandbox_id: world.sandbox_of.get(&status.id).cloned().unwrap_or_default(),
            metadata: status.metadata.clone(),
            image: status.image.clone(),
            image_ref: status.image_ref.clone(),
            state: status.state,
            created_at: status.created_at,
            labels: status.labels.clone(),
            annotations: status.annotations.clone(),
        });
        Ok(containers.collect())
    }

    async fn reopen_log(&self, id: &str) -> Result<()> {
        self.container_status(id).await.map(drop)
    }

    async fn exec_sync(&self, id: &str, command: &[String], _timeout: Duration) -> Result<ExecOutput> {
        let status = self.container_status(id).await?;
        if status.state() != v1::ContainerState::ContainerRunning {
            return Err(refused("ExecSync", format!("container {id} is not in running state")));
        }
        let mut world = self.world.lock();
        world.calls.push(format!("ExecSync {} {}", name_of(&status), command.join(" ")));
        if world.execs.is_empty() { Ok(ExecOutput::default()) } else { Ok(world.execs.remove(0)) }
    }

    async fn exec_url(&self, id: &str, _command: &[String], _streams: Streams) -> Result<String> {
        self.container_status(id).await.map(|_| format!("http://127.0.0.1:0/exec/{id}"))
    }

    async fn attach_url(&self, id: &str, _streams: Streams) -> Result<String> {
        self.container_status(id).await.map(|_| format!("http://127.0.0.1:0/attach/{id}"))
    }

    async fn port_forward_url(&self, sandbox: &str, _ports: &[i32]) -> Result<String> {
        self.sandbox_status(sandbox).await.map(|_| format!("http://127.0.0.1:0/portforward/{sandbox}"))
    }

    async fn stats(&self) -> Result<Vec<v1::ContainerStats>> {
        Ok(Vec::new())
    }

    async fn image(&self, reference: &str) -> Result<Option<v1::Image>> {
        let present = self.world.lock().images.contains(reference);
        Ok(present.then(|| v1::Image { id: format!("sha256:{reference}"), size: 1, ..Default::default() }))
    }

    async fn pull_image(
        &self,
        reference: &str,
        auth: Option<v1::AuthConfig>,
        _sandbox: Option<v1::PodSandboxConfig>,
    ) -> Result<String> {
        let mut world = self.world.lock();
        let auth = auth.unwrap_or_default();
        world.calls.push(format!("PullImage {reference} {}", auth.username).trim_end().to_owned());
        if !world.registry.contains(reference) {
            return Err(not_found("PullImage", "image", reference));
        }
        // As containerd: credentials for another address than the registry's, or for none that is a URL, are not used.
        let used = auth.server_address.is_empty();
        let given = if used { (auth.username, auth.password) } else { Default::default() };
        if world.private.get(reference).is_some_and(|wanted| *wanted != given) {
            return Err(refused("PullImage", format!("401 Unauthorized: {reference} for {:?}", given.0)));
        }
        // By its name and by its id.
        world.images.extend([reference.to_owned(), format!("sha256:{reference}")]);
        Ok(format!("sha256:{reference}"))
    }

    async fn images(&self) -> Result<Vec<v1::Image>> {
        let world = self.world.lock();
        let image = |name: &String| v1::Image { id: format!("sha256:{name}"), ..Default::default() };
        Ok(world.images.iter().map(image).collect())
    }

    async fn remove_image(&self, reference: &str) -> Result<()> {
        self.world.lock().images.remove(reference);
        Ok(())
    }

    async fn image_file_systems(&self) -> Result<Vec<v1::FilesystemUsage>> {
        Ok(Vec::new())
    }
}

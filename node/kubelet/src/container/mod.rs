//! From a container's spec to what the runtime is asked for. `env` and `mounts` read what they refer to;
//! everything else is a pure function of the pod, tested as tables.

mod command;
mod env;
pub(crate) mod fields;
mod mounts;
pub(crate) mod resources;
mod security;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use keelson_runtime::{keys, v1};

use crate::config::Config;
use crate::context::Context;
use crate::machine::shape::hash_of;
use crate::pod::Stored;
use crate::sandbox::labels;

pub(crate) use fields::PodFacts;
pub(crate) use security::{groups, namespaces, seccomp};

/// Where a container cannot be configured, and why. `Display` is shown as the container's waiting message.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ConfigError {
    /// Reason of the waiting state.
    pub reason: &'static str,
    /// What is wrong.
    pub message: String,
}

impl ConfigError {
    /// Something that the spec refers to is missing or wrong.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self { reason: "CreateContainerConfigError", message: message.into() }
    }
}

/// What is known when a container is about to be created.
pub(crate) struct Inputs<'a> {
    /// The kubelet.
    pub ctx: &'a Context,
    /// The pod.
    pub stored: &'a Stored,
    /// Its spec, read once.
    pub spec: &'a PodSpec,
    /// The container.
    pub container: &'a Container,
    /// What `fieldRef` can name.
    pub facts: &'a PodFacts,
    /// How often it was restarted.
    pub restarts: u32,
    /// The image, as the runtime found it.
    pub image: &'a v1::Image,
    /// The container whose processes it sees, by its id in the runtime.
    pub target: Option<&'a str>,
}

/// The whole configuration. Reads ConfigMaps, Secrets and Services as the environment refers to them.
pub(crate) async fn container_config(input: &Inputs<'_>) -> Result<v1::ContainerConfig, ConfigError> {
    let container = input.container;
    security::verify_non_root(input.spec, container, input.image)?;
    let env = env::environment(input).await?;
    let mounts = mounts::mounts(input, &env)?;
    let lookup: BTreeMap<&str, &str> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let expanded = |list: &Option<Vec<String>>| {
        list.iter().flatten().map(|text| command::expand(text, &lookup)).collect::<Vec<_>>()
    };
    let uid = &input.stored.uid;
    let file = input.ctx.config.termination_file(uid, &container.name, input.restarts);
    let mut labels = labels(input.stored);
    labels.insert(keys::CONTAINER_NAME.to_owned(), container.name.clone());
    let image = container.image.clone().unwrap_or_default();
    let annotations = [
        (keys::RESTART_COUNT, input.restarts.to_string()),
        (keys::CONTAINER_HASH, hash_of(&container.name, &image)),
        (keys::TERMINATION_MESSAGE_PATH, file.display().to_string()),
        (keys::TERMINATION_MESSAGE_POLICY, container.termination_message_policy.clone().unwrap_or_default()),
    ];
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: container.name.clone(), attempt: input.restarts }),
        image: Some(v1::ImageSpec {
            image: input.image.id.clone(),
            user_specified_image: image,
            ..Default::default()
        }),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: env.into_iter().map(|(key, value)| v1::KeyValue { key, value }).collect(),
        mounts,
        labels: labels.into_iter().collect(),
        annotations: annotations.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        log_path: Config::log_path(&container.name, input.restarts),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(resources::linux_resources(
                &fields::requirements(container.resources.as_ref()),
                input.stored.qos,
                input.ctx.capacity.memory_bytes,
            )),
            security_context: Some(security::security_context(
                &input.ctx.config,
                input.spec,
                container,
                input.target,
            )),
        }),
        devices: Vec::new(),
    })
}

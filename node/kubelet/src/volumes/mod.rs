//! A pod's volumes: where they are on the host, setting them up, keeping them fresh, taking them down.
//! One file a type of volume; what is of another type is refused by its name.

mod atomic;
mod empty_dir;
mod files;
mod host_path;
mod ownership;
mod token;

use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{PodSpec, Volume};

use crate::config::Config;
use crate::container::PodFacts;
use crate::context::Context;
use crate::pod::Stored;

pub(crate) use token::Tokens;

/// Why a volume is not there. `Display` is what the FailedMount event says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    /// An object that it refers to is missing or cannot be read, or a field is wrong.
    #[error("{0}")]
    Source(String),
    /// A file could not be made.
    #[error("{what}: {source}")]
    Io {
        /// What we were doing.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl VolumeError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Everything that setting up a volume reads.
pub(crate) struct Setting<'a> {
    /// The kubelet.
    pub ctx: &'a Context,
    /// The pod.
    pub stored: &'a Stored,
    /// Its spec, read once.
    pub spec: &'a PodSpec,
    /// What the downward API can name.
    pub facts: &'a PodFacts,
}

const EMPTY_DIR: &str = "kubernetes.io~empty-dir";
const CONFIG_MAP: &str = "kubernetes.io~configmap";
const SECRET: &str = "kubernetes.io~secret";
const PROJECTED: &str = "kubernetes.io~projected";
const DOWNWARD: &str = "kubernetes.io~downward-api";

/// Where the volume is on the host. `None`: a type that is not supported.
pub(crate) fn host_path(config: &Config, uid: &str, volume: &Volume) -> Option<PathBuf> {
    if let Some(source) = &volume.host_path {
        return Some(PathBuf::from(&source.path));
    }
    Some(config.volume_dir(uid, plugin(volume)?, &volume.name))
}

fn plugin(volume: &Volume) -> Option<&'static str> {
    if volume.empty_dir.is_some() {
        Some(EMPTY_DIR)
    } else if volume.config_map.is_some() {
        Some(CONFIG_MAP)
    } else if volume.secret.is_some() {
        Some(SECRET)
    } else if volume.projected.is_some() {
        Some(PROJECTED)
    } else if volume.downward_api.is_some() {
        Some(DOWNWARD)
    } else {
        None
    }
}

/// Whether this node can set the volume up.
pub(crate) fn is_supported(volume: &Volume) -> bool {
    volume.host_path.is_some() || plugin(volume).is_some()
}

/// Volumes whose content is the API's are never written by containers.
pub(crate) fn is_read_only(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.projected.is_some()
        || volume.downward_api.is_some()
}

/// Whether the content of any volume can change while the pod runs.
pub(crate) fn any_refreshed(spec: &PodSpec) -> bool {
    spec.volumes.iter().flatten().any(is_read_only)
}

/// Sets up every volume, or brings its content up to date. Reports what fails as FailedMount.
pub(crate) async fn set_up(setting: &Setting<'_>) -> Result<(), VolumeError> {
    let dir = setting.ctx.config.pod_dir(&setting.stored.uid);
    std::fs::create_dir_all(&dir).map_err(VolumeError::io(format!("cannot create {}", dir.display())))?;
    let volumes: Vec<&Volume> = setting.spec.volumes.iter().flatten().collect();
    let results = futures::future::join_all(volumes.iter().map(|volume| one(setting, volume))).await;
    let mut outcome = Ok(());
    for (volume, result) in volumes.into_iter().zip(results) {
        if let Err(error) = result {
            let text = format!("MountVolume.SetUp failed for volume \"{}\" : {error}", volume.name);
            setting.ctx.recorder.warning(setting.stored.reference(None), "FailedMount", text);
            outcome = Err(error);
        }
    }
    outcome
}

async fn one(setting: &Setting<'_>, volume: &Volume) -> Result<(), VolumeError> {
    if let Some(source) = &volume.host_path {
        return host_path::set_up(source);
    }
    let Some(plugin) = plugin(volume) else {
        return Err(VolumeError::Source(format!("volume type {} is not supported yet", type_name(volume))));
    };
    let dir = setting.ctx.config.volume_dir(&setting.stored.uid, plugin, &volume.name);
    std::fs::create_dir_all(&dir).map_err(VolumeError::io(format!("cannot create {}", dir.display())))?;
    let group = setting.spec.security_context.as_ref().and_then(|context| context.fs_group);
    match &volume.empty_dir {
        Some(source) => {
            let on_mismatch =
                setting.spec.security_context.as_ref().is_some_and(|context| {
                    context.fs_group_change_policy.as_deref() == Some("OnRootMismatch")
                });
            empty_dir::set_up(setting.ctx, source, &dir)?;
            ownership::give_to_group(&dir, group, on_mismatch)
        }
        None => {
            let files = files::collect(setting, volume).await?;
            atomic::write(&dir, &files, group)
                .map_err(VolumeError::io(format!("cannot write {}", dir.display())))
        }
    }
}

/// Removes the pod's folder with everything that is mounted in it.
pub(crate) fn tear_down(ctx: &Context, uid: &str) -> io::Result<()> {
    let dir = ctx.config.pod_dir(uid);
    for point in ctx.mounts.below(&dir)? {
        ctx.mounts.unmount(&point)?;
    }
    remove_dir(&dir)
}

fn remove_dir(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The field that is set, for telling what is not supported.
pub(crate) fn type_name(volume: &Volume) -> String {
    let fields = serde_json::to_value(volume).expect("a volume is JSON");
    let names = fields.as_object().into_iter().flatten().map(|(key, _)| key.clone());
    names.filter(|key| key != "name").collect::<Vec<_>>().join(", ")
}

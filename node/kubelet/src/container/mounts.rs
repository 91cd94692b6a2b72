//! Which host paths a container sees: its volumes, /etc/hosts, and the termination message file.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::VolumeMount;
use keelson_runtime::v1;

use super::command::expand;
use super::{ConfigError, Inputs};
use crate::volumes;

/// Upstream's default of `terminationMessagePath`.
const TERMINATION_PATH_DEFAULT: &str = "/dev/termination-log";
/// Where the pod's hosts file appears unless a volume does.
const HOSTS_PATH: &str = "/etc/hosts";

/// All mounts, in the order of the spec. Creates what is missing on the host side.
pub(super) fn mounts(input: &Inputs<'_>, env: &[(String, String)]) -> Result<Vec<v1::Mount>, ConfigError> {
    let mut mounts = Vec::new();
    for (index, mount) in input.container.volume_mounts.iter().flatten().enumerate() {
        mounts.push(volume_mount(input, env, index, mount)?);
    }
    if !mounts.iter().any(|mount| mount.container_path == HOSTS_PATH) {
        let file = input.ctx.config.hosts_file(&input.stored.uid);
        let hosts = crate::sandbox::hosts_file(&input.ctx.config, input.spec, input.facts)
            .map_err(|e| failed("read", Path::new("/etc/hosts"), &e))?;
        fs::write(&file, hosts).map_err(|e| failed("write", &file, &e))?;
        mounts.push(bind(HOSTS_PATH, &file, false));
    }
    let path = input.container.termination_message_path.as_deref().unwrap_or(TERMINATION_PATH_DEFAULT);
    let file = input.ctx.config.termination_file(&input.stored.uid, &input.container.name, input.restarts);
    create_writable(&file).map_err(|e| failed("create", &file, &e))?;
    mounts.push(bind(path, &file, false));
    Ok(mounts)
}

fn bind(container_path: &str, host_path: &Path, readonly: bool) -> v1::Mount {
    v1::Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.display().to_string(),
        readonly,
        ..Default::default()
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> ConfigError {
    ConfigError::config(format!("cannot {what} {}: {error}", path.display()))
}

/// The message file can be written by whatever user the container runs as.
fn create_writable(file: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::File::create(file)?.set_permissions(fs::Permissions::from_mode(0o666))
}

fn volume_mount(
    input: &Inputs<'_>,
    env: &[(String, String)],
    index: usize,
    mount: &VolumeMount,
) -> Result<v1::Mount, ConfigError> {
    let volume =
        input.spec.volumes.iter().flatten().find(|volume| volume.name == mount.name).ok_or_else(|| {
            ConfigError::config(format!("volumeMount \"{}\" names no volume of the pod", mount.name))
        })?;
    if mount.recursive_read_only.as_deref() == Some("Enabled") {
        return Err(ConfigError::config(format!(
            "volumeMount \"{}\": recursiveReadOnly Enabled is not supported yet",
            mount.name
        )));
    }
    let source = volumes::host_path(&input.ctx.config, &input.stored.uid, volume).ok_or_else(|| {
        ConfigError::config(format!("volume \"{}\" is of a type that is not supported yet", volume.name))
    })?;
    let relative = match (&mount.sub_path, &mount.sub_path_expr) {
        (_, Some(text)) if !text.is_empty() => Some(expanded(text, env)?),
        (Some(text), _) if !text.is_empty() => Some(text.clone()),
        _ => None,
    };
    let host_path = match relative {
        None => source,
        Some(relative) => sub_path(input, index, mount, &source, Path::new(&relative))?,
    };
    let target = if mount.mount_path.starts_with('/') {
        mount.mount_path.clone()
    } else {
        format!("/{}", mount.mount_path)
    };
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
        _ => v1::MountPropagation::PropagationPrivate,
    };
    let readonly = mount.read_only == Some(true) || volumes::is_read_only(volume);
    Ok(v1::Mount { propagation: propagation.into(), ..bind(&target, &host_path, readonly) })
}

fn expanded(text: &str, env: &[(String, String)]) -> Result<String, ConfigError> {
    let lookup: BTreeMap<&str, &str> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let out = expand(text, &lookup);
    if out.contains("$(") {
        return Err(ConfigError::config(format!("missing value for \"{text}\"")));
    }
    Ok(out)
}

/// Binds a path inside a volume to a place of ours, resolved so that no link in the volume leads outside.
fn sub_path(
    input: &Inputs<'_>,
    index: usize,
    mount: &VolumeMount,
    volume: &Path,
    relative: &Path,
) -> Result<PathBuf, ConfigError> {
    let normal = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !normal {
        return Err(ConfigError::config(format!(
            "subPath \"{}\" of volumeMount \"{}\" must be relative and without \"..\"",
            relative.display(),
            mount.name
        )));
    }
    let error = |e: io::Error| {
        ConfigError::config(format!(
            "failed to prepare subPath for volumeMount \"{}\" of container \"{}\": {e}",
            mount.name, input.container.name
        ))
    };
    let inside = volume.join(relative);
    if fs::symlink_metadata(&inside).is_err() {
        create_inside(volume, &inside).map_err(error)?;
    }
    let is_dir = fs::metadata(&inside).map_err(error)?.is_dir();
    let base = input.ctx.config.pod_dir(&input.stored.uid).join("volume-subpaths");
    let target = base.join(&mount.name).join(&input.container.name).join(index.to_string());
    input.ctx.mounts.unmount(&target).map_err(error)?;
    if is_dir {
        fs::create_dir_all(&target).map_err(error)?;
    } else {
        fs::create_dir_all(target.parent().unwrap_or(&base)).map_err(error)?;
        fs::File::create(&target).map_err(error)?;
    }
    input.ctx.mounts.bind_beneath(volume, relative, &target).map_err(error)?;
    Ok(target)
}

/// Makes missing folders, unless a link on the way leads out of the volume.
fn create_inside(volume: &Path, inside: &Path) -> io::Result<()> {
    let volume = volume.canonicalize()?;
    let existing = inside.ancestors().find(|path| fs::symlink_metadata(path).is_ok()).unwrap_or(inside);
    if !existing.canonicalize()?.starts_with(&volume) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the path leads outside of the volume"));
    }
    fs::create_dir_all(inside)
}

//! What files a `configMap`, `secret`, `downwardAPI` or `projected` volume holds.
//! Messages about what is missing are upstream's.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Secret, Volume, VolumeProjection,
};
use kube::Api;

use super::atomic::{File, Files};
use super::{Setting, VolumeError, token};
use crate::container::fields::resource_field;

/// Mode of files whose volume asks for none.
const MODE_DEFAULT: i32 = 0o644;
/// Mode of a token file in a pod whose containers all run as one user, who then owns it, or that has a group, which may read it too.
const TOKEN_MODE_OWNED: i32 = 0o600;

type Data = BTreeMap<String, Vec<u8>>;

pub(super) async fn collect(setting: &Setting<'_>, volume: &Volume) -> Result<Files, VolumeError> {
    let mut files = Files::new();
    if let Some(source) = &volume.config_map {
        let data = config_map(setting, &source.name, source.optional).await?;
        add_keys(&mut files, data, source.items.as_deref(), source.default_mode, source.optional)?;
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let data = secret(setting, name, source.optional).await?;
        add_keys(&mut files, data, source.items.as_deref(), source.default_mode, source.optional)?;
    } else if let Some(source) = &volume.downward_api {
        add_fields(&mut files, setting, source.items.as_deref(), source.default_mode)?;
    } else if let Some(source) = &volume.projected {
        for projection in source.sources.iter().flatten() {
            project(&mut files, setting, projection, source.default_mode).await?;
        }
    }
    Ok(files)
}

async fn project(
    files: &mut Files,
    setting: &Setting<'_>,
    projection: &VolumeProjection,
    mode: Option<i32>,
) -> Result<(), VolumeError> {
    match projection {
        VolumeProjection { config_map: Some(source), .. } => {
            let data = config_map(setting, &source.name, source.optional).await?;
            add_keys(files, data, source.items.as_deref(), mode, source.optional)
        }
        VolumeProjection { secret: Some(source), .. } => {
            let data = secret(setting, &source.name, source.optional).await?;
            add_keys(files, data, source.items.as_deref(), mode, source.optional)
        }
        VolumeProjection { downward_api: Some(source), .. } => {
            add_fields(files, setting, source.items.as_deref(), mode)
        }
        VolumeProjection { service_account_token: Some(source), .. } => {
            let content = token::token(setting, source).await?.into_bytes();
            let owner = only_user(setting);
            let is_owned = owner.is_some() || has_group(setting);
            let mode = if is_owned { Some(TOKEN_MODE_OWNED) } else { mode };
            add(files, &source.path, File { content, mode: bits(mode), owner })
        }
        VolumeProjection { cluster_trust_bundle: Some(_), .. } => {
            Err(VolumeError::Source("projected source clusterTrustBundle is not supported yet".into()))
        }
        VolumeProjection { pod_certificate: Some(_), .. } => {
            Err(VolumeError::Source("projected source podCertificate is not supported yet".into()))
        }
        _ => Err(VolumeError::Source("a projected source names nothing".into())),
    }
}

async fn config_map(setting: &Setting<'_>, name: &str, optional: Option<bool>) -> Result<Data, VolumeError> {
    let api: Api<ConfigMap> = Api::namespaced(setting.ctx.client.clone(), &setting.stored.namespace);
    match api.get_opt(name).await.map_err(|error| VolumeError::Source(error.to_string()))? {
        Some(map) => {
            let texts = map.data.unwrap_or_default().into_iter().map(|(key, text)| (key, text.into_bytes()));
            let binary = map.binary_data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0));
            Ok(texts.chain(binary).collect())
        }
        None if optional == Some(true) => Ok(Data::new()),
        None => Err(VolumeError::Source(format!("configmap \"{name}\" not found"))),
    }
}

async fn secret(setting: &Setting<'_>, name: &str, optional: Option<bool>) -> Result<Data, VolumeError> {
    let api: Api<Secret> = Api::namespaced(setting.ctx.client.clone(), &setting.stored.namespace);
    match api.get_opt(name).await.map_err(|error| VolumeError::Source(error.to_string()))? {
        Some(secret) => {
            Ok(secret.data.unwrap_or_default().into_iter().map(|(k, bytes)| (k, bytes.0)).collect())
        }
        None if optional == Some(true) => Ok(Data::new()),
        None => Err(VolumeError::Source(format!("secret \"{name}\" not found"))),
    }
}

/// All keys, or those that `items` names.
fn add_keys(
    files: &mut Files,
    mut data: Data,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: Option<bool>,
) -> Result<(), VolumeError> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        for (key, content) in data {
            add(files, &key, File { content, mode: bits(mode), owner: None })?;
        }
        return Ok(());
    };
    for item in items {
        match data.remove(&item.key) {
            Some(content) => {
                let file = File { content: content.clone(), mode: bits(item.mode.or(mode)), owner: None };
                add(files, &item.path, file)?;
                // The same key may be asked for under another path too.
                data.insert(item.key.clone(), content);
            }
            None if optional == Some(true) => {}
            None => {
                return Err(VolumeError::Source(format!("references non-existent config key: {}", item.key)));
            }
        }
    }
    Ok(())
}

fn add_fields(
    files: &mut Files,
    setting: &Setting<'_>,
    items: Option<&[DownwardAPIVolumeFile]>,
    mode: Option<i32>,
) -> Result<(), VolumeError> {
    for item in items.unwrap_or_default() {
        let value = if let Some(field) = &item.field_ref {
            setting.facts.field(&field.field_path)
        } else if let Some(selector) = &item.resource_field_ref {
            resource_field(setting.spec, "", selector, &setting.ctx.capacity)
        } else {
            Ok(String::new())
        };
        let content = value.map_err(|error| VolumeError::Source(error.to_string()))?.into_bytes();
        add(files, &item.path, File { content, mode: bits(item.mode.or(mode)), owner: None })?;
    }
    Ok(())
}

fn bits(mode: Option<i32>) -> u32 {
    mode.unwrap_or(MODE_DEFAULT).unsigned_abs() & 0o777
}

fn add(files: &mut Files, path: &str, file: File) -> Result<(), VolumeError> {
    let relative = Path::new(path);
    let inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !inside || path.starts_with("..") {
        return Err(VolumeError::Source(format!(
            "invalid path \"{path}\": must be relative, without \"..\" and not begin with \"..\""
        )));
    }
    files.insert(PathBuf::from(relative), file);
    Ok(())
}

/// Whether files belong to the pod's group.
fn has_group(setting: &Setting<'_>) -> bool {
    setting.spec.security_context.as_ref().is_some_and(|context| context.fs_group.is_some())
}

/// The user that all containers run as, if there is one such.
fn only_user(setting: &Setting<'_>) -> Option<u32> {
    let pod = setting.spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let own = |container: &k8s_openapi::api::core::v1::Container| {
        container.security_context.as_ref().and_then(|context| context.run_as_user).or(pod)
    };
    let mut users = setting.spec.init_containers.iter().flatten().chain(&setting.spec.containers).map(own);
    let first = users.next().flatten()?;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> Data {
        Data::from([("a".into(), b"1".to_vec()), ("b".into(), b"2".to_vec())])
    }

    #[test]
    fn items_choose_and_rename_keys_and_a_missing_one_is_named() {
        let item =
            |key: &str, path: &str, mode: Option<i32>| KeyToPath { key: key.into(), path: path.into(), mode };
        let mut files = Files::new();
        add_keys(&mut files, data(), Some(&[item("a", "x/y", Some(0o400))]), None, None).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(files[Path::new("x/y")].mode, 0o400);
        let missing = [item("none", "n", None)];
        let error = add_keys(&mut files, data(), Some(&missing), None, None).unwrap_err();
        assert_eq!(error.to_string(), "references non-existent config key: none");
        add_keys(&mut files, data(), Some(&missing), None, Some(true)).unwrap();
    }

    #[test]
    fn a_file_cannot_leave_its_volume() {
        for path in ["../x", "/etc/x", "a/../../x", "..data", ""] {
            let file = File { content: Vec::new(), mode: 0o644, owner: None };
            assert!(add(&mut Files::new(), path, file).is_err(), "{path}");
        }
    }
}

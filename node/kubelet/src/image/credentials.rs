//! `imagePullSecrets`: which of their credentials fit an image's registry.
//! Format: Secrets of type kubernetes.io/dockerconfigjson and kubernetes.io/dockercfg.

use std::collections::BTreeMap;

use base64::Engine;
use k8s_openapi::api::core::v1::{PodSpec, Secret};
use keelson_runtime::v1::AuthConfig;
use kube::Api;
use serde::Deserialize;

use super::reference;
use crate::context::Context;

#[derive(Deserialize)]
struct DockerConfigJson {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
}

/// Credentials to try in turn; always ends with the attempt without any, if there are none.
pub(super) async fn matching(
    ctx: &Context,
    namespace: &str,
    spec: &PodSpec,
    image: &str,
) -> Vec<Option<AuthConfig>> {
    let mut found = Vec::new();
    for name in spec.image_pull_secrets.iter().flatten().map(|reference| &reference.name) {
        let api: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
        match api.get_opt(name).await {
            Ok(Some(secret)) => found.extend(entries(&secret)),
            Ok(None) => tracing::warn!(namespace, secret = %name, "imagePullSecret does not exist"),
            Err(error) => tracing::warn!(namespace, secret = %name, %error, "cannot read imagePullSecret"),
        }
    }
    let mut chosen = choose(found, image);
    if chosen.is_empty() {
        chosen.push(None);
    }
    chosen
}

fn entries(secret: &Secret) -> Vec<(String, Entry)> {
    let data = secret.data.clone().unwrap_or_default();
    let config = data.get(".dockerconfigjson").and_then(|bytes| serde_json::from_slice(&bytes.0).ok());
    if let Some(DockerConfigJson { auths }) = config {
        return auths.into_iter().collect();
    }
    let legacy = data.get(".dockercfg").and_then(|bytes| serde_json::from_slice(&bytes.0).ok());
    legacy.map(|map: BTreeMap<String, Entry>| map.into_iter().collect()).unwrap_or_default()
}

/// Longer (more specific) registry entries first.
fn choose(mut entries: Vec<(String, Entry)>, image: &str) -> Vec<Option<AuthConfig>> {
    entries.retain(|(registry, _)| fits(registry, image));
    entries.sort_by_key(|(registry, _)| std::cmp::Reverse(registry.len()));
    entries.into_iter().map(|(registry, entry)| Some(auth_config(registry, entry))).collect()
}

/// `host[:port][/path]` of an entry against an image; a leading scheme and Docker Hub's old path do not
/// count, `*.` stands for one label.
fn fits(registry: &str, image: &str) -> bool {
    let registry = registry.split_once("://").map_or(registry, |(_, rest)| rest);
    let (host, path) = registry.split_once('/').unwrap_or((registry, ""));
    let host = if matches!(host, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { host };
    let own = reference::host(image);
    let host_fits = match host.strip_prefix("*.") {
        Some(domain) => own.split_once('.').is_some_and(|(_, rest)| rest == domain),
        None => own == host,
    };
    let path = path.trim_end_matches('/');
    let repository = image.strip_prefix(own).unwrap_or(image).trim_start_matches('/');
    host_fits && (matches!(path, "" | "v1" | "v2") || repository.starts_with(path))
}

fn auth_config(server_address: String, entry: Entry) -> AuthConfig {
    let decoded = base64::engine::general_purpose::STANDARD.decode(&entry.auth).unwrap_or_default();
    let decoded = String::from_utf8(decoded).unwrap_or_default();
    let (username, password) = match decoded.split_once(':') {
        Some((user, password)) if entry.username.is_empty() => (user.to_owned(), password.to_owned()),
        _ => (entry.username, entry.password),
    };
    AuthConfig { username, password, server_address, ..AuthConfig::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_only_to_the_registry_that_they_are_for() {
        for (registry, image, expected) in [
            ("https://index.docker.io/v1/", "nginx", true),
            ("ghcr.io", "ghcr.io/a/b:1", true),
            ("ghcr.io/a", "ghcr.io/a/b:1", true),
            ("ghcr.io/c", "ghcr.io/a/b:1", false),
            ("ghcr.io", "nginx", false),
            ("localhost:5000", "localhost:5000/x", true),
            ("localhost:5001", "localhost:5000/x", false),
            ("*.example.org", "r1.example.org/x", true),
            ("*.example.org", "example.org/x", false),
        ] {
            assert_eq!(fits(registry, image), expected, "{registry} for {image}");
        }
    }

    #[test]
    fn the_combined_form_is_read_where_there_is_no_user_name() {
        let entry = Entry { username: String::new(), password: String::new(), auth: "dTpwOnc=".into() };
        let auth = auth_config("r".into(), entry);
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("u", "p:w"));
    }
}

//! The volume with token, root certificate and namespace, and its place in every container.

use rand::Rng;
use serde_json::{Value, json};

use crate::plugin::{list, list_mut, text};

/// Where client libraries look for their credentials.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Upstream's lifetime of an injected token: an hour, and seven seconds by which it is recognised as injected.
const TOKEN_SECONDS: i64 = 60 * 60 + 7;
/// Octal 0644.
const FILE_MODE: i64 = 420;
/// The alphabet and length of the random part of a generated name, as the API has it: no vowels, so no words.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;

/// The pod's own word counts before its account's; without either the token is mounted.
pub(super) fn is_wanted(account: &Value, pod: &Value) -> bool {
    let own = pod["spec"].get("automountServiceAccountToken").and_then(Value::as_bool);
    let accounts = account.get("automountServiceAccountToken").and_then(Value::as_bool);
    own.or(accounts).unwrap_or(true)
}

/// Mounts the token into every container that has nothing of its own at that path.
pub(super) fn mount_token(pod: &mut Value) {
    let existing = list(pod, "/spec/volumes").map(|volume| text(volume, "/name"));
    let existing = existing.into_iter().find(|name| name.starts_with(VOLUME_PREFIX)).map(str::to_owned);
    let is_new = existing.is_none();
    let name = existing.unwrap_or_else(generated_name);
    let mut mounted = false;
    for containers in ["initContainers", "containers"] {
        let Some(containers) = pod["spec"].get_mut(containers).and_then(Value::as_array_mut) else {
            continue;
        };
        for container in containers {
            if list(container, "/volumeMounts").any(|mount| text(mount, "/mountPath") == MOUNT_PATH) {
                continue;
            }
            if let Some(mounts) = list_mut(container, "volumeMounts") {
                mounts.push(json!({ "name": name, "readOnly": true, "mountPath": MOUNT_PATH }));
                mounted = true;
            }
        }
    }
    if is_new
        && mounted
        && let Some(volumes) = list_mut(&mut pod["spec"], "volumes")
    {
        volumes.push(volume(&name));
    }
}

fn volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "defaultMode": FILE_MODE,
            "sources": [
                { "serviceAccountToken": { "expirationSeconds": TOKEN_SECONDS, "path": "token" } },
                { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
                { "downwardAPI": { "items": [{
                    "path": "namespace",
                    "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" },
                }] } },
            ],
        },
    })
}

fn generated_name() -> String {
    let mut random = rand::rng();
    let suffix = (0..SUFFIX_LENGTH).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]));
    VOLUME_PREFIX.chars().chain(suffix).collect()
}

//! `imagePullSecrets`: reads the pod's pull secrets.
//! Format: Secrets of type kubernetes.io/dockerconfigjson and kubernetes.io/dockercfg.

use std::collections::BTreeMap;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use k8s_openapi::api::core::v1::{PodSpec, Secret};
use kube::Api;
use serde::Deserialize;

use super::keyring::{Credential, key};
use crate::context::Context;
use crate::pod::Stored;

/// Tools write `auth` with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a secret is of no use. Never holds a part of it: the text is shown to whoever may read the pod.
#[derive(Debug, thiserror::Error)]
enum Malformed {
    #[error("it is not JSON of the form that its type asks for (line {0}, column {1})")]
    Json(usize, usize),
    #[error("\"auth\" of registry {0:?} is not base64 of user:password")]
    Auth(String),
}

impl From<serde_json::Error> for Malformed {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error.line(), error.column())
    }
}

#[derive(Deserialize)]
struct DockerConfigJson {
    auths: Option<BTreeMap<String, Entry>>,
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

/// Every credential of the pod's pull secrets, in their order. A secret that cannot be read is told as an event and left
/// out, as upstream does: the image may be public. One that is malformed is an error. The API takes empty names, which mean
/// nothing.
pub(super) async fn read(ctx: &Context, stored: &Stored, spec: &PodSpec) -> Result<Vec<Credential>, String> {
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), &stored.namespace);
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    let names = spec.image_pull_secrets.iter().flatten().map(|reference| reference.name.as_str());
    for name in names.filter(|name| !name.is_empty()) {
        match api.get_opt(name).await {
            Ok(Some(secret)) => {
                let all = credentials(&secret);
                found.extend(all.map_err(|why| format!("imagePullSecret {name:?} cannot be used: {why}"))?);
            }
            Ok(None) => unread.push(name),
            Err(error) => {
                tracing::warn!(namespace = stored.namespace, secret = name, %error, "cannot read imagePullSecret");
                unread.push(name);
            }
        }
    }
    if !unread.is_empty() {
        let text = format!(
            "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
            unread.join(", ")
        );
        ctx.recorder.warning(stored.reference(None), "FailedToRetrieveImagePullSecret", text);
    }
    Ok(found)
}

/// What a secret holds by its type; a secret of another type holds none.
fn credentials(secret: &Secret) -> Result<Vec<Credential>, Malformed> {
    let field = |name: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(name));
        bytes.map(|bytes| bytes.0.as_slice()).filter(|bytes| !bytes.is_empty())
    };
    let entries: BTreeMap<String, Entry> = match secret.type_.as_deref() {
        Some("kubernetes.io/dockerconfigjson") => match field(".dockerconfigjson") {
            Some(bytes) => serde_json::from_slice::<DockerConfigJson>(bytes)?.auths.unwrap_or_default(),
            None => return Ok(Vec::new()),
        },
        Some("kubernetes.io/dockercfg") => match field(".dockercfg") {
            Some(bytes) => serde_json::from_slice(bytes)?,
            None => return Ok(Vec::new()),
        },
        _ => return Ok(Vec::new()),
    };
    let uid = secret.metadata.uid.as_deref().unwrap_or_default();
    entries.into_iter().map(|(location, entry)| credential(uid, location, entry)).collect()
}

/// The combined form wins over user and password.
fn credential(uid: &str, location: String, entry: Entry) -> Result<Credential, Malformed> {
    let (key, secret) = (key(&location), uid.to_owned());
    if entry.auth.is_empty() {
        return Ok(Credential { key, username: entry.username, password: entry.password, secret });
    }
    let decoded = BASE64.decode(entry.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|text| text.split_once(':')) {
        Some((username, password)) => {
            Ok(Credential { key, username: username.to_owned(), password: password.to_owned(), secret })
        }
        None => Err(Malformed::Auth(location)),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::{Value, json};

    use super::*;

    fn secret(kind: &str, field: &str, content: &str) -> Secret {
        let data = [(field.to_owned(), ByteString(content.as_bytes().to_vec()))];
        Secret { type_: Some(kind.to_owned()), data: Some(data.into()), ..Secret::default() }
    }

    fn read(kind: &str, field: &str, content: &Value) -> Result<Vec<(String, String, String)>, String> {
        let all = credentials(&secret(kind, field, &content.to_string())).map_err(|why| why.to_string())?;
        Ok(all.into_iter().map(|c| (c.key, c.username, c.password)).collect())
    }

    #[test]
    fn both_types_are_read_and_the_combined_form_wins() {
        let entries = json!({
            "a.example": { "username": "u", "password": "p" },
            "b.example": { "username": "old", "password": "old", "auth": "dTpwOnc=" },
            "c.example": { "auth": "dTpwOnc" },
        });
        let own =
            |key: &str, user: &str, password: &str| (key.to_owned(), user.to_owned(), password.to_owned());
        let expected =
            vec![own("a.example", "u", "p"), own("b.example", "u", "p:w"), own("c.example", "u", "p:w")];
        let config = json!({ "auths": entries });
        let json = ("kubernetes.io/dockerconfigjson", ".dockerconfigjson");
        assert_eq!(read(json.0, json.1, &config), Ok(expected.clone()));
        assert_eq!(read("kubernetes.io/dockercfg", ".dockercfg", &entries), Ok(expected));
        assert_eq!(read("Opaque", ".dockerconfigjson", &config), Ok(Vec::new()));
        assert_eq!(read(json.0, json.1, &json!({})), Ok(Vec::new()));
    }

    #[test]
    fn what_is_malformed_is_an_error_that_shows_nothing_of_the_secret() {
        let bad = json!({ "r.example": { "auth": "hunter2" } });
        let why = read("kubernetes.io/dockercfg", ".dockercfg", &bad).unwrap_err();
        assert_eq!(why, "\"auth\" of registry \"r.example\" is not base64 of user:password");
        let why = read("kubernetes.io/dockercfg", ".dockercfg", &json!({ "r": "hunter2" })).unwrap_err();
        assert!(!why.contains("hunter2"), "{why}");
    }
}

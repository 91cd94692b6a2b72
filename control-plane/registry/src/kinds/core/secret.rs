//! Secret: stringData is merged into data, the type says which keys there must be.

use super::config_map::{DATA_BYTES_MAX, sealed};
use crate::{
    meta,
    strategy::{Call, Strategy},
    validate::{
        Errors,
        meta::{immutable, invalid},
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::{Value, json};

/// Secret.
pub struct Secret;

impl Strategy for Secret {
    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        merge_string_data(object);
    }

    fn prepare_update(&self, _call: &Call<'_>, new: &mut Value, old: &Value) {
        merge_string_data(new);
        // An update that does not say keeps the type.
        if meta::text(new, &["type"]).is_empty() {
            meta::carry(meta::map_of(new), "type", old.get("type"));
        }
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let path = Path::new("data");
        let mut errors = Errors::new();
        let mut bytes = 0;
        for (key, value) in meta::entries(object, &["data"]) {
            errors.extend(invalid(&path.key(key), key, names::config_map_key(key)));
            bytes += value.as_str().map_or(0, |text| text.len() / 4 * 3);
        }
        if bytes > DATA_BYTES_MAX {
            errors.push(FieldError::too_long(&path, DATA_BYTES_MAX));
        }
        errors.extend(typed(&path, object));
        errors
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors: Errors =
            immutable(&Path::new("type"), new.get("type"), old.get("type")).into_iter().collect();
        errors.extend(sealed(new, old, &["data"]));
        errors.extend(self.validate(call, new));
        errors
    }
}

fn merge_string_data(object: &mut Value) {
    let Some(Value::Object(texts)) = meta::map_of(object).remove("stringData") else { return };
    let data = meta::map_of(meta::map_of(object).entry("data").or_insert_with(|| json!({})));
    for (key, text) in texts {
        data.insert(key, json!(STANDARD.encode(text.as_str().unwrap_or_default())));
    }
}

/// What the well-known types ask for.
fn typed(path: &Path, object: &Value) -> Errors {
    let has = |key: &str| meta::at(object, &["data", key]).is_some();
    let missing = |key: &str| (!has(key)).then(|| FieldError::required(&path.key(key), ""));
    let mut errors = Errors::new();
    match meta::text(object, &["type"]) {
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            if meta::text(object, &["metadata", "annotations", key]).is_empty() {
                errors.push(FieldError::required(&Path::new("metadata.annotations").key(key), ""));
            }
        }
        "kubernetes.io/dockercfg" => errors.extend(docker_config(path, object, ".dockercfg")),
        "kubernetes.io/dockerconfigjson" => errors.extend(docker_config(path, object, ".dockerconfigjson")),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            errors.extend(missing("username"));
            errors.extend(missing("password"));
        }
        "kubernetes.io/ssh-auth" => errors.extend(missing("ssh-privatekey")),
        "kubernetes.io/tls" => {
            errors.extend(missing("tls.crt"));
            errors.extend(missing("tls.key"));
        }
        _ => {}
    }
    errors
}

fn docker_config(path: &Path, object: &Value, key: &str) -> Option<FieldError> {
    let Some(value) = meta::at(object, &["data", key]) else {
        return Some(FieldError::required(&path.key(key), ""));
    };
    let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
    let parsed = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes);
    let error = parsed.err()?;
    Some(FieldError::invalid(&path.key(key), "<secret contents redacted>", error.to_string()))
}

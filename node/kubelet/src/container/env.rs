//! A container's environment: Services first, then `envFrom`, then `env`, each overriding what was before.
//! Messages about what is missing are upstream's, as users search for them.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{ConfigMap, EnvVar, EnvVarSource, Secret};
use kube::Api;

use super::command::expand;
use super::fields::resource_field;
use super::{ConfigError, Inputs};

/// The variables in an order in which each value may refer to those before it.
pub(super) async fn environment(input: &Inputs<'_>) -> Result<Vec<(String, String)>, ConfigError> {
    let mut env = Environment::default();
    let links = input.spec.enable_service_links != Some(false);
    for (name, value) in input.ctx.services.environment(&input.stored.namespace, links) {
        env.set(name, value);
    }
    let mut objects = Objects { input, config_maps: HashMap::new(), secrets: HashMap::new() };
    for source in input.container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let data = if let Some(from) = &source.config_map_ref {
            objects.config_map(&from.name, from.optional).await?.map(|m| m.data.clone().unwrap_or_default())
        } else if let Some(from) = &source.secret_ref {
            objects.secret(&from.name, from.optional).await?.map(secret_texts)
        } else {
            None
        };
        for (key, value) in data.unwrap_or_default() {
            env.set(format!("{prefix}{key}"), value);
        }
    }
    for var in input.container.env.iter().flatten() {
        if let Some(value) = value_of(var, &env, &mut objects).await? {
            env.set(var.name.clone(), value);
        }
    }
    Ok(env.vars)
}

/// Ordered by first appearance; the last value wins.
#[derive(Default)]
struct Environment {
    vars: Vec<(String, String)>,
    index: HashMap<String, usize>,
}

impl Environment {
    fn set(&mut self, name: String, value: String) {
        match self.index.get(&name) {
            Some(&at) => self.vars[at].1 = value,
            None => {
                self.index.insert(name.clone(), self.vars.len());
                self.vars.push((name, value));
            }
        }
    }

    fn expand(&self, text: &str) -> String {
        let lookup: BTreeMap<&str, &str> = self.vars.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        expand(text, &lookup)
    }
}

/// `None`: an optional source is absent, the variable is not set.
async fn value_of(
    var: &EnvVar,
    env: &Environment,
    objects: &mut Objects<'_>,
) -> Result<Option<String>, ConfigError> {
    let Some(source) = &var.value_from else {
        let text = var.value.as_deref().unwrap_or_default();
        return Ok(Some(if text.contains('$') { env.expand(text) } else { text.to_owned() }));
    };
    match source {
        EnvVarSource { field_ref: Some(field), .. } => objects.input.facts.field(&field.field_path).map(Some),
        EnvVarSource { resource_field_ref: Some(selector), .. } => {
            let input = objects.input;
            resource_field(input.spec, &input.container.name, selector, &input.ctx.capacity).map(Some)
        }
        EnvVarSource { config_map_key_ref: Some(from), .. } => {
            let namespace = objects.input.stored.namespace.clone();
            let map = objects.config_map(&from.name, from.optional).await?;
            let value = map.and_then(|m| m.data.as_ref()?.get(&from.key).cloned());
            if value.is_none() && from.optional != Some(true) {
                return Err(ConfigError::config(format!(
                    "couldn't find key {} in ConfigMap {namespace}/{}",
                    from.key, from.name
                )));
            }
            Ok(value)
        }
        EnvVarSource { secret_key_ref: Some(from), .. } => {
            let namespace = objects.input.stored.namespace.clone();
            let secret = objects.secret(&from.name, from.optional).await?;
            let value = secret.and_then(|s| Some(s.data.as_ref()?.get(&from.key)?.0.clone()));
            if value.is_none() && from.optional != Some(true) {
                return Err(ConfigError::config(format!(
                    "couldn't find key {} in Secret {namespace}/{}",
                    from.key, from.name
                )));
            }
            Ok(value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        }
        EnvVarSource { file_key_ref: Some(_), .. } => Err(ConfigError::config(format!(
            "environment variable {}: fileKeyRef is not supported yet",
            var.name
        ))),
        _ => {
            Err(ConfigError::config(format!("environment variable {}: valueFrom names no source", var.name)))
        }
    }
}

/// Reads each referenced object once.
struct Objects<'a> {
    input: &'a Inputs<'a>,
    config_maps: HashMap<String, Option<ConfigMap>>,
    secrets: HashMap<String, Option<Secret>>,
}

impl Objects<'_> {
    async fn config_map(
        &mut self,
        name: &str,
        optional: Option<bool>,
    ) -> Result<Option<&ConfigMap>, ConfigError> {
        if !self.config_maps.contains_key(name) {
            let api: Api<ConfigMap> =
                Api::namespaced(self.input.ctx.client.clone(), &self.input.stored.namespace);
            let found = api.get_opt(name).await.map_err(|e| ConfigError::config(e.to_string()))?;
            self.config_maps.insert(name.to_owned(), found);
        }
        match self.config_maps.get(name).and_then(Option::as_ref) {
            None if optional != Some(true) => {
                Err(ConfigError::config(format!("configmap \"{name}\" not found")))
            }
            found => Ok(found),
        }
    }

    async fn secret(&mut self, name: &str, optional: Option<bool>) -> Result<Option<&Secret>, ConfigError> {
        if !self.secrets.contains_key(name) {
            let api: Api<Secret> =
                Api::namespaced(self.input.ctx.client.clone(), &self.input.stored.namespace);
            let found = api.get_opt(name).await.map_err(|e| ConfigError::config(e.to_string()))?;
            self.secrets.insert(name.to_owned(), found);
        }
        match self.secrets.get(name).and_then(Option::as_ref) {
            None if optional != Some(true) => {
                Err(ConfigError::config(format!("secret \"{name}\" not found")))
            }
            found => Ok(found),
        }
    }
}

fn secret_texts(secret: &Secret) -> BTreeMap<String, String> {
    let data = secret.data.iter().flatten();
    data.map(|(key, bytes)| (key.clone(), String::from_utf8_lossy(&bytes.0).into_owned())).collect()
}

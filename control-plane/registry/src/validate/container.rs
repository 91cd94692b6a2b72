//! Containers: names, images, ports, environment, mounts.
//!
//! Rules: upstream's `validateContainers`, `validateInitContainers` and `validateContainerCommon`.

use super::{Errors, one_of, port_number, probe, required, resources};
use crate::meta;
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;
use std::collections::BTreeSet;

/// What containers may refer to, and what is taken by those before.
pub struct Scope<'a> {
    /// Names of the pod's volumes.
    pub volumes: BTreeSet<&'a str>,
    /// spec.restartPolicy.
    pub restart_policy: &'a str,
    /// spec.hostNetwork.
    pub host_network: bool,
    /// Container names so far, over both lists.
    pub names: BTreeSet<&'a str>,
    /// Host ports so far.
    pub host_ports: BTreeSet<String>,
}

/// All containers of one list, `containers` or `initContainers`.
pub fn containers<'a>(path: &Path, list: &'a [Value], init: bool, scope: &mut Scope<'a>) -> Errors {
    let mut errors = Errors::new();
    for (index, container) in list.iter().enumerate() {
        let path = path.index(index);
        errors.extend(common(&path, container, scope));
        let sidecar = meta::text(container, &["restartPolicy"]) == "Always";
        if init {
            errors.extend(one_of(&path, container, "restartPolicy", &["Always"]));
        } else if meta::at(container, &["restartPolicy"]).is_some() {
            let detail = "may not be set for non-init containers";
            errors.push(FieldError::forbidden(&path.child("restartPolicy"), detail));
        }
        if meta::at(container, &["restartPolicyRules"]).is_some() {
            let detail = "restart rules of single containers are not supported yet";
            errors.push(FieldError::forbidden(&path.child("restartPolicyRules"), detail));
        }
        if init && !sidecar {
            for key in ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle"] {
                if meta::at(container, &[key]).is_some() {
                    let detail = "may not be set for init containers without restartPolicy=Always";
                    errors.push(FieldError::forbidden(&path.child(key), detail));
                }
            }
            if let Some(policy) = meta::at(container, &["resizePolicy"])
                && !meta::items(container, &["resizePolicy"]).is_empty()
            {
                let detail = "must not be set for init containers";
                errors.push(FieldError::invalid(&path.child("resizePolicy"), policy.clone(), detail));
            }
        } else {
            errors.extend(resize_policy(&path.child("resizePolicy"), container, scope.restart_policy));
            errors.extend(probe::probes(&path, container));
            errors.extend(probe::lifecycle(&path, container));
        }
    }
    errors
}

pub(super) fn common<'a>(path: &Path, container: &'a Value, scope: &mut Scope<'a>) -> Errors {
    let mut errors = Errors::new();
    let name = meta::text(container, &["name"]);
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    } else {
        errors.extend(super::meta::invalid(&path.child("name"), name, names::dns1123_label(name)));
        if !scope.names.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
    }
    let image = meta::text(container, &["image"]);
    if image.is_empty() {
        errors.push(FieldError::required(&path.child("image"), ""));
    } else if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(&path.child("image"), image, detail));
    }
    errors.extend(one_of(path, container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"]));
    let policies = ["FallbackToLogsOnError", "File"];
    errors.extend(one_of(path, container, "terminationMessagePolicy", &policies));
    errors.extend(ports(&path.child("ports"), container, scope));
    errors.extend(env(&path.child("env"), container));
    errors.extend(env_from(&path.child("envFrom"), container));
    errors.extend(mounts(&path.child("volumeMounts"), container, scope));
    if let Some(given) = meta::at(container, &["resources"]) {
        errors.extend(resources::requirements(&path.child("resources"), given));
    }
    errors.extend(security(&path.child("securityContext"), container));
    errors
}

/// What a change of cpu or memory does to the container. Rules: upstream's `validateResizePolicy`.
fn resize_policy(path: &Path, container: &Value, restart_policy: &str) -> Errors {
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    let mut known = |text: &str, supported: &[&str]| match text {
        "" => errors.push(FieldError::required(path, "")),
        text if !supported.contains(&text) => {
            errors.push(FieldError::not_supported(path, text, supported));
        }
        _ => {}
    };
    let list = meta::items(container, &["resizePolicy"]);
    for one in list {
        known(meta::text(one, &["resourceName"]), &["cpu", "memory"]);
        known(meta::text(one, &["restartPolicy"]), &["NotRequired", "RestartContainer"]);
    }
    for (index, one) in list.iter().enumerate() {
        let (name, policy) = (meta::text(one, &["resourceName"]), meta::text(one, &["restartPolicy"]));
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.index(index), name));
        }
        if restart_policy == "Never" && policy != "NotRequired" {
            let detail = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(path, policy, detail));
        }
    }
    errors
}

fn ports(path: &Path, container: &Value, scope: &mut Scope<'_>) -> Errors {
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (index, port) in meta::items(container, &["ports"]).iter().enumerate() {
        let path = path.index(index);
        let name = meta::text(port, &["name"]);
        if !name.is_empty() {
            errors.extend(super::meta::invalid(&path.child("name"), name, names::port_name(name)));
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
        }
        let number = meta::number(port, &["containerPort"]).unwrap_or_default();
        if number == 0 {
            errors.push(FieldError::required(&path.child("containerPort"), ""));
        } else {
            errors.extend(port_number(&path.child("containerPort"), number));
        }
        errors.extend(one_of(&path, port, "protocol", &["SCTP", "TCP", "UDP"]));
        let host = meta::number(port, &["hostPort"]).unwrap_or_default();
        if host == 0 {
            continue;
        }
        errors.extend(port_number(&path.child("hostPort"), host));
        if scope.host_network && host != number {
            let detail = "must match `hostPort` when `hostNetwork` is true";
            errors.push(FieldError::invalid(&path.child("containerPort"), number, detail));
        }
        let taken = format!("{}/{}/{host}", meta::text(port, &["protocol"]), meta::text(port, &["hostIP"]));
        if !scope.host_ports.insert(taken.clone()) {
            errors.push(FieldError::duplicate(&path.child("hostPort"), taken));
        }
    }
    errors
}

fn env(path: &Path, container: &Value) -> Errors {
    let mut errors = Errors::new();
    for (index, variable) in meta::items(container, &["env"]).iter().enumerate() {
        let path = path.index(index);
        let name = meta::text(variable, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else {
            errors.extend(super::meta::invalid(&path.child("name"), name, names::env_var_name(name)));
        }
        let Some(source) = meta::at(variable, &["valueFrom"]) else { continue };
        errors.extend(env_source(&path.child("valueFrom"), source, meta::text(variable, &["value"])));
    }
    errors
}

fn env_source(path: &Path, source: &Value, value: &str) -> Errors {
    const SOURCES: &[&str] =
        &["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let mut errors = Errors::new();
    let given: Vec<_> = SOURCES.iter().filter(|name| meta::at(source, &[name]).is_some()).collect();
    match given.len() {
        0 => {
            let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.push(FieldError::invalid(path, "", detail));
        }
        1 if value.is_empty() => {}
        1 => errors.push(FieldError::invalid(path, "", "may not be specified when `value` is not empty")),
        _ => {
            errors.push(FieldError::invalid(path, "", "may not have more than one field specified at a time"))
        }
    }
    for name in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(reference) = meta::at(source, &[name]) {
            errors.extend(required(&path.child(name), reference, "name"));
            let key = meta::text(reference, &["key"]);
            let path = path.child(name).child("key");
            if key.is_empty() {
                errors.push(FieldError::required(&path, ""));
            } else {
                errors.extend(super::meta::invalid(&path, key, names::config_map_key(key)));
            }
        }
    }
    for (name, key) in [("fieldRef", "fieldPath"), ("resourceFieldRef", "resource")] {
        if let Some(reference) = meta::at(source, &[name]) {
            errors.extend(required(&path.child(name), reference, key));
        }
    }
    errors
}

fn env_from(path: &Path, container: &Value) -> Errors {
    let mut errors = Errors::new();
    for (index, source) in meta::items(container, &["envFrom"]).iter().enumerate() {
        let path = path.index(index);
        let given =
            ["configMapRef", "secretRef"].into_iter().filter(|name| meta::at(source, &[name]).is_some());
        let given: Vec<&str> = given.collect();
        match given.as_slice() {
            [name] => errors.extend(required(&path.child(name), &source[*name], "name")),
            [] => {
                let detail = "must specify one of: `configMapRef` or `secretRef`";
                errors.push(FieldError::invalid(&path, "", detail));
            }
            _ => errors.push(FieldError::invalid(
                &path,
                "",
                "may not have more than one field specified at a time",
            )),
        }
    }
    errors
}

fn mounts(path: &Path, container: &Value, scope: &Scope<'_>) -> Errors {
    let mut errors = Errors::new();
    let mut paths = BTreeSet::new();
    for (index, mount) in meta::items(container, &["volumeMounts"]).iter().enumerate() {
        let path = path.index(index);
        let name = meta::text(mount, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else if !scope.volumes.contains(name) {
            errors.push(FieldError::not_found(&path.child("name"), name));
        }
        let at = meta::text(mount, &["mountPath"]);
        if at.is_empty() {
            errors.push(FieldError::required(&path.child("mountPath"), ""));
        } else if !paths.insert(at) {
            errors.push(FieldError::invalid(&path.child("mountPath"), at, "must be unique"));
        }
        let sub = meta::text(mount, &["subPath"]);
        if sub.starts_with('/') {
            errors.push(FieldError::invalid(&path.child("subPath"), sub, "must be a relative path"));
        }
        if sub.split('/').any(|part| part == "..") {
            errors.push(FieldError::invalid(&path.child("subPath"), sub, "must not contain '..'"));
        }
    }
    errors
}

fn security(path: &Path, container: &Value) -> Errors {
    let context = &container["securityContext"];
    let mut errors = Errors::new();
    for key in ["runAsUser", "runAsGroup"] {
        if let Some(id) = meta::number(context, &[key])
            && !(0..=i64::from(i32::MAX)).contains(&id)
        {
            let detail = "must be between 0 and 2147483647, inclusive";
            errors.push(FieldError::invalid(&path.child(key), id, detail));
        }
    }
    let flag = |key: &str| context.get(key).and_then(Value::as_bool);
    if flag("allowPrivilegeEscalation") == Some(false) && flag("privileged") == Some(true) {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.push(FieldError::invalid(path, context.clone(), detail));
    }
    errors
}

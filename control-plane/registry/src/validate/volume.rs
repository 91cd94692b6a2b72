//! Volumes of a pod.
//!
//! Rules: upstream's `ValidateVolumes` and `validateVolumeSource`, for the sources that nodes here can mount; the others
//! are only checked for their number.

use super::{Errors, required};
use crate::meta;
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;
use std::collections::BTreeSet;

/// All volumes; the names of valid ones go into `known`.
pub fn volumes<'a>(path: &Path, list: &'a [Value], known: &mut BTreeSet<&'a str>) -> Errors {
    let mut errors = Errors::new();
    for (index, volume) in list.iter().enumerate() {
        let path = path.index(index);
        errors.extend(source(&path, volume));
        let name = meta::text(volume, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
            continue;
        }
        errors.extend(super::meta::invalid(&path.child("name"), name, names::dns1123_label(name)));
        if !known.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
    }
    errors
}

fn source(path: &Path, volume: &Value) -> Errors {
    let given: Vec<&str> = volume
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| key.as_str() != "name" && !value.is_null())
        .map(|(key, _)| key.as_str())
        .collect();
    let mut errors = Errors::new();
    for extra in given.iter().skip(1) {
        errors.push(FieldError::forbidden(&path.child(extra), "may not specify more than 1 volume type"));
    }
    let Some(name) = given.first() else {
        return vec![FieldError::required(path, "must specify a volume type")];
    };
    let (path, source) = (path.child(name), &volume[*name]);
    match *name {
        "configMap" => {
            errors.extend(required(&path, source, "name"));
            errors.extend(items(&path, source));
        }
        "secret" => {
            errors.extend(required(&path, source, "secretName"));
            errors.extend(items(&path, source));
        }
        "persistentVolumeClaim" => errors.extend(required(&path, source, "claimName")),
        "hostPath" => errors.extend(host_path(&path, source)),
        "projected" => errors.extend(projected(&path, source)),
        "emptyDir" => {
            if let Some(limit) = meta::at(source, &["sizeLimit"])
                && super::resources::quantity(limit).is_some_and(|limit| limit.is_negative())
            {
                let detail = "SizeLimit field must be a valid resource quantity";
                errors.push(FieldError::forbidden(&path.child("sizeLimit"), detail));
            }
        }
        _ => {}
    }
    errors.extend(mode(&path, source, "defaultMode"));
    errors
}

fn mode(path: &Path, parent: &Value, key: &str) -> Option<FieldError> {
    let mode = meta::number(parent, &[key])?;
    let detail = "must be a number between 0 and 0777 (octal), both inclusive";
    (!(0..=0o777).contains(&mode)).then(|| FieldError::invalid(&path.child(key), mode, detail))
}

fn items(path: &Path, source: &Value) -> Errors {
    let mut errors = Errors::new();
    for (index, item) in meta::items(source, &["items"]).iter().enumerate() {
        let path = path.child("items").index(index);
        errors.extend(required(&path, item, "key"));
        errors.extend(required(&path, item, "path"));
        errors.extend(local_path(&path.child("path"), meta::text(item, &["path"])));
        errors.extend(mode(&path, item, "mode"));
    }
    errors
}

fn local_path(path: &Path, text: &str) -> Errors {
    let mut errors = Errors::new();
    if text.starts_with('/') {
        errors.push(FieldError::invalid(path, text, "must be a relative path"));
    }
    if text.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, text, "must not contain '..'"));
    }
    if text.starts_with("..") && text != ".." && !text.starts_with("../") {
        errors.push(FieldError::invalid(path, text, "must not start with '..'"));
    }
    errors
}

/// A path of the node.
pub fn host_path(path: &Path, source: &Value) -> Errors {
    const TYPES: &[&str] = &[
        "",
        "BlockDevice",
        "CharDevice",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
        "Socket",
    ];
    let at = meta::text(source, &["path"]);
    if at.is_empty() {
        return vec![FieldError::required(&path.child("path"), "")];
    }
    let mut errors = Errors::new();
    if at.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(&path.child("path"), at, "must not contain '..'"));
    }
    errors.extend(super::one_of(path, source, "type", TYPES));
    errors
}

fn projected(path: &Path, source: &Value) -> Errors {
    let mut errors = Errors::new();
    for (index, part) in meta::items(source, &["sources"]).iter().enumerate() {
        let path = path.child("sources").index(index);
        if part.as_object().is_none_or(|part| part.len() > 1) {
            errors.push(FieldError::forbidden(&path, "may not specify more than 1 volume type per source"));
        }
        for name in ["configMap", "secret"] {
            if let Some(part) = meta::at(part, &[name]) {
                errors.extend(required(&path.child(name), part, "name"));
                errors.extend(items(&path.child(name), part));
            }
        }
        if let Some(token) = meta::at(part, &["serviceAccountToken"]) {
            let path = path.child("serviceAccountToken");
            errors.extend(required(&path, token, "path"));
            let seconds = meta::number(token, &["expirationSeconds"]).unwrap_or(3600);
            if seconds < 600 {
                let detail = "may not specify a duration less than 10 minutes";
                errors.push(FieldError::invalid(&path.child("expirationSeconds"), seconds, detail));
            }
        }
    }
    errors
}

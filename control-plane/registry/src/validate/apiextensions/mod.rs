//! What is wrong with a CustomResourceDefinition.
//!
//! Rules: upstream's `apiextensions/validation`. What is not built is refused with its name: paths beyond the subset of
//! `custom::jsonpath`.

mod conversion;
mod version;

use super::{Errors, meta::immutable};
use crate::{
    custom::{
        Definition,
        definition::{Names, Spec},
        names::{API_APPROVED, is_protected},
    },
    meta,
};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;

/// Most versions of one definition; each keeps a schema in memory.
const VERSIONS_MAX: usize = 64;

/// All that is wrong with a definition.
pub fn definition(object: &Value) -> Errors {
    match Definition::read(object) {
        Ok(definition) => whole(&definition, object),
        Err(error) => vec![FieldError::invalid(&Path::new("spec"), "", error.to_string())],
    }
}

/// All that is wrong with a change.
pub fn change(new: &Value, old: &Value) -> Errors {
    let mut errors = definition(new);
    let at = |object: &'static str| {
        let path: Vec<&str> = object.split('.').collect();
        immutable(&Path::new(object), meta::at(new, &path), meta::at(old, &path))
    };
    errors.extend(at("spec.group"));
    errors.extend(at("spec.names.plural"));
    if Definition::read(old).is_ok_and(|old| old.is("Established")) {
        errors.extend(at("spec.scope"));
        errors.extend(at("spec.names.kind"));
    }
    if let Ok(definition) = Definition::read(new) {
        let path = Path::new("status.storedVersions");
        for (index, stored) in definition.status.stored_versions.iter().enumerate() {
            if definition.spec.versions.iter().all(|version| version.name != *stored) {
                let why = "must appear in spec.versions";
                errors.push(FieldError::invalid(&path.index(index), stored.as_str(), why));
            }
        }
    }
    errors
}

/// All that is wrong with a status.
pub fn status(object: &Value) -> Errors {
    let Ok(definition) = Definition::read(object) else { return Errors::new() };
    let mut errors = name_forms(&definition.status.accepted_names, &Path::new("status.acceptedNames"));
    if definition.status.stored_versions.is_empty() {
        let why = "must have at least one stored version";
        errors.push(FieldError::invalid(&Path::new("status.storedVersions"), Vec::<String>::new(), why));
    }
    if let Some(storage) = definition.storage_version()
        && !definition.status.stored_versions.contains(&storage.name)
    {
        let why = format!("must have the storage version {}", storage.name);
        let stored = definition.status.stored_versions.clone();
        errors.push(FieldError::invalid(&Path::new("status.storedVersions"), stored, why));
    }
    errors
}

fn whole(definition: &Definition, object: &Value) -> Errors {
    let spec = &definition.spec;
    let mut errors = Errors::new();
    if definition.metadata.name != format!("{}.{}", spec.names.plural, spec.group) {
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid(&Path::new("metadata.name"), definition.metadata.name.as_str(), why));
    }
    errors.extend(approval(definition));
    errors.extend(group_and_scope(spec));
    errors.extend(spec_names(&spec.names));
    let path = Path::new("spec.versions");
    let listed = || object.pointer("/spec/versions").cloned().unwrap_or_default();
    let mut seen = Vec::new();
    for (index, version) in spec.versions.iter().enumerate().take(VERSIONS_MAX) {
        if seen.contains(&&version.name) {
            errors.push(FieldError::invalid(
                &path,
                version.name.as_str(),
                "must contain unique version names",
            ));
        }
        seen.push(&version.name);
        errors.extend(version::version(version, &path.index(index)));
    }
    if spec.versions.len() > VERSIONS_MAX {
        errors.push(FieldError::too_many(&path, spec.versions.len(), VERSIONS_MAX));
    }
    if spec.versions.iter().filter(|version| version.storage).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(&path, listed(), why));
    }
    if spec.preserve_unknown_fields {
        let path = Path::new("spec.preserveUnknownFields");
        errors.push(FieldError::invalid(&path, true, "must be false in order to use defaults in the schema"));
    }
    errors.extend(conversion::conversion(&Path::new("spec.conversion"), &object["spec"]["conversion"]));
    errors
}

fn approval(definition: &Definition) -> Option<FieldError> {
    if !is_protected(&definition.spec.group) {
        return None;
    }
    let path = Path::new("metadata.annotations").key(API_APPROVED);
    let why = format!(
        "protected groups must have approval annotation {API_APPROVED:?}, see https://github.com/kubernetes/enhancements/pull/1111"
    );
    match definition.metadata.annotations.get(API_APPROVED).map(String::as_str) {
        None | Some("") => Some(FieldError::required(&path, why)),
        Some(text) if text.starts_with("unapproved") => None,
        Some(text) if text.split_once("://").is_some_and(|(_, host)| !host.is_empty()) => None,
        Some(text) => Some(FieldError::invalid(&path, text, why)),
    }
}

fn group_and_scope(spec: &Spec) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec.group");
    let wrong = names::dns1123_subdomain(&spec.group);
    if spec.group.is_empty() {
        errors.push(FieldError::required(&path, ""));
    } else if !wrong.is_empty() {
        errors.push(FieldError::invalid(&path, spec.group.as_str(), wrong.join(",")));
    } else if !spec.group.contains('.') {
        let why = "should be a domain with at least one dot";
        errors.push(FieldError::invalid(&path, spec.group.as_str(), why));
    }
    let path = Path::new("spec.scope");
    match spec.scope.as_str() {
        "" => errors.push(FieldError::required(&path, "")),
        "Cluster" | "Namespaced" => {}
        other => errors.push(FieldError::not_supported(&path, other, &["Cluster", "Namespaced"])),
    }
    errors
}

fn spec_names(names: &Names) -> Errors {
    let path = Path::new("spec.names");
    let needed = [
        ("plural", &names.plural),
        ("singular", &names.singular),
        ("kind", &names.kind),
        ("listKind", &names.list_kind),
    ];
    let mut errors: Errors = needed
        .into_iter()
        .filter(|(_, name)| name.is_empty())
        .map(|(key, _)| FieldError::required(&path.child(key), ""))
        .collect();
    errors.extend(name_forms(names, &path));
    errors
}

fn name_forms(wanted: &Names, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut check = |path: Path, name: &str, form: &str, prefix: &str| {
        let wrong = names::dns1035_label(form);
        if !name.is_empty() && !wrong.is_empty() {
            errors.push(FieldError::invalid(&path, name, format!("{prefix}{}", wrong.join(","))));
        }
    };
    let mixed = "may have mixed case, but should otherwise match: ";
    check(path.child("plural"), &wanted.plural, &wanted.plural, "");
    check(path.child("singular"), &wanted.singular, &wanted.singular, "");
    check(path.child("kind"), &wanted.kind, &wanted.kind.to_lowercase(), mixed);
    check(path.child("listKind"), &wanted.list_kind, &wanted.list_kind.to_lowercase(), mixed);
    for (key, list) in [("shortNames", &wanted.short_names), ("categories", &wanted.categories)] {
        for (index, name) in list.iter().enumerate() {
            check(path.child(key).index(index), name, name, "");
        }
    }
    if !wanted.kind.is_empty() && wanted.kind == wanted.list_kind {
        let why = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(&path.child("listKind"), wanted.list_kind.as_str(), why));
    }
    errors
}

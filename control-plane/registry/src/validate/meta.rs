//! metadata: names, labels, annotations, owners, finalizers.
//!
//! Rules: upstream's `ValidateObjectMetaAccessor` and `ValidateObjectMetaAccessorUpdate`.

use crate::{kind::Kind, meta, strategy::NameRule};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;

/// Sum of the annotations' keys and values.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// Finalizers without a domain that are known.
const STANDARD_FINALIZERS: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];

/// The garbage collector's own, of which nobody is warned.
const COLLECTORS: &[&str] = &["orphan", "foregroundDeletion"];

/// Groups whose objects may have finalizers without a domain that nobody knows, as custom kinds may: upstream validates
/// them with the rules of its machinery (`apimachinery/pkg/api/validation`), not with those of its core kinds.
const ANY_FINALIZER: &[&str] = &[
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "coordination.k8s.io",
];

/// All that is wrong with the metadata of an object.
pub fn object_meta(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let path = Path::new("metadata");
    let mut errors = Vec::new();
    let rule = kind.strategy.name_rule();
    let generate = meta::field(object, "generateName");
    if !generate.is_empty() {
        // A generated name may end in what the random part will follow.
        let shown = format!("{}x", generate);
        errors.extend(
            name_errors(rule, &shown)
                .into_iter()
                .map(|detail| FieldError::invalid(&path.child("generateName"), generate, detail)),
        );
    }
    let name = meta::field(object, "name");
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), "name or generateName is required"));
    } else {
        errors.extend(invalid(&path.child("name"), name, name_errors(rule, name)));
    }
    let namespace = meta::field(object, "namespace");
    if kind.namespaced {
        if namespace.is_empty() {
            errors.push(FieldError::required(&path.child("namespace"), ""));
        } else {
            errors.extend(invalid(&path.child("namespace"), namespace, names::dns1123_label(namespace)));
        }
    } else if !namespace.is_empty() {
        errors.push(FieldError::forbidden(&path.child("namespace"), "not allowed on this type"));
    }
    errors.extend(labels(&path.child("labels"), object.pointer("/metadata/labels")));
    errors.extend(annotations(&path.child("annotations"), object));
    errors.extend(owners(&path.child("ownerReferences"), object));
    errors.extend(finalizers(kind, &path.child("finalizers"), object));
    errors
}

/// All that is wrong with a change of the metadata.
pub fn object_meta_update(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let path = Path::new("metadata");
    let mut errors = object_meta(kind, new);
    for key in ["name", "namespace"] {
        let (after, before) = (meta::field(new, key), meta::field(old, key));
        if after != before {
            errors.push(FieldError::invalid(&path.child(key), after, "field is immutable"));
        }
    }
    if meta::deleting(old) {
        let before = meta::finalizers(old);
        let added: Vec<String> = meta::finalizers(new)
            .into_iter()
            .filter(|name| !before.contains(name))
            .map(|name| format!("\"{name}\""))
            .collect();
        if !added.is_empty() {
            errors.push(FieldError::forbidden(
                &path.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers \
                     []string{{{}}}",
                    added.join(", ")
                ),
            ));
        }
    }
    errors
}

/// The field is not what it was.
pub fn immutable(path: &Path, new: Option<&Value>, old: Option<&Value>) -> Option<FieldError> {
    (new.unwrap_or(&Value::Null) != old.unwrap_or(&Value::Null))
        .then(|| FieldError::invalid(path, new.cloned().unwrap_or_default(), "field is immutable"))
}

/// What a rule finds wrong with a name.
pub fn name_errors(rule: NameRule, name: &str) -> Vec<String> {
    match rule {
        NameRule::Subdomain => names::dns1123_subdomain(name),
        NameRule::Label => names::dns1123_label(name),
        NameRule::Dns1035 => names::dns1035_label(name),
        NameRule::PathSegment => names::path_segment(name),
        NameRule::Ip => match name.parse::<std::net::IpAddr>() {
            Ok(address) if address.to_string() == name => Vec::new(),
            Ok(address) => vec![format!("must be in canonical form (\"{address}\")")],
            Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
        },
    }
}

/// One error per text.
pub fn invalid(path: &Path, value: &str, details: Vec<String>) -> Vec<FieldError> {
    details.into_iter().map(|detail| FieldError::invalid(path, value, detail)).collect()
}

/// Label keys and values.
pub fn labels(path: &Path, labels: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        errors.extend(invalid(path, key, names::qualified_name(key)));
        let value = value.as_str().unwrap_or_default();
        errors.extend(invalid(path, value, names::label_value(value)));
    }
    errors
}

/// Annotations in an object's metadata, or in that of a template.
pub fn annotations(path: &Path, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut bytes = 0;
    for (key, value) in meta::entries(object, &["metadata", "annotations"]) {
        errors.extend(invalid(path, key, names::qualified_name(&key.to_lowercase())));
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_BYTES_MAX));
    }
    errors
}

fn owners(path: &Path, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut controller: Option<&str> = None;
    for (index, owner) in meta::items(object, &["metadata", "ownerReferences"]).iter().enumerate() {
        let path = path.index(index);
        let messages = [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ];
        for (key, detail) in messages {
            if meta::text(owner, &[key]).is_empty() {
                errors.push(FieldError::invalid(&path.child(key), "", detail));
            }
        }
        if meta::text(owner, &["apiVersion"]) == "v1" && meta::text(owner, &["kind"]) == "Event" {
            errors.push(FieldError::invalid(
                &path,
                owner.clone(),
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            let name = meta::text(owner, &["name"]);
            if let Some(first) = controller {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                );
                errors.push(FieldError::invalid(
                    &Path::new("metadata.ownerReferences"),
                    owner.clone(),
                    detail,
                ));
            }
            controller = Some(name);
        }
    }
    errors
}

fn finalizers(kind: &Kind, path: &Path, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let all = meta::finalizers(object);
    let any = kind.custom.is_some() || ANY_FINALIZER.contains(&&*kind.group);
    for (index, name) in all.iter().enumerate() {
        errors.extend(match any {
            true => invalid(&path.index(index), name, names::qualified_name(name)),
            false => finalizer_name(&path.index(index), name),
        });
    }
    if all.contains(&"orphan") && all.contains(&"foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(path, serde_json::json!(all), detail));
    }
    errors
}

/// A finalizer is a standard one or has a domain.
pub fn finalizer_name(path: &Path, name: &str) -> Vec<FieldError> {
    let mut errors = invalid(path, name, names::qualified_name(name));
    if errors.is_empty() && !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
        let detail = "name is neither a standard finalizer name nor is it fully qualified";
        errors.push(FieldError::invalid(path, name, detail));
    }
    errors
}

/// Warnings of finalizers without a domain that `old` had not, for kinds that may have them.
pub fn finalizer_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let before = old.map(meta::finalizers).unwrap_or_default();
    let mut added: Vec<&str> = meta::finalizers(new);
    added.retain(|name| !before.contains(name) && !name.contains('/') && !COLLECTORS.contains(name));
    added.sort_unstable();
    let of = |name: &str| {
        format!(
            "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name including a path (/) to avoid \
             accidental conflicts with other finalizer writers"
        )
    };
    added.into_iter().map(of).collect()
}

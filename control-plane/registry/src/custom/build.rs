//! From an established definition to its kinds, one for each served version, the preferred one first.

use super::{Custom, CustomResource, Definition, JsonPath, ScalePaths, definition::Version};
use crate::{
    convert::{Family, Hook},
    kind::{Column, Kind, Name, Storage, Subresource},
    scan::FieldTree,
    table,
};
use keelson_store::Revision;
use serde_json::{Value, json};
use std::{cmp::Ordering, sync::Arc};

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const SUBRESOURCE_VERBS: [&str; 3] = ["get", "patch", "update"];
static RULES: CustomResource = CustomResource;

/// The kinds of a definition; none while it is not established. `since` is the revision of its last change that matters.
/// The first one is what objects are cached as, in the storage version, whether it is served or not.
pub(crate) fn kinds_of(definition: &Definition, since: Revision) -> Option<(Arc<Kind>, Vec<Arc<Kind>>)> {
    let storage = definition.storage_version().filter(|_| definition.is("Established"))?;
    let family = Hook::of(definition).map(|hook| Arc::new(family(definition, hook)));
    let kind = |version| Arc::new(kind(definition, version, storage, family.as_ref(), since));
    let stored = kind(storage);
    let mut versions: Vec<&Version> =
        definition.spec.versions.iter().filter(|version| version.served).collect();
    versions.sort_by(|a, b| by_priority(&a.name, &b.name));
    let served =
        versions.into_iter().map(|version| if version.storage { stored.clone() } else { kind(version) });
    Some((stored.clone(), served.collect()))
}

/// Objects may be in every version, served or not.
fn family(definition: &Definition, hook: Hook) -> Family {
    let versions = definition.spec.versions.iter();
    let versions =
        versions.map(|version| (api_version(definition, version), Arc::new(schema(definition, version))));
    Family::new(definition.status.accepted_names.kind.clone(), hook, versions.collect())
}

fn api_version(definition: &Definition, version: &Version) -> String {
    format!("{}/{}", definition.spec.group, version.name)
}

fn schema(definition: &Definition, version: &Version) -> keelson_schema::Custom {
    let declared = version.schema.as_ref().and_then(|schema| schema.open_api.clone());
    let declared =
        declared.unwrap_or_else(|| json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
    let kind = &definition.status.accepted_names.kind;
    keelson_schema::Custom::new(&definition.spec.group, &version.name, kind, declared)
}

fn kind(
    definition: &Definition,
    version: &Version,
    storage: &Version,
    family: Option<&Arc<Family>>,
    since: Revision,
) -> Kind {
    let (group, names) = (&definition.spec.group, &definition.status.accepted_names);
    let own = api_version(definition, version);
    let known = family.and_then(|family| family.schema(&own)).cloned();
    let selectable: Vec<Name> = version
        .selectable_fields
        .iter()
        .map(|field| Name::Owned(field.json_path.trim_start_matches('.').to_owned()))
        .collect();
    let owned = |names: &[String]| names.iter().cloned().map(Name::Owned).collect();
    let custom = Custom {
        schema: known.unwrap_or_else(|| Arc::new(schema(definition, version))),
        family: family.cloned(),
        storage_version: api_version(definition, storage),
        head: format!("{{\"apiVersion\":{},", Value::String(own)).into_bytes(),
        stores: version.storage,
        since,
        scale: scale(version),
        columns: columns(version).into_iter().map(|(_, path, ty)| (path, ty)).collect(),
        deprecation: deprecation(group, version, &names.kind),
        terminating: definition.is_deleting(),
    };
    Kind {
        id: Kind::next_id(),
        group: Name::Owned(group.clone()),
        version: Name::Owned(version.name.clone()),
        kind: Name::Owned(names.kind.clone()),
        list_kind: Name::Owned(names.list_kind.clone()),
        plural: Name::Owned(names.plural.clone()),
        singular: Name::Owned(names.singular.clone()),
        namespaced: definition.spec.scope == "Namespaced",
        verbs: VERBS.to_vec(),
        short_names: owned(&names.short_names),
        categories: owned(&names.categories),
        subresources: subresources(version),
        fields: FieldTree::of_paths(&selectable),
        selectable_fields: selectable,
        columns: std::iter::once(Column {
            name: "Name".into(),
            type_: "string".into(),
            format: "name".into(),
            priority: 0,
        })
        .chain(columns(version).into_iter().map(|(column, ..)| column))
        .collect(),
        storage: Storage::Own,
        strategy: &RULES,
        prefix: table::prefix(group, &names.plural),
        custom: Some(Arc::new(custom)),
    }
}

fn subresources(version: &Version) -> Vec<Subresource> {
    let Some(declared) = &version.subresources else { return Vec::new() };
    let scale = declared.scale.is_some().then_some(("scale", Some(("autoscaling", "v1", "Scale"))));
    let status = declared.status.is_some().then_some(("status", None));
    scale
        .into_iter()
        .chain(status)
        .map(|(name, body)| Subresource { name, verbs: SUBRESOURCE_VERBS.to_vec(), body })
        .collect()
}

fn scale(version: &Version) -> Option<ScalePaths> {
    let declared = version.subresources.as_ref()?.scale.as_ref()?;
    let names = |path: &str| -> Option<Vec<String>> {
        let path = JsonPath::parse(path).ok()?;
        Some(path.fields()?.into_iter().map(str::to_owned).collect())
    };
    Some(ScalePaths {
        replicas: names(&declared.spec_replicas_path)?,
        observed: names(&declared.status_replicas_path)?,
        selector: declared.label_selector_path.as_deref().filter(|path| !path.is_empty()).and_then(names),
    })
}

/// The declared columns, or the age.
fn columns(version: &Version) -> Vec<(Column, JsonPath, String)> {
    let mut declared = version.additional_printer_columns.clone();
    if declared.is_empty() {
        declared.push(super::definition::PrinterColumn {
            name: "Age".to_owned(),
            type_: "date".to_owned(),
            json_path: ".metadata.creationTimestamp".to_owned(),
            ..Default::default()
        });
    }
    declared
        .into_iter()
        .filter_map(|column| {
            // What cannot be read was refused when the definition was written.
            let path = JsonPath::parse(&column.json_path).ok()?;
            let shown = Column {
                name: Name::Owned(column.name),
                type_: Name::Owned(column.type_.clone()),
                format: Name::Owned(column.format),
                priority: column.priority,
            };
            Some((shown, path, column.type_))
        })
        .collect()
}

fn deprecation(group: &str, version: &Version, kind: &str) -> Option<String> {
    let own = version.deprecation_warning.clone();
    version
        .deprecated
        .then(|| own.unwrap_or_else(|| format!("{group}/{} {kind} is deprecated", version.name)))
}

/// v2 before v1 before v1beta2 before v1alpha1 before whatever else, as upstream's `CompareKubeAwareVersionStrings`.
fn by_priority(a: &str, b: &str) -> Ordering {
    match (rank(a), rank(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Stability, then the major number, then the minor one.
fn rank(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, rest) = (rest[..digits].parse().ok()?, &rest[digits..]);
    let (stability, minor) = match rest {
        "" => return Some((2, major, 0)),
        rest if rest.starts_with("beta") => (1, &rest[4..]),
        rest if rest.starts_with("alpha") => (0, &rest[5..]),
        _ => return None,
    };
    Some((stability, major, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_preferred_by_stability_then_number() {
        let mut versions = ["foo1", "v1alpha1", "v10", "v1", "v2beta1", "v2", "v1beta2", "foo10"];
        versions.sort_by(|a, b| by_priority(a, b));
        assert_eq!(versions, ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "foo1", "foo10"]);
    }

    #[test]
    fn a_definition_is_served_once_it_is_established() {
        let object = json!({
            "metadata": {"name": "tabs.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced",
                "names": {"plural": "tabs", "singular": "tab", "kind": "Tab", "listKind": "TabList"},
                "versions": [
                    {"name": "v1beta1", "served": true, "storage": false},
                    {"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}},
                    {"name": "v1alpha1", "served": false, "storage": false},
                ]
            }
        });
        let mut definition = Definition::read(&object).expect("a definition");
        assert!(kinds_of(&definition, 1).is_none());
        definition.status.accepted_names = definition.spec.names.clone();
        definition.status.conditions = vec![json!({"type": "Established", "status": "True"})];
        let (stored, served) = kinds_of(&definition, 1).expect("it is established");
        let names: Vec<&str> = served.iter().map(|kind| &*kind.version).collect();
        assert_eq!((&*stored.version, names), ("v1", vec!["v1", "v1beta1"]));
        assert!(stored.has_status() && !served[1].has_status());
        assert_eq!(stored.prefix, "/registry/example.com/tabs/");
    }
}

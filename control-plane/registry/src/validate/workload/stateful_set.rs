//! StatefulSets: a volume claim of each pod's own, an order, a few fields that may change.

use super::{at_most_all, is_zero, never_ending, selected, share, template};
use crate::{
    meta,
    validate::{Errors, claim, meta::invalid, non_negative, one_of},
};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::{Value, json};

/// What may change in a StatefulSet's spec.
const MUTABLE: &[&str] = &[
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// A StatefulSet's spec.
pub fn stateful_set_spec(spec: &Value) -> Errors {
    let mut errors = settings(spec);
    let path = Path::new("spec");
    let service = meta::text(spec, &["serviceName"]);
    if !service.is_empty() {
        errors.extend(invalid(&path.child("serviceName"), service, names::dns1123_label(service)));
    }
    errors.extend(claims(&path.child("volumeClaimTemplates"), spec));
    errors.extend(pods(spec));
    errors
}

/// A change of a StatefulSet's spec. The template is judged only when it is another one: before 1.35 servers took any.
pub fn stateful_set_update(new: &Value, old: &Value) -> Errors {
    let mut errors = settings(new);
    if new.get("template") != old.get("template") {
        errors.extend(pods(new));
    }
    let fixed = |spec: &Value| {
        let mut spec = spec.clone();
        for key in MUTABLE {
            meta::map_of(&mut spec).remove(*key);
        }
        spec
    };
    if fixed(new) != fixed(old) {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                      'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                      'minReadySeconds' are forbidden";
        errors.push(FieldError::forbidden(&Path::new("spec"), detail));
    }
    errors
}

/// All but the pods and their claims.
fn settings(spec: &Value) -> Errors {
    let path = Path::new("spec");
    let mut errors = Errors::new();
    let policy = meta::text(spec, &["podManagementPolicy"]);
    match policy {
        "" => errors.push(FieldError::required(&path.child("podManagementPolicy"), "")),
        "OrderedReady" | "Parallel" => {}
        _ => errors.push(FieldError::invalid(
            &path.child("podManagementPolicy"),
            policy,
            "must be 'OrderedReady' or 'Parallel'",
        )),
    }
    errors.extend(update_strategy(&path.child("updateStrategy"), &spec["updateStrategy"]));
    let retention = path.child("persistentVolumeClaimRetentionPolicy");
    for key in ["whenDeleted", "whenScaled"] {
        let given = &spec["persistentVolumeClaimRetentionPolicy"];
        errors.extend(one_of(&retention, given, key, &["Retain", "Delete"]));
    }
    for key in ["replicas", "minReadySeconds", "revisionHistoryLimit"] {
        errors.extend(non_negative(&path, spec, key));
    }
    errors.extend(non_negative(&path.child("ordinals"), &spec["ordinals"], "start"));
    errors.extend(selected(&path, spec, "empty selector is invalid for statefulset"));
    errors
}

fn update_strategy(path: &Path, strategy: &Value) -> Errors {
    let rolling = meta::at(strategy, &["rollingUpdate"]);
    let own = path.child("rollingUpdate");
    match (meta::text(strategy, &["type"]), rolling) {
        ("", _) => vec![FieldError::required(path, "")],
        ("OnDelete", Some(rolling)) => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            vec![FieldError::invalid(&own, rolling.clone(), detail)]
        }
        ("RollingUpdate", Some(rolling)) => {
            let mut errors: Errors = non_negative(&own, rolling, "partition").into_iter().collect();
            if let Some(most) = meta::at(rolling, &["maxUnavailable"]) {
                let path = own.child("maxUnavailable");
                errors.extend(share(&path, most));
                if is_zero(most) {
                    errors.push(FieldError::invalid(&path, most.clone(), "cannot be 0"));
                }
                errors.extend(at_most_all(&path, most));
            }
            errors
        }
        ("OnDelete" | "RollingUpdate", None) => Errors::new(),
        _ => vec![FieldError::invalid(path, strategy.clone(), "must be 'RollingUpdate' or 'OnDelete'")],
    }
}

fn claims(path: &Path, spec: &Value) -> Errors {
    let mut errors = Errors::new();
    for (index, given) in meta::items(spec, &["volumeClaimTemplates"]).iter().enumerate() {
        let path = path.index(index);
        let name = meta::field(given, "name");
        errors.extend(invalid(&path.child("metadata.name"), name, names::dns1123_label(name)));
        errors.extend(claim::spec(&path.child("spec"), &given["spec"]));
    }
    errors
}

/// The template with the volumes that the claims will be: a claim takes the place of a volume of its name.
fn pods(spec: &Value) -> Errors {
    let path = Path::new("spec.template");
    let mut whole = spec["template"].clone();
    let claims: Vec<&str> = meta::items(spec, &["volumeClaimTemplates"])
        .iter()
        .map(|claim| meta::field(claim, "name"))
        .filter(|name| !name.is_empty())
        .collect();
    let mut volumes = meta::items(&whole, &["spec", "volumes"]).to_vec();
    volumes.retain(|volume| !claims.contains(&meta::text(volume, &["name"])));
    // Behind the others, so that the paths of those stay.
    volumes.extend(
        claims.iter().map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}})),
    );
    if let Some(pod) = whole.get_mut("spec")
        && !volumes.is_empty()
    {
        meta::map_of(pod).insert("volumes".to_owned(), Value::Array(volumes));
    }
    let mut errors = template(&path, &whole);
    errors.extend(never_ending(&path, &whole, "StatefulSet"));
    errors
}

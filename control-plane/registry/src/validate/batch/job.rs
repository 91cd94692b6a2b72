//! Jobs: how many pods, how often they may fail, what they are known by.
//!
//! Rules: upstream's `ValidateJob`, `validateJobSpec` and `ValidateGeneratedSelector`.

use super::{failure_policy::failure_policy, success_policy::success_policy};
use crate::{
    meta,
    validate::{
        Errors, domain_prefixed, non_negative, one_of,
        selector::label_selector,
        workload::{labels_match, template},
    },
};
use keelson_schema::{FieldError, Path};
use serde_json::Value;

/// Pods of an indexed Job at once.
const INDEXED_PARALLELISM_MAX: i64 = 100_000;
/// Over so many completions, failures of single indexes are bounded more tightly.
const MANY_COMPLETIONS: i64 = 100_000;
/// Then, for parallelism and for maxFailedIndexes.
const MANY_COMPLETIONS_MAX: i64 = 10_000;
const MANAGED_BY_BYTES_MAX: usize = 63;

/// What a generated selector and the pods of its Job are known by.
pub const UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
/// Likewise, by name.
pub const NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

/// A Job's spec, with the selector that it has by now.
pub fn job(spec: &Value) -> Errors {
    let path = Path::new("spec");
    let mut errors = job_spec(&path, spec);
    match meta::at(spec, &["selector"]) {
        None => errors.push(FieldError::required(&path.child("selector"), "")),
        Some(selector) => errors.extend(label_selector(&path.child("selector"), selector)),
    }
    errors.extend(labels_match(&path, spec));
    errors
}

/// The labels by which a new Job's pods are told apart from all others are those of this Job.
pub fn generated_selector(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let is_manual = object.pointer("/spec/manualSelector") == Some(&Value::Bool(true));
    let Some(selector) = meta::at(object, &["spec", "selector"]).filter(|_| !is_manual) else {
        return errors;
    };
    let (uid, name) = (meta::field(object, "uid"), meta::field(object, "name"));
    let expected = UID_LABELS.map(|key| (key, uid)).into_iter().chain(NAME_LABELS.map(|key| (key, name)));
    let labels = object.pointer("/spec/template/metadata/labels");
    for (key, value) in expected.clone() {
        let path = Path::new("spec.template.metadata.labels").key(key);
        let detail = format!("must be '{value}'");
        match labels.and_then(|labels| labels.get(key)).and_then(Value::as_str) {
            None => errors.push(FieldError::required(&path, detail)),
            Some(given) if given != value => errors.push(FieldError::invalid(&path, given, detail)),
            Some(_) => {}
        }
    }
    let own: Value = expected.map(|(key, value)| (key.to_owned(), Value::from(value))).collect();
    let fits = crate::validate::selector::parsed(selector)
        .is_none_or(|parsed| crate::validate::selector::selects(&parsed, Some(&own)));
    if !fits {
        let detail = "`selector` not auto-generated";
        errors.push(FieldError::invalid(&Path::new("spec.selector"), selector.clone(), detail));
    }
    errors
}

/// What holds of a Job and of a template of Jobs.
pub(super) fn job_spec(path: &Path, spec: &Value) -> Errors {
    const COUNTS: &[&str] = &[
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    let mut errors: Errors = COUNTS.iter().filter_map(|key| non_negative(path, spec, key)).collect();
    errors.extend(completion(path, spec));
    errors.extend(failures_of_indexes(path, spec));
    let failures = meta::at(spec, &["podFailurePolicy"]);
    if let Some(policy) = failures {
        errors.extend(failure_policy(&path.child("podFailurePolicy"), policy, spec));
    }
    if let Some(policy) = meta::at(spec, &["successPolicy"]) {
        errors.extend(success_policy(&path.child("successPolicy"), policy, spec));
    }
    let replacements: &[&str] =
        if failures.is_some() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    errors.extend(one_of(path, spec, "podReplacementPolicy", replacements));
    if let Some(manager) = meta::at(spec, &["managedBy"]).and_then(Value::as_str) {
        let path = path.child("managedBy");
        errors.extend(domain_prefixed(&path, manager));
        if manager.len() > MANAGED_BY_BYTES_MAX {
            errors.push(FieldError::too_long(&path, MANAGED_BY_BYTES_MAX));
        }
    }
    errors.extend(template(&path.child("template"), &spec["template"]));
    errors.extend(restart(&path.child("template.spec.restartPolicy"), spec, failures.is_some()));
    errors
}

pub(super) fn is_indexed(spec: &Value) -> bool {
    meta::text(spec, &["completionMode"]) == "Indexed"
}

fn completion(path: &Path, spec: &Value) -> Errors {
    let mut errors: Errors =
        one_of(path, spec, "completionMode", &["Indexed", "NonIndexed"]).into_iter().collect();
    if is_indexed(spec) {
        if meta::number(spec, &["completions"]).is_none() {
            let detail = "when completion mode is Indexed";
            errors.push(FieldError::required(&path.child("completions"), detail));
        }
        let at_once = meta::number(spec, &["parallelism"]).unwrap_or_default();
        if at_once > INDEXED_PARALLELISM_MAX {
            let detail = format!(
                "must be less than or equal to {INDEXED_PARALLELISM_MAX} when completion mode is Indexed"
            );
            errors.push(FieldError::invalid(&path.child("parallelism"), at_once, detail));
        }
    }
    errors
}

fn failures_of_indexes(path: &Path, spec: &Value) -> Errors {
    let number = |key: &str| meta::number(spec, &[key]);
    let (per_index, failed) = (number("backoffLimitPerIndex"), number("maxFailedIndexes"));
    let (completions, at_once) = (number("completions"), number("parallelism").unwrap_or_default());
    let mut errors = Errors::new();
    if let Some(limit) = per_index.filter(|_| !is_indexed(spec)) {
        let detail = "requires indexed completion mode";
        errors.push(FieldError::invalid(&path.child("backoffLimitPerIndex"), limit, detail));
    }
    let own = path.child("maxFailedIndexes");
    if let Some(failed) = failed {
        if per_index.is_none() {
            let detail = "when maxFailedIndexes is specified";
            errors.push(FieldError::required(&path.child("backoffLimitPerIndex"), detail));
        }
        if completions.is_some_and(|completions| failed > completions) {
            errors.push(FieldError::invalid(&own, failed, "must be less than or equal to completions"));
        }
    }
    if per_index.is_none() || completions.is_none_or(|completions| completions <= MANY_COMPLETIONS) {
        return errors;
    }
    match failed {
        None => {
            let detail = format!("must be specified when completions is above {MANY_COMPLETIONS}");
            errors.push(FieldError::required(&own, detail));
        }
        Some(failed) if failed > MANY_COMPLETIONS_MAX => {
            errors.push(FieldError::invalid(&own, failed, many(MANY_COMPLETIONS_MAX)));
        }
        Some(_) => {}
    }
    if at_once > MANY_COMPLETIONS_MAX {
        let detail = many(MANY_COMPLETIONS_MAX);
        errors.push(FieldError::invalid(&path.child("parallelism"), at_once, detail));
    }
    errors
}

fn many(most: i64) -> String {
    format!(
        "must be less than or equal to {most} when completions are above {MANY_COMPLETIONS} and used with backoff \
         limit per index"
    )
}

/// A pod that is always started again never ends. The default of pods is just that, so it counts as unset.
fn restart(path: &Path, spec: &Value, has_failure_policy: bool) -> Option<FieldError> {
    match meta::text(spec, &["template", "spec", "restartPolicy"]) {
        "" | "Always" => Some(FieldError::required(path, "valid values: \"OnFailure\", \"Never\"")),
        "OnFailure" if has_failure_policy => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            Some(FieldError::invalid(path, "OnFailure", detail))
        }
        "OnFailure" | "Never" => None,
        other => Some(FieldError::not_supported(path, other, &["OnFailure", "Never"])),
    }
}

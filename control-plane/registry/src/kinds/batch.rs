//! Job and CronJob.

use super::idle;
use crate::{
    meta,
    options::Propagation,
    strategy::{Call, Strategy},
    validate::{
        Errors,
        batch::{NAME_LABELS, UID_LABELS, cron_job, generated_selector, job, job_status, job_update},
    },
    warn::{self, Notes, Place},
};
use serde_json::{Value, json};

/// Job.
pub struct Job;

impl Strategy for Job {
    fn has_generation(&self) -> bool {
        true
    }

    /// As before there was a garbage collector: batch/v1 promised so.
    fn unsaid_propagation(&self) -> Option<&'static str> {
        Some(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or \
             set propagationPolicy=Orphan to suppress this warning",
        )
    }

    fn default_propagation(&self) -> Propagation {
        Propagation::Orphan
    }

    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        meta::map_of(object).insert("status".to_owned(), json!({}));
        if object.pointer("/spec/manualSelector") != Some(&json!(true)) {
            generate_selector(object);
        }
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let mut errors = generated_selector(object);
        errors.extend(job(&object["spec"]));
        errors
    }

    fn validate_update(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        job_update(new, old)
    }

    fn validate_status(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        job_status(new, old)
    }

    fn warnings(&self, call: &Call<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut notes = Notes::from(idle::warnings(call.kind, old));
        warnings_of(&Place::Root.field("spec"), new, &new["spec"], old, &mut notes);
        notes.into_texts()
    }
}

/// What a Job and a CronJob are warned of alike; `spec` is the Job's.
fn warnings_of(place: &Place<'_>, new: &Value, spec: &Value, old: Option<&Value>, notes: &mut Notes) {
    if old.is_none() {
        warn::name(new, warn::IN_POD_NAMES, notes);
    }
    if warn::is_new(new, old) {
        warn::job::spec(place, spec, notes);
    }
}

/// Pods get the Job's name and uid as labels, and the Job selects by the uid. What the client gave itself stays, and is
/// refused by validation where it differs.
fn generate_selector(object: &mut Value) {
    let (uid, name) = (json!(meta::field(object, "uid")), json!(meta::field(object, "name")));
    let Some(spec) = object.get_mut("spec") else { return };
    let labels = child(child(child(spec, "template"), "metadata"), "labels");
    for (keys, value) in [(UID_LABELS, &uid), (NAME_LABELS, &name)] {
        for key in keys {
            meta::map_of(labels).entry(key).or_insert_with(|| value.clone());
        }
    }
    let selected = child(child(spec, "selector"), "matchLabels");
    meta::map_of(selected).entry(UID_LABELS[0]).or_insert(uid);
}

fn child<'a>(parent: &'a mut Value, key: &str) -> &'a mut Value {
    let slot = meta::map_of(parent).entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = json!({});
    }
    slot
}

/// CronJob.
pub struct CronJob;

impl Strategy for CronJob {
    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        meta::map_of(object).insert("status".to_owned(), json!({}));
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        cron_job(object, None)
    }

    fn validate_update(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        cron_job(new, Some(old))
    }

    fn warnings(&self, call: &Call<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut notes = Notes::from(idle::warnings(call.kind, old));
        let place = Place::Root.field("spec.jobTemplate.spec");
        warnings_of(&place, new, &new["spec"]["jobTemplate"]["spec"], old, &mut notes);
        if old.is_some() {
            warn::job::schedule(new, &mut notes);
        }
        notes.into_texts()
    }
}

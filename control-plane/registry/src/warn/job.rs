//! Jobs, and the templates of such.
//!
//! Rules: upstream's `pkg/api/job/warnings.go`.

use super::{Notes, Place, pod};
use crate::meta;
use serde_json::Value;

/// Completions, and with them pods at a time, above which an Indexed Job cannot tell all indexes that failed.
const COMPLETIONS_MAX: i64 = 100_000;
const PARALLELISM_MAX: i64 = 10_000;

/// The spec of a Job.
pub fn spec(place: &Place<'_>, spec: &Value, notes: &mut Notes) {
    let above = |key: &str, max: i64| meta::number(spec, &[key]).is_some_and(|number| number > max);
    if meta::text(spec, &["completionMode"]) == "Indexed"
        && above("completions", COMPLETIONS_MAX)
        && above("parallelism", PARALLELISM_MAX)
    {
        notes.add(
            place,
            "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes \
             might not be able to track completedIndexes when a big number of indexes fail",
        );
    }
    pod::template(&place.field("template"), &spec["template"], notes);
}

/// A zone in the schedule of a CronJob, which an update may leave where it was.
pub fn schedule(cron_job: &Value, notes: &mut Notes) {
    if meta::text(cron_job, &["spec", "schedule"]).contains("TZ") {
        // The place is upstream's, one spec too many.
        notes.say(
            "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see \
             https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn indexes_beyond_what_is_tracked_are_warned_of() {
        let told = |mode: &str, completions: i64, parallelism: i64| {
            let mut notes = Notes::default();
            let job = json!({"completionMode": mode, "completions": completions, "parallelism": parallelism});
            spec(&Place::Root.field("spec"), &job, &mut notes);
            notes.into_texts()
        };
        assert!(told("Indexed", 100_001, 10_000).is_empty());
        assert!(told("Indexed", 100_000, 10_001).is_empty());
        assert!(told("NonIndexed", 100_001, 10_001).is_empty());
        let text = told("Indexed", 100_001, 10_001);
        assert!(
            text[0].starts_with("spec: In Indexed Jobs with a number of completions higher than 10^5"),
            "{text:?}"
        );
    }

    #[test]
    fn a_zone_in_a_schedule_is_warned_of() {
        for (text, expected) in [("0 * * * *", 0), ("TZ=UTC 0 * * * *", 1), ("CRON_TZ=UTC 0 * * * *", 1)] {
            let mut notes = Notes::default();
            schedule(&json!({"spec": {"schedule": text}}), &mut notes);
            assert_eq!(notes.into_texts().len(), expected, "{text}");
        }
    }
}

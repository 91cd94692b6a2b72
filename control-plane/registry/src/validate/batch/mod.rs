//! Kinds of batch: Jobs, and Jobs on a schedule.

mod cron_job;
mod failure_policy;
mod job;
mod job_status;
mod job_update;
mod success_policy;

pub use cron_job::cron_job;
pub use job::{NAME_LABELS, UID_LABELS, generated_selector, job};
pub use job_status::job_status;
pub use job_update::job_update;

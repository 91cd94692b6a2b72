//! How often a configuration file that changed was taken over, or could not be; under upstream's names.

use crate::server::ApiServer;
use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::SystemTime,
};

/// A file that is read again when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigFile {
    /// `--authentication-config`.
    Authentication,
    /// `--authorization-config`.
    Authorization,
}

impl ConfigFile {
    const ALL: [(Self, &'static str); 2] =
        [(Self::Authentication, "authentication"), (Self::Authorization, "authorization")];
}

/// Of one file: failures, then successes.
#[derive(Default)]
struct Outcomes([Outcome; 2]);

#[derive(Default)]
struct Outcome {
    count: AtomicU64,
    /// Seconds since the epoch.
    last_s: AtomicU64,
}

/// Of all files.
#[derive(Default)]
pub(crate) struct Reloads([Outcomes; 2]);

impl ApiServer {
    /// Counts that a changed file was read again, and whether it could be used.
    pub fn note_reload(&self, file: ConfigFile, is_used: bool) {
        let outcome = &self.inner.reloads.0[file as usize].0[usize::from(is_used)];
        outcome.count.fetch_add(1, Relaxed);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        outcome.last_s.store(now.as_secs(), Relaxed);
    }
}

impl Reloads {
    /// The Prometheus text format; only what has happened.
    pub(crate) fn render(&self, out: &mut String) {
        for (file, name) in ConfigFile::ALL {
            let prefix = format!("apiserver_{name}_config_controller_automatic_reload");
            let outcomes = &self.0[file as usize].0;
            if outcomes.iter().all(|outcome| outcome.count.load(Relaxed) == 0) {
                continue;
            }
            let mut family = |rest: &str, kind: &str, help: &str, of: &dyn Fn(&Outcome) -> u64| {
                let _ = writeln!(out, "# HELP {prefix}{rest} [BETA] {help}\n# TYPE {prefix}{rest} {kind}");
                let seen = outcomes.iter().zip(["failure", "success"]);
                for (outcome, status) in seen.filter(|(outcome, _)| outcome.count.load(Relaxed) > 0) {
                    let _ = writeln!(out, "{prefix}{rest}{{status=\"{status}\"}} {}", of(outcome));
                }
            };
            let total = format!("Total number of automatic reloads of {name} configuration split by status.");
            family("s_total", "counter", &total, &|outcome| outcome.count.load(Relaxed));
            let last =
                format!("Timestamp of the last automatic reload of {name} configuration split by status.");
            family("_last_timestamp_seconds", "gauge", &last, &|outcome| outcome.last_s.load(Relaxed));
        }
    }
}

//! What is counted, under upstream's names.

use crate::policy::Level;
use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Who may lose an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plugin {
    /// A queue that was full.
    Buffered,
    /// The file.
    Log,
    /// An event without bodies was still too long.
    Truncate,
    /// The webhook.
    Webhook,
}

impl Plugin {
    const ALL: [Self; 4] = [Self::Buffered, Self::Log, Self::Truncate, Self::Webhook];

    fn as_str(self) -> &'static str {
        match self {
            Self::Buffered => "buffered",
            Self::Log => "log",
            Self::Truncate => "truncate",
            Self::Webhook => "webhook",
        }
    }
}

/// Counters of one auditor.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    events: AtomicU64,
    levels: [AtomicU64; Level::ALL.len()],
    errors: [AtomicU64; Plugin::ALL.len()],
    rejected: AtomicU64,
}

impl Metrics {
    pub(crate) fn event(&self) {
        self.events.fetch_add(1, Relaxed);
    }

    pub(crate) fn level(&self, level: Level) {
        self.levels[level as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn lost(&self, plugin: Plugin, events: u64) {
        self.errors[plugin as usize].fetch_add(events, Relaxed);
    }

    pub(crate) fn rejected(&self) {
        self.rejected.fetch_add(1, Relaxed);
    }

    /// The Prometheus text format.
    pub(crate) fn render(&self, out: &mut String) {
        let mut labelled = |name: &str, help: &str, rows: &[(String, u64)]| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
            for (labels, value) in rows {
                let _ = writeln!(out, "{name}{labels} {value}");
            }
        };
        let plain = |counter: &AtomicU64| [(String::new(), counter.load(Relaxed))];
        labelled(
            "apiserver_audit_event_total",
            "[ALPHA] Counter of audit events generated and sent to the audit backend.",
            &plain(&self.events),
        );
        let of = |plugin: Plugin| {
            (format!("{{plugin=\"{}\"}}", plugin.as_str()), self.errors[plugin as usize].load(Relaxed))
        };
        labelled(
            "apiserver_audit_error_total",
            "[ALPHA] Counter of audit events that failed to be audited properly. Plugin identifies the plugin affected by the error.",
            &Plugin::ALL.map(of),
        );
        let of = |level: Level| {
            (format!("{{level=\"{}\"}}", level.as_str()), self.levels[level as usize].load(Relaxed))
        };
        labelled(
            "apiserver_audit_level_total",
            "[ALPHA] Counter of policy levels for audit events (1 per request).",
            &Level::ALL.map(of),
        );
        labelled(
            "apiserver_audit_requests_rejected_total",
            "[ALPHA] Counter of apiserver requests rejected due to an error in audit logging backend.",
            &plain(&self.rejected),
        );
    }
}

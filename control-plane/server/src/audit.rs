//! The audit log's options: the API server's of upstream, with their defaults.

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use keelson_audit::{Auditor, LogConfig, Mode, Policy, Truncate};
use std::{path::PathBuf, sync::Arc};

/// Megabytes of a file, where nothing or 0 is said.
const FILE_MB: u64 = 100;

/// The options of `serve`.
#[derive(Args)]
pub(crate) struct AuditArgs {
    /// An audit.k8s.io/v1 Policy: which requests are recorded, and how much of them. Without it none is.
    #[arg(long)]
    audit_policy_file: Option<PathBuf>,
    /// The file that events are written to; `-` is standard output.
    #[arg(long, requires = "audit_policy_file")]
    audit_log_path: Option<PathBuf>,
    /// How events are written: one JSON object a line.
    #[arg(long, default_value = "json", value_parser = format)]
    audit_log_format: String,
    /// API version of the events.
    #[arg(long, default_value = "audit.k8s.io/v1", value_parser = ["audit.k8s.io/v1"])]
    audit_log_version: String,
    /// Whether requests wait until their events are written, and whether they fail where they cannot be.
    #[arg(long, value_enum, default_value = "blocking")]
    audit_log_mode: AuditMode,
    /// Events that may wait to be written.
    #[arg(long, default_value_t = 10_000)]
    audit_log_batch_buffer_size: usize,
    /// Days that old files are kept; 0 for ever.
    #[arg(long, default_value_t = 0)]
    audit_log_maxage: u32,
    /// How many old files are kept; 0 for all.
    #[arg(long, default_value_t = 0)]
    audit_log_maxbackup: usize,
    /// Megabytes of a file before the next one is begun; 0 for the default.
    #[arg(long, default_value_t = FILE_MB)]
    audit_log_maxsize: u64,
    /// Compress old files.
    #[arg(long)]
    audit_log_compress: bool,
    /// Leave the objects out of events that are too long.
    #[arg(long)]
    audit_log_truncate_enabled: bool,
    /// Bytes of an event, with --audit-log-truncate-enabled.
    #[arg(long, default_value_t = 102_400)]
    audit_log_truncate_max_event_size: usize,
}

/// How requests wait for their events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AuditMode {
    /// Not at all; events that do not fit into the buffer are lost.
    Batch,
    /// Until they are written or cannot be.
    Blocking,
    /// The same; a request whose first event cannot be written fails.
    BlockingStrict,
}

impl From<AuditMode> for Mode {
    fn from(mode: AuditMode) -> Self {
        match mode {
            AuditMode::Batch => Self::Batch,
            AuditMode::Blocking => Self::Blocking,
            AuditMode::BlockingStrict => Self::BlockingStrict,
        }
    }
}

fn format(text: &str) -> Result<String, String> {
    match text {
        "json" => Ok(text.to_owned()),
        "legacy" => Err("\"legacy\" is not written here, only \"json\"".to_owned()),
        other => Err(format!("{other:?} is no format of audit logs, \"json\" is")),
    }
}

impl AuditArgs {
    /// Whoever records requests, where somebody shall.
    pub(crate) fn auditor(&self) -> anyhow::Result<Option<Arc<Auditor>>> {
        let Some(file) = &self.audit_policy_file else { return Ok(None) };
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let policy = Policy::parse(&text)
            .with_context(|| format!("the audit policy {} cannot be used", file.display()))?;
        let Some(path) = &self.audit_log_path else {
            bail!("--audit-policy-file needs --audit-log-path: nothing would be recorded anywhere");
        };
        ensure!(self.audit_log_batch_buffer_size > 0, "--audit-log-batch-buffer-size must be more than 0");
        ensure!(
            self.audit_log_truncate_max_event_size > 0,
            "--audit-log-truncate-max-event-size must be more than 0"
        );
        let megabytes = if self.audit_log_maxsize == 0 { FILE_MB } else { self.audit_log_maxsize };
        let truncated = self.audit_log_truncate_enabled;
        let config = LogConfig {
            path: path.clone(),
            mode: self.audit_log_mode.into(),
            queue_events_max: self.audit_log_batch_buffer_size,
            truncate: Truncate {
                event_bytes_max: truncated.then_some(self.audit_log_truncate_max_event_size),
            },
            file_bytes_max: megabytes.saturating_mul(1 << 20),
            age_days_max: self.audit_log_maxage,
            backups_max: self.audit_log_maxbackup,
            compress: self.audit_log_compress,
        };
        Ok(Some(Arc::new(Auditor::new(policy).with_log(config)?)))
    }
}

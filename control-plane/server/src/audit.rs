//! The audit log's options: the API server's of upstream, with their defaults.

use crate::serve::duration;
use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use keelson_audit::{
    Auditor, BATCH_EVENTS_MAX, Batching, LogConfig, Mode, Policy, Throttle, Truncate, WebhookConfig,
};
use keelson_webhook::{Remote, Resolve};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Megabytes of a file, where nothing or 0 is said.
const FILE_MB: u64 = 100;
/// Bytes of an event that is to be shortened.
const EVENT_BYTES: usize = 102_400;

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
    /// Events that are written by one call. In mode batch.
    #[arg(long, default_value_t = BATCH_EVENTS_MAX)]
    audit_log_batch_max_size: usize,
    /// How long as many as that are waited for (e.g. 1s). In mode batch.
    #[arg(long, default_value = "0s", value_parser = duration)]
    audit_log_batch_max_wait: Duration,
    /// Whether calls are held back. In mode batch.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    audit_log_batch_throttle_enable: bool,
    /// Calls a second, with --audit-log-batch-throttle-enable.
    #[arg(long, default_value_t = 0.0)]
    audit_log_batch_throttle_qps: f64,
    /// Calls at once, with --audit-log-batch-throttle-enable.
    #[arg(long, default_value_t = 0)]
    audit_log_batch_throttle_burst: u32,
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
    #[arg(long, default_value_t = EVENT_BYTES)]
    audit_log_truncate_max_event_size: usize,
    #[command(flatten)]
    webhook: WebhookArgs,
}

/// Of the webhook that events are sent to.
#[derive(Args)]
struct WebhookArgs {
    /// A kubeconfig file of the webhook that events are posted to, as lists.
    /// Example: --audit-webhook-config-file /etc/keelson/audit-webhook.conf
    #[arg(long, requires = "audit_policy_file")]
    audit_webhook_config_file: Option<PathBuf>,
    /// API version of the events.
    #[arg(long, default_value = "audit.k8s.io/v1", value_parser = ["audit.k8s.io/v1"])]
    audit_webhook_version: String,
    /// Whether requests wait until their events are sent, and whether they fail where they cannot be.
    #[arg(long, value_enum, default_value = "batch")]
    audit_webhook_mode: AuditMode,
    /// How long after a list that was not taken it is posted again (e.g. 10s); half as long again after each.
    #[arg(long, default_value = "10s", value_parser = duration)]
    audit_webhook_initial_backoff: Duration,
    /// Events that may wait to be sent.
    #[arg(long, default_value_t = 10_000)]
    audit_webhook_batch_buffer_size: usize,
    /// Events of a list.
    #[arg(long, default_value_t = 400)]
    audit_webhook_batch_max_size: usize,
    /// How long a list that is not full waits for more events (e.g. 30s). In mode batch.
    #[arg(long, default_value = "30s", value_parser = duration)]
    audit_webhook_batch_max_wait: Duration,
    /// Whether lists are held back. In mode batch.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    audit_webhook_batch_throttle_enable: bool,
    /// Lists a second, with --audit-webhook-batch-throttle-enable.
    #[arg(long, default_value_t = 10.0)]
    audit_webhook_batch_throttle_qps: f64,
    /// Lists at once, with --audit-webhook-batch-throttle-enable.
    #[arg(long, default_value_t = 15)]
    audit_webhook_batch_throttle_burst: u32,
    /// Leave the objects out of events that are too long, and split lists that are.
    #[arg(long)]
    audit_webhook_truncate_enabled: bool,
    /// Bytes of a list, with --audit-webhook-truncate-enabled.
    #[arg(long, default_value_t = 10_485_760)]
    audit_webhook_truncate_max_batch_size: usize,
    /// Bytes of an event, with --audit-webhook-truncate-enabled.
    #[arg(long, default_value_t = EVENT_BYTES)]
    audit_webhook_truncate_max_event_size: usize,
}

impl WebhookArgs {
    fn config(&self, resolve: Arc<dyn Resolve>) -> anyhow::Result<Option<WebhookConfig>> {
        let Some(file) = &self.audit_webhook_config_file else { return Ok(None) };
        let positive = [
            ("batch-buffer-size", self.audit_webhook_batch_buffer_size),
            ("batch-max-size", self.audit_webhook_batch_max_size),
            ("truncate-max-batch-size", self.audit_webhook_truncate_max_batch_size),
            ("truncate-max-event-size", self.audit_webhook_truncate_max_event_size),
        ];
        for (name, value) in positive {
            ensure!(value > 0, "--audit-webhook-{name} must be more than 0");
        }
        ensure!(
            self.audit_webhook_batch_max_size <= self.audit_webhook_batch_buffer_size,
            "--audit-webhook-batch-max-size must not be more than --audit-webhook-batch-buffer-size"
        );
        let throttle = Throttle {
            per_second: self.audit_webhook_batch_throttle_qps,
            burst: self.audit_webhook_batch_throttle_burst,
        };
        ensure!(
            throttle.per_second > 0.0 && throttle.burst > 0,
            "--audit-webhook-batch-throttle-qps and --audit-webhook-batch-throttle-burst must be more than 0"
        );
        let remote = Remote::load(file, resolve)
            .with_context(|| format!("--audit-webhook-config-file {}", file.display()))?;
        let truncated = self.audit_webhook_truncate_enabled;
        Ok(Some(WebhookConfig {
            remote,
            mode: self.audit_webhook_mode.into(),
            queue_events_max: self.audit_webhook_batch_buffer_size,
            batch_events_max: self.audit_webhook_batch_max_size,
            batch_wait: self.audit_webhook_batch_max_wait,
            throttle: self.audit_webhook_batch_throttle_enable.then_some(throttle),
            initial_backoff: self.audit_webhook_initial_backoff,
            truncate: Truncate {
                event_bytes_max: truncated.then_some(self.audit_webhook_truncate_max_event_size),
            },
            batch_bytes_max: truncated.then_some(self.audit_webhook_truncate_max_batch_size),
        }))
    }
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
    /// Whoever records requests, where somebody shall. To be called within the runtime.
    pub(crate) fn auditor(&self, resolve: Arc<dyn Resolve>) -> anyhow::Result<Option<Arc<Auditor>>> {
        let Some(file) = &self.audit_policy_file else { return Ok(None) };
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let policy = Policy::parse(&text)
            .with_context(|| format!("the audit policy {} cannot be used", file.display()))?;
        let webhook = self.webhook.config(resolve)?;
        let log = self.log()?;
        if log.is_none() && webhook.is_none() {
            bail!(
                "--audit-policy-file needs --audit-log-path or --audit-webhook-config-file: nothing would be recorded anywhere"
            );
        }
        let mut auditor = Auditor::new(policy);
        if let Some(log) = log {
            auditor = auditor.with_log(log)?;
        }
        if let Some(webhook) = webhook {
            auditor = auditor.with_webhook(webhook);
        }
        Ok(Some(Arc::new(auditor)))
    }

    fn log(&self) -> anyhow::Result<Option<LogConfig>> {
        let Some(path) = &self.audit_log_path else { return Ok(None) };
        ensure!(self.audit_log_batch_buffer_size > 0, "--audit-log-batch-buffer-size must be more than 0");
        ensure!(
            self.audit_log_truncate_max_event_size > 0,
            "--audit-log-truncate-max-event-size must be more than 0"
        );
        ensure!(self.audit_log_batch_max_size > 0, "--audit-log-batch-max-size must be more than 0");
        let throttle = Throttle {
            per_second: self.audit_log_batch_throttle_qps,
            burst: self.audit_log_batch_throttle_burst,
        };
        let is_throttled = self.audit_log_batch_throttle_enable;
        ensure!(
            !is_throttled || (throttle.per_second > 0.0 && throttle.burst > 0),
            "--audit-log-batch-throttle-qps and --audit-log-batch-throttle-burst must be more than 0"
        );
        let megabytes = if self.audit_log_maxsize == 0 { FILE_MB } else { self.audit_log_maxsize };
        let truncated = self.audit_log_truncate_enabled;
        Ok(Some(LogConfig {
            path: path.clone(),
            mode: self.audit_log_mode.into(),
            queue_events_max: self.audit_log_batch_buffer_size,
            batching: Batching {
                events_max: self.audit_log_batch_max_size,
                wait: self.audit_log_batch_max_wait,
            },
            throttle: is_throttled.then_some(throttle),
            truncate: Truncate {
                event_bytes_max: truncated.then_some(self.audit_log_truncate_max_event_size),
            },
            file_bytes_max: megabytes.saturating_mul(1 << 20),
            age_days_max: self.audit_log_maxage,
            backups_max: self.audit_log_maxbackup,
            compress: self.audit_log_compress,
        }))
    }
}

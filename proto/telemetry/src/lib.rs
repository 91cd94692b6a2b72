//! What every Keelson binary says: logging in one format, with one way to choose what is shown, and how it ends.
//!
//! Logs go to standard error. Metrics are each component's own; the text format needs no shared registry.
#![forbid(unsafe_code)]

use anyhow::Context;
use clap::{Args, ValueEnum};
use std::{io::IsTerminal, process::ExitCode};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The logging options of a command line; flatten them into a clap parser.
#[derive(Args, Clone, Debug)]
pub struct LogOptions {
    /// What is logged: a level (error, warn, info, debug, trace), or `target=level` terms joined with commas.
    #[arg(long, env = "KEELSON_LOG", default_value = "info", global = true)]
    pub log: String,
    /// How log lines are written.
    #[arg(long, value_enum, default_value_t, global = true)]
    pub log_format: LogFormat,
}

/// Installs the logger of the process. To be called once, before anything logs.
///
/// # Errors
/// When the filter cannot be read, or a logger is installed already.
pub fn init(options: &LogOptions) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&options.log)
        .with_context(|| format!("the log filter {:?} is not valid", options.log))?;
    let registry = tracing_subscriber::registry().with(filter);
    match options.log_format {
        LogFormat::Text => registry
            .with(fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr))
            .try_init(),
        LogFormat::Json => registry.with(fmt::layer().json().with_writer(std::io::stderr)).try_init(),
    }
    .context("installing the logger")
}

/// How a process ends after `outcome`: a failure is told on standard error, all its causes on one line.
pub fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! `kubectl keelson`: how fast each Service is, which flows there are, what the kernel would do with a connection and why.
//!
//! Asks every node through the API server's node proxy with the user's own kubeconfig: whoever may `get nodes/proxy` may look.
//! Owns what is shown; what is measured and how is the node daemon's.
#![forbid(unsafe_code)]

mod flows;
mod nodes;
mod path;
mod services;
mod status;
mod table;
mod trace;
mod units;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(
    name = "kubectl-keelson",
    bin_name = "kubectl keelson",
    version,
    about = "How fast each Service is, and what the kernel does for it",
    after_help = "Examples:\n  kubectl keelson services\n  kubectl keelson services -A -o wide\n  kubectl keelson flows --service web\n  kubectl keelson trace client web\n  kubectl keelson trace client web-0 --port 80"
)]
struct Cli {
    #[command(flatten)]
    access: nodes::Access,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Connections, latency, bytes and failures of each Service
    Services(services::Options),
    /// Connections as they open and end
    Flows(flows::Options),
    /// Whether each node follows the API, and what it could not do
    Status(Output),
    /// The tables in each node's kernel, and their memory
    Maps(Output),
    /// What the kernel would do with a pod's connection to a Service or another pod, and why
    Trace(trace::Options),
}

/// How to print it.
#[derive(Args)]
struct Output {
    /// Output: table or json
    #[arg(short, long, value_enum, default_value = "table")]
    output: Form,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Table,
    Json,
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<()> {
    let cli = Cli::parse();
    // Two providers are never in one build, but rustls wants to be told.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let cluster = nodes::Cluster::connect(&cli.access).await?;
        match cli.command {
            Command::Services(options) => services::run(&cluster, &options).await,
            Command::Flows(options) => flows::run(&cluster, &options).await,
            Command::Status(output) => status::status(&cluster, output.output).await,
            Command::Maps(output) => status::maps(&cluster, output.output).await,
            Command::Trace(options) => trace::run(&cluster, &options).await,
        }
    })
}

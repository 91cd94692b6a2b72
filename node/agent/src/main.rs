//! The node daemon: configuration, wiring, drain and the kubelet's HTTPS API.
//!
//! `keelson-node run` is kubelet, CNI and Service data plane of a node in one process; `keelson-node dns` is
//! its cluster DNS, a process of its own; `keelson-node --services-only` is the data plane alone. Everything that does something is in the crates that this one
//! wires together; here are only the command line and the kubelet's API (`api`).
#![forbid(unsafe_code)]

mod api;
mod certificates;
mod client;
mod config;
mod dns;
mod host;
mod network;
mod observe;
mod overlay;
mod run;
mod services;

use clap::{Parser, Subcommand};
use keelson_telemetry::LogOptions;
use std::process::ExitCode;

/// Worker threads of the process. The daemon waits far more than it computes, and each thread costs memory.
const WORKER_THREADS: usize = 2;
/// Threads for the few calls that block (bpf(2), resolving names).
const BLOCKING_THREADS_MAX: usize = 4;

#[derive(Parser)]
#[command(
    name = "keelson-node",
    version,
    about = "A Kubernetes node: kubelet, CNI, Services in the kernel, DNS"
)]
struct Cli {
    #[command(flatten)]
    log: LogOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the node daemon
    Run(Box<config::RunArgs>),
    /// Services alone: take kube-proxy's place on a node of a cluster of any make
    #[command(long_flag = "services-only")]
    Services(services::ServicesArgs),
    /// Answer cluster DNS on this node
    Dns(dns::DnsArgs),
}

fn main() -> ExitCode {
    keelson_telemetry::exit_code(start())
}

fn start() -> anyhow::Result<()> {
    let cli = Cli::parse();
    keelson_telemetry::init(&cli.log)?;
    // Two providers are never in one build, but rustls wants to be told.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()?
        .block_on(async {
            match cli.command {
                Command::Run(args) => run::run(*args).await,
                Command::Services(args) => services::run(args).await,
                Command::Dns(args) => dns::run(args).await,
            }
        })
}

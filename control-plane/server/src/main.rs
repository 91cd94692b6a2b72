//! The control plane in one binary: API server, scheduler, controllers.
//!
//! This file is the command line alone; what the commands do is in the modules of their names.
#![forbid(unsafe_code)]

mod apart;
mod audit;
mod authentication;
mod authorization;
mod backup;
mod bootstrap;
mod certificates;
mod cluster_ca;
mod components;
mod encryption;
mod init;
mod kubeconfig;
mod lock;
mod repair;
mod serve;
mod serving;
mod store;
mod wait;

use clap::{Parser, Subcommand};
use keelson_telemetry::LogOptions;
use mimalloc::MiMalloc;
use std::process::ExitCode;

/// Objects are parsed into many small pieces, on one thread of the runtime and freed on another: the C library's allocator takes
/// nearly half of a write's time (bench/numbers.md, "The API server"). Without huge pages, of which an idle process has little use.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The Keelson control plane.
#[derive(Parser)]
#[command(name = "keelson", version, about)]
struct Cli {
    #[command(flatten)]
    log: LogOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the folder of keys, certificates and the administrator's kubeconfig; harmless when it exists.
    Init(init::InitArgs),
    /// Write a kubeconfig with a fresh client certificate.
    Kubeconfig(kubeconfig::KubeconfigArgs),
    /// Write a node's serving certificate for its HTTPS API.
    NodeServing(kubeconfig::NodeServingArgs),
    /// Run the control plane.
    Serve(Box<serve::ServeArgs>),
    /// Save, restore and move what a cluster consists of.
    #[command(subcommand)]
    Store(backup::StoreCommand),
    /// Wait until the nodes are Ready.
    Wait(wait::WaitArgs),
}

fn main() -> ExitCode {
    keelson_telemetry::exit_code(run())
}

fn run() -> anyhow::Result<()> {
    let cli = Cli::parse();
    keelson_telemetry::init(&cli.log)?;
    match cli.command {
        Command::Init(args) => init::run(&args),
        Command::Kubeconfig(args) => kubeconfig::run(&args),
        Command::NodeServing(args) => kubeconfig::node_serving(&args),
        Command::Serve(args) => serve::run(*args),
        Command::Store(command) => backup::run(&command),
        Command::Wait(args) => wait::run(&args),
    }
}

//! `cargo xtask`: one command for everything that is done to the project rather than by it.
//!
//! Owns the local cluster (`up`, `down`, `enter`), the test tiers, the benchmarks and the checks of the tree. It may call
//! the programs of the distribution; the product's own crates never do.
#![forbid(unsafe_code)]

mod bench;
mod build;
mod clients;
mod cluster;
mod doctor;
mod images;
mod paths;
mod shell;
mod test;
mod tidy;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Builds, runs, tests and measures Keelson.",
    after_help = "Examples:\n  cargo xtask up                          one node on this machine\n  cargo xtask up --nodes 3 --store etcd   three nodes, real etcd\n  cargo xtask enter n2 -- curl -s 10.96.0.1\n  cargo xtask down\n  cargo xtask test --tier e2e"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build, install what is missing, start a cluster and wait until its nodes are Ready
    Up(cluster::up::Args),
    /// Stop the cluster and remove every trace of it
    Down(cluster::down::Args),
    /// Run a command as if on a node: in its network namespace and its cgroup
    Enter(cluster::enter::Args),
    /// Run the tests
    Test(test::Args),
    /// Measure; results belong into bench/numbers.md
    Bench(bench::Args),
    /// Check formatting, lints and the rules of the tree
    Tidy(tidy::Args),
    /// Build the eBPF programs
    #[command(
        after_help = "Examples:\n  cargo xtask ebpf                        prints the object's path\n  KEELSON_EBPF_OBJ=$(cargo xtask ebpf) cargo nextest run -p keelson-dataplane"
    )]
    Ebpf,
    /// Build the local container images (pause, busybox, nginx)
    Images(images::Args),
    /// Say what this machine has and lacks
    Doctor(doctor::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(args) => cluster::up::run(&args).map(drop),
        Command::Down(args) => cluster::down::run(&args),
        Command::Enter(args) => cluster::enter::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Tidy(args) => tidy::run(&args),
        Command::Ebpf => build::ebpf().map(|object| println!("{}", object.display())),
        Command::Images(args) => images::run(&args),
        Command::Doctor(args) => doctor::run(&args),
    }
}

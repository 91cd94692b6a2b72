//! What is measured, one file a subject; numbers.md holds the results. Run by `cargo xtask bench`.
//!
//! Measures a running cluster (KUBECONFIG) from outside, over the public API, and its processes by /proc; `api` alone starts a
//! server of its own.
#![forbid(unsafe_code)]

mod api;
mod memory;
mod pods;
mod sync;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use keelson_tests::figures::Report;
use kube::Client;

#[derive(Parser)]
#[command(
    about = "Measures a running Keelson cluster, or an API server alone.",
    after_help = "Examples:\n  keelson-bench\n  keelson-bench pods --output json\n  keelson-bench sync --services 10000,50000\n  keelson-bench api --pods 100000 --stores embedded"
)]
struct Cli {
    /// What to measure; without it everything but `api`
    #[arg(value_enum)]
    what: Option<What>,
    /// Output: text or json
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
    /// How many Services there are in `sync`, ascending
    #[arg(long, value_delimiter = ',', default_value = "10000")]
    services: Vec<usize>,
    /// How many pods there are in `api`
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pods: u64,
    /// The stores of `api`
    #[arg(long, value_enum, value_delimiter = ',', default_value = "embedded,etcd")]
    stores: Vec<api::Store>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Pod create to Ready, one after another and 30 at once
    Pods,
    /// Resident memory of the control plane and the node daemons, idle, with ten pods
    Memory,
    /// Services made, changed, and after the daemon's start: until connections are right
    Sync,
    /// Rates, times and memory of an API server alone, which is started for it
    Api,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let mut report = Report::default();
    if cli.what == Some(What::Api) {
        api::measure(&cli.stores, usize::try_from(cli.pods)?, &mut report).await?;
        return report.print(&cli.output);
    }
    let client = Client::try_default().await?;
    let wanted = |what| cli.what.is_none_or(|one| one == what);
    pods_and_memory(&client, &wanted, &mut report).await?;
    if wanted(What::Sync) {
        // It waits for the API on its own threads.
        let services = cli.services;
        let measure = move || sync::measure(&services, &mut report).map(|()| report);
        report = tokio::task::spawn_blocking(measure).await??;
    }
    report.print(&cli.output)
}

async fn pods_and_memory(client: &Client, wanted: &impl Fn(What) -> bool, report: &mut Report) -> Result<()> {
    if !wanted(What::Pods) && !wanted(What::Memory) {
        return Ok(());
    }
    let namespace = pods::Namespace::create(client).await?;
    let measured = async {
        if wanted(What::Pods) {
            pods::measure(client, &namespace, report).await?;
        }
        if wanted(What::Memory) {
            memory::measure(client, &namespace, report).await?;
        }
        anyhow::Ok(())
    }
    .await;
    namespace.delete(client).await?;
    measured
}

/// The value below which the fraction `p` of the samples lies; samples are sorted here.
fn percentile(samples: &mut [f64], p: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let last = samples.len().saturating_sub(1);
    samples.get((last as f64 * p).round() as usize).copied().unwrap_or(f64::NAN)
}

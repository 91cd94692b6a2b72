//! What is measured, one file a subject; numbers.md holds the results. Run by `cargo xtask bench`.
//!
//! Measures a running cluster (KUBECONFIG) from outside, over the public API, and its processes by /proc.
#![forbid(unsafe_code)]

mod memory;
mod pods;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use keelson_tests::figures::Report;

#[derive(Parser)]
#[command(
    about = "Measures a running Keelson cluster.",
    after_help = "Examples:\n  keelson-bench\n  keelson-bench pods --output json"
)]
struct Cli {
    /// What to measure; without it everything
    #[arg(value_enum)]
    what: Option<What>,
    /// Output: text or json
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Pod create to Ready, one after another and 30 at once
    Pods,
    /// Resident memory of the control plane and the node daemons, idle, with ten pods
    Memory,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let client = kube::Client::try_default().await?;
    let wanted = |what| cli.what.is_none_or(|one| one == what);
    let mut report = Report::default();
    let namespace = pods::Namespace::create(&client).await?;
    let measured = async {
        if wanted(What::Pods) {
            pods::measure(&client, &namespace, &mut report).await?;
        }
        if wanted(What::Memory) {
            memory::measure(&client, &namespace, &mut report).await?;
        }
        anyhow::Ok(())
    }
    .await;
    namespace.delete(&client).await?;
    measured?;
    report.print(&cli.output)
}

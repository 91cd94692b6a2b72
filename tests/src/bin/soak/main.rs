//! keelson-soak: a running cluster under load for minutes, while objects come and go and processes are killed; and the store,
//! killed again and again. Run by `cargo xtask test --tier soak`.
//!
//! A scenario is bounded in time, prints what it does, and ends in figures. What it promises is checked in it; a scenario that
//! fails does not keep the others from running.
#![forbid(unsafe_code)]

mod churn;
mod crashes;
mod kept;
mod memory;
mod services;
mod steady;
mod store;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use keelson_tests::figures::Report;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

#[derive(Parser)]
#[command(
    about = "Keeps a running Keelson cluster (KUBECONFIG) busy, and says what it was like.",
    after_help = "Examples:\n  cargo xtask test --tier soak --minutes 3\n  keelson-soak churn --minutes 1\n  keelson-soak crashes --seed 7 --output json\n  keelson-soak services --services 10000 --changes 200"
)]
struct Cli {
    /// What to do, in this order
    #[arg(value_enum, required = true)]
    scenarios: Vec<Scenario>,
    /// How long each goes on, without its beginning and its end
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Decides what is chosen at random [default: random]
    #[arg(long)]
    seed: Option<u64>,
    /// Output: text or json
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
    /// How many Services there are in `services` [default: 2000 in less than five minutes, else 50000]
    #[arg(long)]
    services: Option<usize>,
    /// How many of their endpoints change a second [default: 100 in less than five minutes, else 1000]
    #[arg(long)]
    changes: Option<u64>,
    /// The program of the store's tests of losses of power (`crashes`), for `store`
    #[arg(long)]
    store_power: Option<PathBuf>,
    /// The program of the store's own tests (`embedded`), for `store`
    #[arg(long)]
    store_crashes: Option<PathBuf>,
    /// The program of the store's tests on an etcd cluster (`cluster`), for `store`
    #[arg(long)]
    store_cluster: Option<PathBuf>,
    /// The program of the store's tests against its model (`equivalence`), for `store`
    #[arg(long)]
    store_equivalence: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Services, Deployments and pods come and go around one that stays: no failed request, nothing left behind
    Churn,
    /// Node daemons, DNS and the control plane are killed: no failed request, no acknowledged write lost
    Crashes,
    /// A great many Services change while a node daemon is killed: no wrong answer, none missing, and nothing grows
    Services,
    /// The embedded store loses power, its process is killed, its answers are compared with its model's, with ever new seeds
    Store,
}

impl Cli {
    /// In a short run most of the time would go into making and deleting as many as a long one has.
    fn size(&self) -> services::Size {
        let (services, changes) = if self.minutes < 5 { (2_000, 100) } else { (50_000, 1_000) };
        services::Size {
            services: self.services.unwrap_or(services),
            changes: self.changes.unwrap_or(changes).max(1),
        }
    }
}

/// What a scenario is given.
struct Run {
    length: Duration,
    seed: u64,
    start: Instant,
}

impl Run {
    fn is_over(&self) -> bool {
        self.start.elapsed() >= self.length
    }

    /// One line of progress, with the time since the scenario's start.
    fn says(&self, what: impl AsRef<str>) {
        eprintln!("{:>7.1} s    {}", self.start.elapsed().as_secs_f64(), what.as_ref());
    }
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let seed = cli.seed.unwrap_or_else(rand::random);
    let mut report = Report::default();
    let mut failures = Vec::new();
    for scenario in &cli.scenarios {
        let name = scenario.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default();
        eprintln!("soak {name}: {} min, seed {seed}", cli.minutes);
        let run = Run { length: Duration::from_secs(60 * cli.minutes), seed, start: Instant::now() };
        let outcome = match scenario {
            Scenario::Churn => churn::run(&run, &mut report),
            Scenario::Crashes => crashes::run(&run, &mut report),
            Scenario::Services => services::run(&run, cli.size(), &mut report),
            Scenario::Store => programs(&cli).and_then(|programs| store::run(&run, &programs, &mut report)),
        };
        if let Err(error) = outcome {
            eprintln!("soak {name} FAILED (seed {seed}): {error:#}");
            failures.push(name);
        }
    }
    report.print(&cli.output)?;
    if !failures.is_empty() {
        bail!("failed: {}; the same choices again: --seed {seed}", failures.join(", "));
    }
    Ok(())
}

fn programs(cli: &Cli) -> Result<store::Programs> {
    let named = |program: &Option<PathBuf>, flag| {
        program.clone().with_context(|| {
            format!("store needs --{flag}; `cargo xtask test --tier soak -- store` gives it")
        })
    };
    Ok(store::Programs {
        power: named(&cli.store_power, "store-power")?,
        crashes: named(&cli.store_crashes, "store-crashes")?,
        cluster: named(&cli.store_cluster, "store-cluster")?,
        equivalence: named(&cli.store_equivalence, "store-equivalence")?,
    })
}

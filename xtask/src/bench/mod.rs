//! `bench`: runs the measuring programs, built with optimisation: `service`, `packet`, `path` and a part of `sync` in namespaces of
//! their own, `api` against a server of its own, the rest against a cluster. With `--check`, holds what they measured against `bench/promises.tsv`; with `--plot`,
//! draws it.

mod check;
mod plots;

pub(crate) use check::unquoted;

use crate::{
    build,
    cluster::{Spec, Store, Translation, Tunnel, up},
    doctor, paths,
    shell::{printed, run as run_command},
};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench service\n  cargo xtask bench path                       pods of two nodes, beside the bare link\n  cargo xtask bench pods -o json\n  cargo xtask bench sync                       how soon Services are right: maps, peers, a cluster\n  cargo xtask bench api                        what the API server does a second, with each store\n  cargo xtask bench sync --services 10000,50000\n  cargo xtask bench service --plot             writes bench/plots/*.svg, over 1 to 50,000 Services\n  cargo xtask bench --check                   fails when a promise is not kept\n  cargo xtask bench --check pods -o json\n  cargo xtask bench -o json > run.json; cargo xtask bench --check --from run.json"
)]
pub(crate) struct Args {
    /// What to measure; without it everything, one report after the other
    #[arg(value_parser = ["service", "packet", "path", "pods", "memory", "sync", "api"])]
    what: Option<String>,
    /// Numbers of Services of `service` and `sync` [default: those of the programs; with --plot 1 to 50,000]
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    services: Vec<usize>,
    /// How many pods there are in `api` [default: 10000]
    #[arg(long, value_name = "NUMBER")]
    pods: Option<u64>,
    /// Draw `service` and `sync` over the number of Services, into bench/plots/; of `sync` only what needs no cluster
    #[arg(long, conflicts_with = "check")]
    plot: bool,
    /// Compare with the promises of bench/promises.tsv, and fail when a figure is beyond its reach and the slack
    #[arg(long)]
    check: bool,
    /// Check or draw this output of an earlier `bench -o json` instead of measuring
    #[arg(long, value_name = "FILE", conflicts_with = "what")]
    from: Option<PathBuf>,
    /// Output: text or json
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(file) = &args.from {
        ensure!(args.check || args.plot, "--from is for --check or --plot");
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        return conclude(args, &documents(&text)?);
    }
    doctor::ensure(doctor::For::Bench)?;
    let wanted = |what: &str| args.what.as_deref().is_none_or(|one| one == what);
    let folder = &build::measuring()?;
    let mut reports = Vec::new();
    if wanted("service") {
        reports.extend(in_namespaces(args, folder, "connect_latency", numbers(args))?);
    }
    if wanted("packet") && !args.plot {
        reports.extend(in_namespaces(args, folder, "packet_cost", &[])?);
    }
    if wanted("path") && !args.plot {
        reports.extend(in_namespaces(args, folder, "path_latency", &[])?);
    }
    if wanted("sync") {
        reports.extend(in_namespaces(args, folder, "sync_time", numbers(args))?);
    }
    if wanted("api") && !args.plot {
        reports.extend(api(args, folder)?);
    }
    if !matches!(args.what.as_deref(), Some("service" | "packet" | "path" | "api")) && !args.plot {
        reports.extend(cluster(args, folder)?);
    }
    conclude(args, &reports)
}

/// What is done with reports that were not printed.
fn conclude(args: &Args, reports: &[Value]) -> Result<()> {
    if args.check {
        check::run(reports, &args.output)?;
    }
    if args.plot {
        plots::write(reports)?.iter().for_each(|file| println!("{}", file.display()));
    }
    Ok(())
}

/// Numbers of Services to measure with; none: the program's own.
fn numbers(args: &Args) -> &[usize] {
    if args.plot && args.services.is_empty() { &plots::SERVICES } else { &args.services }
}

/// A measuring program of the data plane: asks for root, not for a cluster.
fn in_namespaces(args: &Args, folder: &Path, example: &str, services: &[usize]) -> Result<Vec<Value>> {
    let object = build::ebpf()?;
    let mut command = Command::new(folder.join("examples").join(example));
    command.args(["--output", output_of(args)]);
    command.args(services.iter().map(ToString::to_string));
    measure(args, command.env("KEELSON_EBPF_OBJ", object))
}

/// An API server alone, which the program starts itself: the one that lies beside it.
fn api(args: &Args, folder: &Path) -> Result<Vec<Value>> {
    let mut command = Command::new(folder.join("keelson-bench"));
    command.args(["api", "--output", output_of(args)]);
    if let Some(pods) = args.pods {
        command.args(["--pods", &pods.to_string()]);
    }
    measure(args, &mut command)
}

/// What a running cluster does, from outside. One that is not running is started, which is a figure, too.
fn cluster(args: &Args, folder: &Path) -> Result<Vec<Value>> {
    let mut reports = Vec::new();
    if Spec::load()?.is_none() {
        // Given as a folder: the `up` by which a killed daemon comes back builds nothing then.
        let seconds = up::run(&up::Args {
            nodes: 1,
            store: Store::Embedded,
            ip_family: None,
            separate: false,
            dev: false,
            bin_dir: Some(folder.to_owned()),
            segments: 1,
            tunnel: Tunnel::Auto,
            translation: Translation::Auto,
            uplink: None,
            node_grace: None,
            toleration: None,
        })?;
        reports.push(json!({"figures": [{"name": "up after the build", "value": seconds, "unit": "s"}]}));
    }
    // `sync` calls xtask, which lies beside it.
    let mut command = Command::new(folder.join("keelson-bench"));
    command.args(["--output", output_of(args)]).args(&args.what);
    if !args.services.is_empty() {
        let services: Vec<_> = args.services.iter().map(ToString::to_string).collect();
        command.args(["--services", &services.join(",")]);
    }
    command.env("KUBECONFIG", paths::cluster().join("kubeconfig"));
    reports.extend(measure(args, &mut command)?);
    Ok(reports)
}

/// A check and a plot read what the programs print.
fn output_of(args: &Args) -> &str {
    if args.check || args.plot { "json" } else { &args.output }
}

/// Runs a measuring program: its reports for a check or a plot, else its output is the user's.
fn measure(args: &Args, command: &mut Command) -> Result<Vec<Value>> {
    if args.check || args.plot {
        documents(&printed(command)?)
    } else {
        run_command(command).map(|()| vec![])
    }
}

/// JSON documents, one after the other.
fn documents(text: &str) -> Result<Vec<Value>> {
    let documents = serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>();
    documents.context("reading reports: they are those of `bench -o json`")
}

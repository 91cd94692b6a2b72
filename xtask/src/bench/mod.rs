//! `bench`: runs the measuring programs, built with optimisation: `service` and `packet` in namespaces of their own, the rest against a
//! cluster of its own. With `--check`, holds what they measured against `bench/promises.tsv`.

mod check;

pub(crate) use check::unquoted;

use crate::{
    build::{self, Profile, cargo},
    cluster::{Spec, Store, up},
    doctor, paths,
    shell::{printed, run as run_command},
};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench service\n  cargo xtask bench pods -o json\n  cargo xtask bench --check                   fails when a promise is not kept\n  cargo xtask bench --check pods -o json\n  cargo xtask bench -o json > run.json; cargo xtask bench --check --from run.json"
)]
pub(crate) struct Args {
    /// What to measure (service, packet, pods, memory); without it everything, one report after the other
    what: Option<String>,
    /// Compare with the promises of bench/promises.tsv, and fail when a figure is beyond its reach and the slack
    #[arg(long)]
    check: bool,
    /// Check this output of an earlier `bench -o json` instead of measuring
    #[arg(long, value_name = "FILE", requires = "check", conflicts_with = "what")]
    from: Option<PathBuf>,
    /// Output: text or json
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(file) = &args.from {
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        return check::run(&documents(&text)?, &args.output);
    }
    doctor::ensure(doctor::For::Bench)?;
    let wanted = |what: &str| args.what.as_deref().is_none_or(|one| one == what);
    let mut reports = Vec::new();
    if wanted("service") {
        reports.extend(example(args, "connect_latency")?);
    }
    if wanted("packet") {
        reports.extend(example(args, "packet_cost")?);
    }
    if !matches!(args.what.as_deref(), Some("service" | "packet")) {
        reports.extend(cluster(args)?);
    }
    if args.check { check::run(&reports, &args.output) } else { Ok(()) }
}

/// What a connection to a Service costs beside one to the pod, or a packet on the uplink's wire; asks for root, not for a cluster.
fn example(args: &Args, name: &str) -> Result<Vec<Value>> {
    let object = build::ebpf()?;
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--package", "keelson-dataplane"]);
    command.args(["--example", name, "--", "--output", output_of(args)]);
    measure(args, command.env("KEELSON_EBPF_OBJ", object))
}

/// What a running cluster does, from outside. One that is not running is started, which is a figure, too.
fn cluster(args: &Args) -> Result<Vec<Value>> {
    let mut reports = Vec::new();
    if Spec::load()?.is_none() {
        let seconds = up::run(&up::Args {
            nodes: 1,
            store: Store::Embedded,
            ip_family: None,
            separate: false,
            dev: false,
            bin_dir: None,
            uplink: None,
            node_grace: None,
            toleration: None,
        })?;
        reports.push(json!({"figures": [{"name": "up after the build", "value": seconds, "unit": "s"}]}));
    }
    build::binaries(Profile::Release, &["keelson-bench"])?;
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--package", "keelson-bench", "--"]);
    command.args(["--output", output_of(args)]).args(&args.what);
    command.env("KUBECONFIG", paths::cluster().join("kubeconfig"));
    reports.extend(measure(args, &mut command)?);
    Ok(reports)
}

/// A check reads what the programs print.
fn output_of(args: &Args) -> &str {
    if args.check { "json" } else { &args.output }
}

/// Runs a measuring program: its reports for a check, else its output is the user's.
fn measure(args: &Args, command: &mut std::process::Command) -> Result<Vec<Value>> {
    if args.check { documents(&printed(command)?) } else { run_command(command).map(|()| vec![]) }
}

/// JSON documents, one after the other.
fn documents(text: &str) -> Result<Vec<Value>> {
    let documents = serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>();
    documents.context("reading reports: they are those of `bench -o json`")
}

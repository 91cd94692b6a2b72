//! `bench`: runs the measuring programs, built with optimisation: `service` in namespaces of its own, the rest against a
//! cluster of its own.

use crate::{
    build::{self, Profile, cargo},
    cluster::{Spec, Store, up},
    doctor, paths,
    shell::run as run_command,
};
use anyhow::Result;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench service\n  cargo xtask bench pods -o json"
)]
pub(crate) struct Args {
    /// What to measure (service, pods, memory); without it everything, one report after the other
    what: Option<String>,
    /// Output: text or json
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    doctor::ensure(doctor::For::Bench)?;
    match args.what.as_deref() {
        Some("service") => service(args),
        Some(_) => cluster(args),
        None => service(args).and_then(|()| cluster(args)),
    }
}

/// What a connection to a Service costs beside one to the pod; asks for root, not for a cluster.
fn service(args: &Args) -> Result<()> {
    let object = build::ebpf()?;
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--package", "keelson-dataplane"]);
    command.args(["--example", "connect_latency", "--", "--output", &args.output]);
    run_command(command.env("KEELSON_EBPF_OBJ", object))
}

/// What a running cluster does, from outside.
fn cluster(args: &Args) -> Result<()> {
    if Spec::load()?.is_none() {
        up::run(&up::Args {
            nodes: 1,
            store: Store::Embedded,
            dev: false,
            node_grace: None,
            toleration: None,
        })?;
    }
    build::binaries(Profile::Release, &["keelson-bench"])?;
    let mut command = cargo();
    command.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "keelson-bench",
        "--",
        "--output",
        &args.output,
    ]);
    command.args(&args.what).env("KUBECONFIG", paths::cluster().join("kubeconfig"));
    run_command(&mut command)
}

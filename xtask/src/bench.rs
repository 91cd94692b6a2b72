//! `bench`: runs the measuring program, built with optimisation, against a cluster of its own.

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
    /// What to measure; without it everything
    what: Option<String>,
    /// Output: text or json
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    doctor::ensure(doctor::For::Bench)?;
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

//! `test`: the tiers, from what needs nothing to what needs three nodes.

use crate::{
    build::{self, cargo},
    cluster::{Store, down, up},
    doctor,
    shell::{Progress, run as run_command, succeeds},
};
use anyhow::Result;
use std::process::Command;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask test\n  cargo xtask test --tier unit\n  cargo xtask test --tier e2e --keep\n  cargo xtask test --tier e2e -- deployment"
)]
pub(crate) struct Args {
    /// One tier; without it all of them
    #[arg(long, value_enum)]
    tier: Option<Tier>,
    /// Leave the cluster of the end-to-end tests running
    #[arg(long)]
    keep: bool,
    /// Only tests whose name holds one of these words
    #[arg(last = true)]
    filter: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Tier {
    /// Every crate's own tests, those against real etcd, containerd and the kernel among them
    Unit,
    /// A cluster of three nodes, driven by kubectl and the public API
    E2e,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    doctor::ensure(doctor::For::Test)?;
    let progress = Progress::start();
    if args.tier.is_none_or(|tier| tier == Tier::Unit) {
        progress.step("unit tests");
        build::ebpf()?;
        let mut command = runner();
        command.args(["--workspace", "--exclude", "keelson-tests"]);
        run_command(command.args(&args.filter))?;
    }
    if args.tier.is_none_or(|tier| tier == Tier::E2e) {
        progress.step("end-to-end tests");
        end_to_end(args)?;
    }
    progress.step("all tests passed");
    Ok(())
}

/// nextest where it is installed, else cargo's own.
fn runner() -> Command {
    let mut command = cargo();
    if succeeds(cargo().args(["nextest", "--version"])) {
        command.args(["nextest", "run"]);
    } else {
        command.arg("test");
    }
    command
}

/// Seconds until a silent node counts as unreachable and its pods move: far below upstream's 50 and 300, which are the
/// defaults of `up`, so that the tests of it do not take ten minutes.
const NODE_GRACE_S: u32 = 20;
const TOLERATION_S: u32 = 5;

/// The cluster goes whether the tests pass or not, unless it is to be looked at.
fn end_to_end(args: &Args) -> Result<()> {
    let cluster = up::Args {
        nodes: 3,
        store: Store::Embedded,
        dev: true,
        node_grace: Some(NODE_GRACE_S),
        toleration: Some(TOLERATION_S),
    };
    // What an interrupted run may have left.
    down::run(&down::Args { keep_data: false })?;
    let outcome = up::run(&cluster).and_then(|()| {
        let mut command = runner();
        command.args(["--package", "keelson-tests"]).args(&args.filter);
        command.env("KUBECONFIG", crate::paths::cluster().join("kubeconfig"));
        run_command(&mut command)
    });
    if !args.keep {
        down::run(&down::Args { keep_data: false })?;
    }
    outcome
}

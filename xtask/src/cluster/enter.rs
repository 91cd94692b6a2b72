//! `enter`: a command that counts as a process of a node, by network namespace and by cgroup.

use super::{Spec, cgroup, daemon::within, spec::Place};
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask enter n1 -- ip route\n  cargo xtask enter n2 -- wget -qO- http://10.96.0.7/"
)]
pub(crate) struct Args {
    /// The node's name: n1, n2, ...
    node: String,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let spec = Spec::require()?;
    let place = Place::named(&spec, &args.node)?;
    let cgroup = cgroup::ensure(&format!("{}/enter", place.name))?;
    let mut command = within(&cgroup, place.netns.as_deref());
    // Replaces this process, so that signals, terminal and exit code are the command's own.
    Err(command.args(&args.command).exec()).context("starting the command")
}

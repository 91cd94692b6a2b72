//! `test`: the tiers, from what needs nothing to what needs three nodes and time.
//!
//! Everything is built once, as one selection of packages; which tests run is told to the runner alone, and the clusters run
//! what that build made. Owns which tier runs on which cluster; not what a test may take (`.config/nextest.toml`).

mod fuzz;
mod runner;
mod skips;
mod soak;

use crate::{
    build::{self, Built},
    clients,
    cluster::{Store, Translation, Tunnel, down, up},
    doctor, images,
    shell::Progress,
};
use anyhow::{Result, ensure};
use runner::{Selection, Wrapping};

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask test                                   every tier, soak for a minute a scenario\n  cargo xtask test --tier unit\n  cargo xtask test --tier e2e --keep                 leaves the cluster; a second `up` and `down` find it\n  cargo xtask test --tier e2e -- deployment          tests whose name holds the word\n  cargo xtask test --tier soak                       churn, crashes, services, store, fuzz: ten minutes each\n  cargo xtask test --tier soak --minutes 3 -o json --seed 7 -- crashes\n  cargo xtask test --tier soak --minutes 60 -- fuzz  an hour, shared by the targets"
)]
pub(crate) struct Args {
    /// One tier; without it all of them
    #[arg(long, value_enum)]
    tier: Option<Tier>,
    /// Leave the cluster of the end-to-end or soak tests running (of several, the last one)
    #[arg(long)]
    keep: bool,
    /// Minutes of each soak scenario [default: 10 with --tier soak, else 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=soak::MINUTES_MAX))]
    minutes: Option<u32>,
    /// Seed of the soak scenarios' choices [default: random, printed]
    #[arg(long)]
    seed: Option<u64>,
    /// How soak's figures are printed: text or json
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
    /// Only tests (soak: scenarios) whose name holds one of these words
    #[arg(last = true)]
    filter: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Tier {
    /// Every crate's own tests, those against real etcd, containerd and the kernel among them
    Unit,
    /// A cluster of three nodes, driven by kubectl and the public API
    E2e,
    /// The same under load for minutes, while objects come and go and processes are killed; and the store's own crashes
    Soak,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    doctor::ensure(doctor::For::Test)?;
    let wanted = |tier| args.tier.is_none_or(|one| one == tier);
    let scenarios = if wanted(Tier::Soak) { soak::scenarios(&args.filter) } else { vec![] };
    ensure!(
        args.tier != Some(Tier::Soak) || !scenarios.is_empty(),
        "no such scenario; there are: {}",
        soak::names()
    );
    let progress = Progress::start();
    if wanted(Tier::Unit) {
        progress.step("clients of others");
        clients::ensure()?;
    }
    progress.step("building all binaries and tests");
    build::ebpf()?;
    let built = build::workspace()?;
    if wanted(Tier::Unit) {
        progress.step("what the tests of the node need");
        images::ensure(images::to_make(false), false)?;
        if nix::unistd::geteuid().is_root() {
            up::mount_bpffs()?;
        }
    }
    let mut found = scenarios.len();
    for selection in Selection::ALL.into_iter().filter(|selection| wanted(selection.tier())) {
        // A word that names a test of one selection finds nothing in the others, which need no cluster then.
        let tests = runner::count(&args.filter, selection)?;
        found += tests;
        if tests > 0 {
            progress.step(selection.title());
            let run = || runner::run(&built, &args.filter, selection);
            if selection == Selection::Unit {
                run()?;
            } else {
                on_cluster(args, &built, Some(selection), run)?;
            }
        }
    }
    ensure!(found > 0, "no test's name holds one of: {}", args.filter.join(", "));
    if !scenarios.is_empty() {
        progress.step("soak");
        let minutes = args.minutes.unwrap_or(if args.tier == Some(Tier::Soak) { soak::MINUTES } else { 1 });
        let run = || soak::run(&built, &scenarios, minutes, args.seed, &args.output);
        if soak::need_cluster(&scenarios) { on_cluster(args, &built, None, run)? } else { run()? }
    }
    progress.step("all tests passed");
    Ok(())
}

/// Seconds until a silent node counts as unreachable and its pods move: far below upstream's 50 and 300, which are the
/// defaults of `up`, so that the tests of it do not take ten minutes.
const NODE_GRACE_S: u32 = 20;
const TOLERATION_S: u32 = 5;

/// A cluster of three nodes around `tests`. It goes whether they pass or not, unless it is to be looked at.
fn on_cluster(
    args: &Args,
    built: &Built,
    selection: Option<Selection>,
    tests: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let cluster = up::Args {
        nodes: 3,
        store: Store::Embedded,
        ip_family: match selection {
            Some(Selection::Wrapped(Wrapping::Router(family))) => family,
            _ => None,
        },
        separate: selection == Some(Selection::Separate),
        segments: if matches!(selection, Some(Selection::Wrapped(Wrapping::Router(_)))) { 2 } else { 1 },
        tunnel: match selection {
            Some(Selection::Wrapped(Wrapping::Always)) => Tunnel::Always,
            _ => Tunnel::Auto,
        },
        translation: Translation::Auto,
        dev: true,
        bin_dir: Some(built.folder.clone()),
        uplink: None,
        node_grace: Some(NODE_GRACE_S),
        toleration: Some(TOLERATION_S),
    };
    // What an interrupted run may have left.
    down::run(&down::Args { keep_data: false })?;
    let outcome = up::run(&cluster).and_then(|_| tests());
    // A kept cluster is the last one, or the one whose test failed.
    if !args.keep {
        down::run(&down::Args { keep_data: false })?;
    }
    outcome
}

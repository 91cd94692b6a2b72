//! The store's own tests of losses of power, kills and equivalence with its model, with a new seed each time, until the time
//! is over.

use crate::Run;
use anyhow::{Result, ensure};
use keelson_tests::{figures::Report, kubectl::run as run_to_end};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Test programs of `control-plane/store`.
pub(crate) struct Programs {
    pub(crate) power: PathBuf,
    pub(crate) crashes: PathBuf,
    pub(crate) equivalence: PathBuf,
    pub(crate) cluster: PathBuf,
}

/// Cuts the power of a disk in memory at moments that the seeds choose, and tears what was not synced.
const POWER: &str = "no_loss_of_power_loses_an_answered_transaction";
const POWER_SEEDS: u32 = 10_000;
/// What all of them read their seed from.
const SEED: &str = "KEELSON_STORE_TEST_SEED";
/// Kills a process that commits, at moments that the seed chooses: every answered commit is there afterwards.
const CRASHES: &str = "a_killed_process_loses_no_answered_commit";
/// How often `CRASHES` kills.
const KILLS: u32 = 3;
/// Kills members of an etcd cluster that is written to: the same, and a watch without a gap.
const MEMBERS: &str = "killed_members_lose_no_answered_commit";
/// How often `MEMBERS` kills.
const MEMBER_KILLS: u32 = 3;
/// Random transactions, compactions and reopenings: the same answers as the model's.
const EQUIVALENCE: &str = "embedded_answers_as_the_model_does";
const EQUIVALENCE_SEED: &str = "PROPTEST_RNG_SEED";
const SEQUENCES: u32 = 64;
/// It takes about so much longer than `CRASHES`, and what is asked here is first of all about crashes.
const SEEDS_TO_A_COMPARISON: u32 = 10;

/// Runs the first for all of its seeds, then the others in turn.
pub(crate) fn run(run: &Run, programs: &Programs, report: &mut Report) -> Result<()> {
    once(&programs.power, POWER, SEED, run.seed, POWER_SEEDS)?;
    run.says(format!("{POWER_SEEDS} losses of power from seed {} on", run.seed));
    let note = format!("seeds from {} on, each three lives of a store", run.seed);
    report.add("store: losses of power, no answered commit lost", f64::from(POWER_SEEDS), "", note);
    let (mut seeds, mut comparisons): (u32, u32) = (0, 0);
    while !run.is_over() {
        let seed = run.seed.wrapping_add(u64::from(seeds));
        once(&programs.crashes, CRASHES, SEED, seed, 1)?;
        if seeds.is_multiple_of(SEEDS_TO_A_COMPARISON) {
            once(&programs.equivalence, EQUIVALENCE, EQUIVALENCE_SEED, seed, 1)?;
            once(&programs.cluster, MEMBERS, SEED, seed, 1)?;
            comparisons += 1;
            run.says(format!("seed {seed}: {seeds} crash tests, {comparisons} comparisons"));
        }
        seeds += 1;
    }
    let note = format!("{seeds} seeds from {} on", run.seed);
    report.add("store: kills, no answered commit lost", f64::from(seeds * KILLS), "", note);
    report.add(
        "store: kills of etcd members, no answered commit lost",
        f64::from(comparisons * MEMBER_KILLS),
        "",
        "",
    );
    report.add("store: sequences answered as by the model", f64::from(comparisons * SEQUENCES), "", "");
    Ok(())
}

fn once(program: &Path, test: &str, variable: &str, seed: u64, seeds: u32) -> Result<()> {
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture"]).env(variable, seed.to_string());
    command.env("KEELSON_STORE_TEST_SEEDS", seeds.to_string());
    // Where cargo runs them, and where proptest keeps a failing case.
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../control-plane/store"));
    let answer = run_to_end(command, None)?;
    ensure!(
        answer.code == Some(0),
        "{test} with {variable}={seed} failed:\n{}{}",
        answer.stdout,
        answer.stderr
    );
    ensure!(answer.stdout.contains("1 passed"), "{} has no test {test}", program.display());
    Ok(())
}

//! The store's own tests of crashes and of equivalence with its model, with a new seed each time, until the time is over.

use crate::Run;
use anyhow::{Result, ensure};
use keelson_tests::{figures::Report, kubectl::run as run_to_end};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Test programs of `control-plane/store`.
pub(crate) struct Programs {
    pub(crate) crashes: PathBuf,
    pub(crate) equivalence: PathBuf,
}

/// Kills a process that commits, at moments that the seed chooses: every answered commit is there afterwards.
const CRASHES: &str = "a_killed_process_loses_no_answered_commit";
/// What `CRASHES` reads its seed from, and how often it kills.
const CRASHES_SEED: &str = "KEELSON_STORE_TEST_SEED";
const KILLS: u32 = 3;
/// Random transactions, compactions and reopenings: the same answers as the model's.
const EQUIVALENCE: &str = "embedded_answers_as_the_model_does";
const EQUIVALENCE_SEED: &str = "PROPTEST_RNG_SEED";
const SEQUENCES: u32 = 64;
/// It takes about so much longer than `CRASHES`, and what is asked here is first of all about crashes.
const SEEDS_TO_A_COMPARISON: u32 = 10;

/// Runs both in turn.
pub(crate) fn run(run: &Run, programs: &Programs, report: &mut Report) -> Result<()> {
    let (mut seeds, mut comparisons): (u32, u32) = (0, 0);
    while !run.is_over() {
        let seed = run.seed.wrapping_add(u64::from(seeds));
        once(&programs.crashes, CRASHES, CRASHES_SEED, seed)?;
        if seeds.is_multiple_of(SEEDS_TO_A_COMPARISON) {
            once(&programs.equivalence, EQUIVALENCE, EQUIVALENCE_SEED, seed)?;
            comparisons += 1;
            run.says(format!("seed {seed}: {seeds} crash tests, {comparisons} comparisons"));
        }
        seeds += 1;
    }
    let note = format!("{seeds} seeds from {} on", run.seed);
    report.add("store: kills, no answered commit lost", f64::from(seeds * KILLS), "", note);
    report.add("store: sequences answered as by the model", f64::from(comparisons * SEQUENCES), "", "");
    Ok(())
}

fn once(program: &Path, test: &str, variable: &str, seed: u64) -> Result<()> {
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture"]).env(variable, seed.to_string());
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

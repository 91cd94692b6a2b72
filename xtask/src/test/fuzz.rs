//! The scenario `fuzz`: each target of keelson-fuzz with bytes that libFuzzer makes up, for its share of the time.
//!
//! What is found on the way is kept in target/fuzz, not in the tree. An input that breaks a promise fails the scenario, and
//! its file is named.

use crate::{
    build::cargo,
    paths,
    shell::{cmd, run},
};
use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Instant,
};

const CARGO_FUZZ: &str = "0.13.1";
/// One input; a slower one counts as endless.
const SECONDS_MAX: u32 = 20;
/// Of the whole process, the corpus included.
const RSS_MIB_MAX: u32 = 2048;
const BYTES_MAX: u32 = 8192;
/// A run of no more than this is not worth building the dependencies again.
const SHORT_MINUTES: u32 = 1;
/// Hardly optimised: what a run loses in inputs it would lose twice in building.
const OWN_OPT_LEVEL: &str = "CARGO_PROFILE_DEV_OPT_LEVEL";

/// What a target has been through.
struct Figures {
    target: String,
    inputs: u64,
    edges: u64,
    seconds: f64,
    peak_mib: u64,
}

/// Fuzzes all targets for so many minutes in all.
pub(super) fn run_all(minutes: u32, seed: Option<u64>, output: &str) -> Result<()> {
    let programs = if minutes <= SHORT_MINUTES { build_own()? } else { build_all()? };
    let seconds = (minutes * 60 / u32::try_from(programs.len())?).max(1);
    let mut rows = Vec::new();
    let outcome = programs.iter().try_for_each(|program| {
        let figures = fuzz(program, seconds, seed)?;
        if output != "json" {
            figures.print();
        }
        rows.push(figures.json());
        anyhow::Ok(())
    });
    if output == "json" {
        println!("{}", serde_json::Value::Array(rows));
    }
    outcome
}

/// The targets' programs, all of whose code libFuzzer follows.
fn build_all() -> Result<Vec<PathBuf>> {
    let tool = paths::tools().join("bin/cargo-fuzz");
    if !tool.exists() {
        eprintln!("building cargo-fuzz {CARGO_FUZZ} (once, about a minute)");
        let install = ["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ, "--root"];
        run(cargo().args(install).arg(paths::tools()))?;
    }
    let folder = paths::target().join("fuzz");
    // Without a sanitizer: there is no unsafe code to watch, and a stable compiler does.
    let mut command =
        cmd(&tool, ["fuzz", "build", "--dev", "--sanitizer", "none", "--features", "libfuzzer"]);
    command.arg("--fuzz-dir").arg(crate_folder()).arg("--target-dir").arg(&folder);
    run(command.env(OWN_OPT_LEVEL, "1").current_dir(paths::root()))?;
    let folder = folder.join(host()?).join("debug");
    Ok(targets()?.iter().map(|name| folder.join(name)).collect())
}

/// The same for a run that is shorter than building all dependencies again: libFuzzer follows our crates, the others are
/// those of the tests.
fn build_own() -> Result<Vec<PathBuf>> {
    let names = targets()?;
    let mut command = cargo();
    command.args(["build", "--workspace", "--features", "keelson-fuzz/libfuzzer"]);
    for name in &names {
        command.args(["--bin", name]);
    }
    run(command.env("RUSTC_WORKSPACE_WRAPPER", crate_folder().join("followed.sh")).env(OWN_OPT_LEVEL, "1"))?;
    Ok(names.iter().map(|name| paths::target().join("debug").join(name)).collect())
}

fn crate_folder() -> PathBuf {
    paths::root().join("tests/fuzz")
}

/// The targets' names, in order.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(crate_folder().join("fuzz_targets"))? {
        let path = entry?.path();
        names.push(path.file_stem().context("a target has a name")?.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The compiler's target, by which cargo-fuzz names a folder.
fn host() -> Result<String> {
    let told = crate::shell::output(&mut cmd("rustc", ["-vV"]))?;
    let line = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc -vV names its host")?.to_owned())
}

fn fuzz(program: &Path, seconds: u32, seed: Option<u64>) -> Result<Figures> {
    let target = program.file_name().context("a program has a name")?.to_string_lossy().into_owned();
    let folder = paths::target().join("fuzz");
    let [found, broken] = ["found", "broken"].map(|name| folder.join(name).join(&target));
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&broken)?;
    let log = folder.join(format!("{target}.log"));
    let kept = paths::root().join("tests/fuzz/corpus").join(&target);
    let dictionary = paths::root().join("tests/fuzz/dictionaries").join(&target);
    let mut command = cmd(program, [&found, &kept]);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={RSS_MIB_MAX}"))
        .arg(format!("-max_len={BYTES_MAX}"))
        .arg(format!("-artifact_prefix={}/", broken.display()))
        .arg("-print_final_stats=1")
        .stderr(File::create(&log)?);
    if dictionary.exists() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    if let Some(seed) = seed {
        // 0 is libFuzzer's word for a random one.
        command.arg(format!("-seed={}", seed as u32 | 1));
    }
    eprintln!("fuzzing {target} for {seconds} s");
    let started = Instant::now();
    let held = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?.success();
    let told = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if !held {
        let end = told.lines().rev().take(40).collect::<Vec<_>>();
        let end = end.into_iter().rev().collect::<Vec<_>>().join("\n");
        bail!(
            "{end}\nfuzzing {target} broke a promise. The input is in {}; `{} INPUT` runs it again. With its mend it belongs into tests/fuzz/corpus/{target}",
            broken.display(),
            program.display()
        );
    }
    let figure = |name: &str| {
        told.lines().rev().find_map(|line| line.split_once(name)?.1.split_whitespace().next()?.parse().ok())
    };
    Ok(Figures {
        inputs: figure("stat::number_of_executed_units:").unwrap_or_default(),
        edges: figure(" cov: ").unwrap_or_default(),
        peak_mib: figure("stat::peak_rss_mb:").unwrap_or_default(),
        seconds: started.elapsed().as_secs_f64(),
        target,
    })
}

impl Figures {
    fn print(&self) {
        let Self { target, inputs, edges, seconds, peak_mib } = self;
        println!(
            "fuzz {target:<10} {inputs:>10} inputs in {seconds:>5.0} s, {edges:>6} edges, peak {peak_mib} MiB"
        );
    }

    fn json(&self) -> serde_json::Value {
        let Self { target, inputs, edges, seconds, peak_mib } = self;
        serde_json::json!({ "scenario": "fuzz", "target": target, "inputs": inputs, "edges": edges,
            "seconds": seconds, "peakMib": peak_mib })
    }
}

//! `tidy`: formatting, lints, and the rules of the tree that no compiler knows. Each message says how to mend it.

use crate::{
    build::cargo,
    doctor, paths,
    shell::{cmd, output, run as run_command},
};
use anyhow::{Context, Result, bail};
use std::{fs, path::Path};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask tidy\n  cargo xtask tidy --rules-only")]
pub(crate) struct Args {
    /// Only the rules of the tree, which take no compiler
    #[arg(long)]
    rules_only: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let broken = rules()?;
    if !broken.is_empty() {
        bail!("{} rule(s) broken:\n  {}", broken.len(), broken.join("\n  "));
    }
    if !args.rules_only {
        run_command(cargo().args(["fmt", "--all", "--check"]))?;
        doctor::ensure(doctor::For::Build)?;
        run_command(cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]))?;
    }
    Ok(())
}

/// The top level holds exactly these, and dot-files.
const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "bench",
    "control-plane",
    "ebpf",
    "node",
    "proto",
    "tests",
    "xtask",
];

/// Crates in which `unsafe` has its place: system calls and maps. The programs in ebpf/ are kernel code, all of it.
const UNSAFE_CRATES: &[&str] = &["node/sys/", "node/dataplane/", "ebpf/programs/"];

/// Lines above which a file is hardly one idea.
const FILE_LINES_MAX: usize = 600;

fn rules() -> Result<Vec<String>> {
    let root = paths::root();
    let listed =
        output(cmd("git", ["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(&root))?;
    let files: Vec<&str> = listed.lines().filter(|file| root.join(file).exists()).collect();
    let mut broken = top_level(&files);
    for file in files.iter().filter(|file| file.ends_with(".rs")) {
        let text = fs::read_to_string(root.join(file)).with_context(|| format!("reading {file}"))?;
        broken.extend(source(file, &text));
    }
    for manifest in files.iter().filter(|file| file.ends_with("/Cargo.toml")) {
        let text = fs::read_to_string(root.join(manifest)).with_context(|| format!("reading {manifest}"))?;
        broken.extend(dependencies(manifest, &text));
    }
    broken.extend(folder_readmes(&root));
    broken.extend(crate::bench::unquoted()?);
    Ok(broken)
}

fn top_level(files: &[&str]) -> Vec<String> {
    let mut tops: Vec<&str> = files.iter().filter_map(|file| file.split('/').next()).collect();
    tops.dedup();
    let strange = tops.iter().filter(|top| !top.starts_with('.') && !TOP_LEVEL.contains(top));
    strange
        .map(|top| {
            format!("{top}: the top level holds only {}; move it below one of them", TOP_LEVEL.join(", "))
        })
        .collect()
}

fn source(file: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if !text.starts_with("//!") {
        broken.push(format!("{file}: open with `//!`: what the file owns and what it does not"));
    }
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        broken
            .push(format!("{file}: {lines} lines; split it, a file is one idea (at most {FILE_LINES_MAX})"));
    }
    let is_root = file.ends_with("src/lib.rs") || file.ends_with("src/main.rs");
    let may_be_unsafe = UNSAFE_CRATES.iter().any(|folder| file.starts_with(folder));
    if is_root && !may_be_unsafe && !text.contains("#![forbid(unsafe_code)]") {
        broken.push(format!(
            "{file}: add #![forbid(unsafe_code)]; `unsafe` has its place in {}",
            UNSAFE_CRATES.join(", ")
        ));
    }
    for (word, mend) in FORBIDDEN {
        if text.contains(word) && file != "xtask/src/tidy.rs" {
            broken.push(format!("{file}: `{word}`: {mend}"));
        }
    }
    broken
}

const FORBIDDEN: &[(&str, &str)] = &[
    ("todo!(", "build it, or answer with an error that names what is missing"),
    ("unimplemented!(", "build it, or answer with an error that names what is missing"),
    ("dbg!(", "take it out"),
    ("#[allow(dead_code)]", "delete what is dead"),
];

/// Which crates a folder's crates may not depend on (design: dependencies point downward).
const LAYERS: &[(&str, &[&str], &str)] = &[
    (
        "node/",
        &[
            "keelson-store",
            "keelson-registry",
            "keelson-apiserver",
            "keelson-auth",
            "keelson-admission",
            "keelson-controllers",
        ],
        "the node speaks the Kubernetes API alone",
    ),
    (
        "control-plane/",
        &[
            "keelson-sys",
            "keelson-runtime",
            "keelson-kubelet",
            "keelson-dataplane",
            "keelson-cni",
            "keelson-dns",
        ],
        "the control plane never reaches into a node",
    ),
    (
        "control-plane/controllers",
        &["keelson-registry", "keelson-store"],
        "controllers speak the Kubernetes API through kube::Client",
    ),
    (
        "control-plane/scheduler",
        &["keelson-registry", "keelson-store"],
        "the scheduler speaks the Kubernetes API through kube::Client",
    ),
    ("control-plane/auth", &["keelson-registry", "keelson-store"], "auth is pure, over snapshots"),
    (
        "control-plane/store",
        &["keelson-registry", "keelson-schema", "k8s-openapi"],
        "the store knows no kinds",
    ),
    ("proto/", &["keelson-store", "keelson-registry", "keelson-sys"], "contracts depend on neither side"),
];

fn dependencies(manifest: &str, text: &str) -> Vec<String> {
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.split_once(".workspace").map(|(name, _)| name)).collect();
    let rules = LAYERS.iter().filter(|(folder, _, _)| manifest.starts_with(folder));
    let broken = rules.flat_map(|(_, forbidden, why)| {
        names
            .iter()
            .filter(|name| forbidden.contains(name))
            .map(move |name| format!("{manifest}: may not depend on {name}: {why}"))
    });
    broken.collect()
}

fn folder_readmes(root: &Path) -> Vec<String> {
    let folders = ["bench", "control-plane", "ebpf", "node", "proto", "tests", "xtask"];
    let missing = folders.iter().filter(|folder| !root.join(folder).join("README.md").exists());
    missing
        .map(|folder| format!("{folder}/README.md is missing: say what the folder holds and its invariants"))
        .collect()
}

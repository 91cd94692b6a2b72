//! Building: the binaries with cargo, the eBPF programs with a compiler that can build `core` for BPF.

use crate::{
    paths,
    shell::{cmd, output, printed, run},
};
use anyhow::{Context, Result, bail};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// How the binaries are built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Profile {
    /// Optimised: what `up` and the benchmarks run.
    Release,
    /// Quick to compile: what the tests run.
    Dev,
}

impl Profile {
    fn folder(self) -> &'static str {
        match self {
            Profile::Release => "release",
            Profile::Dev => "debug",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Profile::Release => "release",
            Profile::Dev => "dev",
        }
    }
}

/// Builds the named packages' binaries; answers the folder that holds them.
pub(crate) fn binaries(profile: Profile, packages: &[&str]) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--bins", "--profile", profile.name()]);
    for package in packages {
        command.args(["--package", package]);
    }
    run(&mut command)?;
    Ok(paths::target().join(profile.folder()))
}

/// Builds what measures and what is measured, optimised: all crates at once, for the reason of [`workspace`]. Answers the folder
/// that holds the binaries, and `examples/`.
pub(crate) fn measuring() -> Result<PathBuf> {
    let profile = Profile::Release;
    run(cargo().args(["build", "--workspace", "--bins", "--examples", "--profile", profile.name()]))?;
    Ok(paths::target().join(profile.folder()))
}

/// A test program that a build made.
pub(crate) struct TestProgram {
    /// Of its crate, in the checkout: `control-plane/store`.
    pub(crate) folder: String,
    /// The target's name: that of a file of `tests/`, or the crate's.
    target: String,
    /// The program.
    pub(crate) file: PathBuf,
}

/// What a build of the whole workspace made.
pub(crate) struct Built {
    /// Where the binaries are.
    pub(crate) folder: PathBuf,
    /// The test programs, in cargo's order.
    pub(crate) tests: Vec<TestProgram>,
}

impl Built {
    /// A test program by its crate's folder and its target's name.
    pub(crate) fn test(&self, folder: &str, target: &str) -> Result<&Path> {
        let found = self.tests.iter().find(|test| test.folder == folder && test.target == target);
        Ok(&found.with_context(|| format!("cargo built no test {target} of {folder}"))?.file)
    }
}

/// Builds the binaries and tests of all crates, unoptimised. Always all of them: a selection of packages unifies other
/// features, and cargo would compile what differs, and all that stands on it, once more for each selection.
pub(crate) fn workspace() -> Result<Built> {
    let mut command = cargo();
    command.args([
        "build",
        "--workspace",
        "--bins",
        "--tests",
        "--message-format",
        "json-render-diagnostics",
    ]);
    let mut tests = Vec::new();
    let said = printed(&mut command)?;
    // https://doc.rust-lang.org/cargo/reference/external-tools.html#json-messages
    for line in said.lines().filter(|line| line.contains("\"reason\":\"compiler-artifact\"")) {
        let artifact: Artifact = serde_json::from_str(line).context("reading what cargo built")?;
        if let Some(file) = artifact.executable.filter(|_| artifact.profile.test) {
            let folder =
                artifact.manifest_path.parent().and_then(|folder| folder.strip_prefix(paths::root()).ok());
            let folder = folder.context("a test from outside of the checkout")?.display().to_string();
            tests.push(TestProgram { folder, target: artifact.target.name, file });
        }
    }
    Ok(Built { folder: paths::target().join(Profile::Dev.folder()), tests })
}

#[derive(serde::Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    target: Target,
    profile: ArtifactProfile,
    executable: Option<PathBuf>,
}

#[derive(serde::Deserialize)]
struct Target {
    name: String,
}

#[derive(serde::Deserialize)]
struct ArtifactProfile {
    test: bool,
}

/// `cargo` as the caller's own, in the checkout, without what the cargo that runs us has said of us: some build scripts
/// look at it, and would have their crates compiled anew, now with it and now without.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars().filter(|(name, _)| is_about_xtask(name)) {
        command.env_remove(name);
    }
    command.current_dir(paths::root());
    command
}

fn is_about_xtask(variable: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
        .iter()
        .any(|p| variable.starts_with(p))
}

/// The object files of the eBPF programs: of the socket hooks, of the packets' way, of the uplink's wire.
const OBJECTS: [&str; 3] = ["sock", "tc", "xdp"];

/// Builds the eBPF programs into target/ebpf; answers the object of the socket programs, beside which the others lie. Needs the linker, which is built once from crates.io.
pub(crate) fn ebpf() -> Result<PathBuf> {
    let folder = paths::root().join("target/ebpf");
    let object = |name: &str| folder.join(format!("{name}.o"));
    if OBJECTS.iter().map(|name| newer_than_sources(&object(name))).all(|newer| matches!(newer, Ok(true))) {
        return Ok(object(OBJECTS[0]));
    }
    let linker = bpf_linker()?;
    let mut command = if rust_src_of_rustup() {
        cargo()
    } else {
        let mut debian = cmd("/usr/bin/cargo", [] as [&str; 0]);
        // bpf-linker loads the LLVM that the compiler brings; Debian's lies here.
        debian.env("RUSTC", "/usr/bin/rustc").env("LD_LIBRARY_PATH", "/usr/lib/x86_64-linux-gnu");
        // What cargo set for us is meant for the other compiler.
        debian.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env_remove("RUSTC_WRAPPER");
        debian
    };
    // Target, flags and `core` from source are in ebpf/programs/.cargo/config.toml.
    run(command
        .current_dir(paths::root().join("ebpf/programs"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker)
        .env("CARGO_TARGET_DIR", paths::root().join("target/ebpf/build"))
        .args(["build", "--release", "--locked"]))?;
    for name in OBJECTS {
        let built = folder.join("build/bpfel-unknown-none/release").join(name);
        let bytes = std::fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
        let to = object(name);
        std::fs::write(&to, with_plain_names(bytes)).with_context(|| format!("writing {}", to.display()))?;
    }
    Ok(object(OBJECTS[0]))
}

/// How the name begins of a union that the linker leaves as Rust has it in the object's types, for which the kernel refuses all of them.
const UNION: &[u8] = b"\0MaybeUninit<";

/// Makes such names those that C could have, as long as before.
fn with_plain_names(mut object: Vec<u8>) -> Vec<u8> {
    let places = object.windows(UNION.len()).enumerate().filter(|(_, bytes)| *bytes == UNION);
    for place in places.map(|(at, _)| at + 1).collect::<Vec<_>>() {
        let name = object[place..].iter_mut().take_while(|byte| **byte != 0);
        name.filter(|byte| !byte.is_ascii_alphanumeric()).for_each(|byte| *byte = b'_');
    }
    object
}

/// Whether rustup's toolchain has the standard library's source.
pub(crate) fn rust_src_of_rustup() -> bool {
    output(&mut cmd("rustc", ["--print", "sysroot"]))
        .is_ok_and(|sysroot| Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").exists())
}

const BPF_LINKER: &str = "0.10.1";

fn bpf_linker() -> Result<PathBuf> {
    let binary = paths::tools().join("bin/bpf-linker");
    if !binary.exists() {
        eprintln!("building bpf-linker {BPF_LINKER} (once, about two minutes)");
        let mut command = cargo();
        run(command
            .args(["install", "bpf-linker", "--locked", "--version", BPF_LINKER, "--root"])
            .arg(paths::tools()))?;
    }
    Ok(binary)
}

fn newer_than_sources(object: &Path) -> Result<bool> {
    let Ok(built) = object.metadata().and_then(|meta| meta.modified()) else { return Ok(false) };
    for folder in ["ebpf/common", "ebpf/programs"] {
        if newest(&paths::root().join(folder))? > built {
            return Ok(false);
        }
    }
    Ok(true)
}

fn newest(folder: &Path) -> Result<std::time::SystemTime> {
    let mut newest = std::time::UNIX_EPOCH;
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            if entry.file_name() != "target" {
                newest = newest.max(self::newest(&entry.path())?);
            }
        } else {
            newest = newest.max(meta.modified()?);
        }
    }
    Ok(newest)
}

/// The pause program, linked statically, so that its image holds one file.
pub(crate) fn pause() -> Result<PathBuf> {
    let mut command = cargo();
    let target = host_triple()?;
    run(command.args(["rustc", "--package", "keelson-pause", "--release", "--target", &target]).args([
        "--",
        "-Ctarget-feature=+crt-static",
        "-Cstrip=symbols",
    ]))?;
    Ok(paths::target().join(target).join("release/keelson-pause"))
}

fn host_triple() -> Result<String> {
    let version = output(&mut cmd("rustc", ["-vV"]))?;
    let Some(host) = version.lines().find_map(|line| line.strip_prefix("host: ")) else {
        bail!("`rustc -vV` names no host");
    };
    Ok(host.to_string())
}

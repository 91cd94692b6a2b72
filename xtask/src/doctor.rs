//! What the machine must have: finds what is missing and, as root on Debian, installs it.

use crate::shell::{cmd, succeeds, which};
use anyhow::{Result, bail};
use std::path::Path;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask doctor\n  cargo xtask doctor --install\n  cargo xtask doctor -o json"
)]
pub(crate) struct Args {
    /// Install what is missing (root, Debian or a derivative)
    #[arg(long)]
    install: bool,
    /// Output: text or json
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
}

/// What a need is for; each asks for what those before it ask for, too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum For {
    /// To build.
    Build,
    /// To run a cluster.
    Up,
    /// To run a cluster on a real etcd.
    Etcd,
    /// To run every test.
    Test,
    /// To measure against peers.
    Bench,
}

/// Something that must be there, and the Debian package that brings it.
struct Need {
    what: &'static str,
    package: &'static str,
    found: fn() -> bool,
    needed_for: For,
}

macro_rules! program {
    ($name:literal, $package:literal, $for:expr) => {
        Need { what: $name, package: $package, found: || which($name).is_some(), needed_for: $for }
    };
}

macro_rules! file {
    ($path:literal, $package:literal, $for:expr) => {
        Need { what: $path, package: $package, found: || Path::new($path).exists(), needed_for: $for }
    };
}

const NEEDS: &[Need] = &[
    program!("protoc", "protobuf-compiler", For::Build),
    file!("/usr/include/google/protobuf/descriptor.proto", "libprotobuf-dev", For::Build),
    program!("containerd", "containerd", For::Up),
    program!("runc", "runc", For::Up),
    program!("ip", "iproute2", For::Up),
    program!("nsenter", "util-linux", For::Up),
    program!("dpkg-deb", "dpkg", For::Up),
    Need { what: "rust-src for eBPF", package: EBPF_PACKAGES, found: ebpf_compiler, needed_for: For::Up },
    program!("etcd", "etcd-server", For::Etcd),
    program!("kubectl", "kubernetes-client", For::Test),
    program!("docker-registry", "docker-registry", For::Test),
    program!("setpriv", "util-linux", For::Test),
    program!("nft", "nftables", For::Test),
    program!("iptables", "iptables", For::Test),
    program!("ethtool", "ethtool", For::Test),
    program!("bpftool", "bpftool", For::Test),
    program!("prometheus", "prometheus", For::Test),
    program!("victoria-metrics", "victoria-metrics", For::Test),
    program!("npm", "npm", For::Test),
    Need { what: "python3 with venv", package: "python3-venv", found: python_venv, needed_for: For::Test },
];

/// Debian's compiler of the same LLVM as the linker's, with the standard library's source.
const EBPF_PACKAGES: &str = "rustc-web cargo-web rust-web-src rust-web-llvm";

/// Whether some compiler on the machine can build `core` for BPF.
fn ebpf_compiler() -> bool {
    crate::build::rust_src_of_rustup() || Path::new("/usr/lib/rust-web-src").exists() || debian_rust_src()
}

/// Debian leaves out of python3 what makes pip in an environment.
fn python_venv() -> bool {
    succeeds(&mut cmd("python3", ["-c", "import ensurepip, venv"]))
}

fn debian_rust_src() -> bool {
    succeeds(&mut cmd("dpkg-query", ["-W", "rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm"]))
}

pub(crate) fn run_checks() -> Vec<(&'static str, &'static str, bool)> {
    NEEDS.iter().map(|need| (need.what, need.package, (need.found)())).collect()
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.install {
        ensure(For::Bench)?;
        crate::clients::ensure()?;
    }
    let checks = run_checks();
    if args.output == "json" {
        let rows: Vec<_> = checks
            .iter()
            .map(|(what, package, found)| serde_json::json!({"what": what, "package": package, "found": found}))
            .collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    for (what, package, found) in checks {
        let verdict = if found { "ok".to_string() } else { format!("missing (Debian: {package})") };
        println!("{what:<50} {verdict}");
    }
    Ok(())
}

/// Makes sure that everything up to `level` is there. As root on a Debian it installs; elsewhere one clear list.
pub(crate) fn ensure(level: For) -> Result<()> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|n| n.needed_for <= level && !(n.found)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.package.split(' ')).collect();
    let list =
        missing.iter().map(|n| format!("  {:<50} (Debian: {})", n.what, n.package)).collect::<Vec<_>>();
    let root = nix::unistd::geteuid().is_root();
    if !root || which("apt-get").is_none() {
        bail!(
            "this machine lacks:\n{}\nInstall these and run the command again{}.",
            list.join("\n"),
            if root { "" } else { ", or run it as root on Debian to have them installed" }
        );
    }
    eprintln!("installing {}", packages.join(" "));
    apt_get(&["update", "-q"])?;
    apt_get(&[&["install", "-y", "-q", "--no-install-recommends"], packages.as_slice()].concat())?;
    let still: Vec<_> = missing.iter().filter(|need| !(need.found)()).map(|need| need.what).collect();
    if !still.is_empty() {
        bail!("installed, and still not found: {}", still.join(", "));
    }
    Ok(())
}

/// apt-get without questions; what it prints when all is well is left out.
pub(crate) fn apt_get(args: &[&str]) -> Result<()> {
    let mut command = cmd("apt-get", args);
    crate::shell::run(command.env("DEBIAN_FRONTEND", "noninteractive").stdout(std::process::Stdio::null()))
}

//! `/version`: which Kubernetes API this is, and which build serves it.

use serde_json::{Value, json};
use std::fmt::Write;

/// The minor of the API served.
pub(crate) const MINOR: &str = "36";

/// The answer of `/version`. `gitVersion` must be a semantic version of at least 1.36.0 for client libraries that
/// compare it: build metadata (`+`) does not lower it, a pre-release (`-`) would.
pub(crate) fn info() -> Value {
    json!({
        "major": "1",
        "minor": MINOR,
        "emulationMajor": "1",
        "emulationMinor": MINOR,
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": format!("v1.{MINOR}.0+keelson-{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, arch()),
    })
}

/// The same in the Prometheus text format.
pub(crate) fn render(out: &mut String) {
    let info = info();
    let keys = [
        ("build_date", "buildDate"),
        ("compiler", "compiler"),
        ("git_commit", "gitCommit"),
        ("git_tree_state", "gitTreeState"),
        ("git_version", "gitVersion"),
        ("go_version", "goVersion"),
        ("major", "major"),
        ("minor", "minor"),
        ("platform", "platform"),
    ];
    let labels: Vec<String> = keys.iter().map(|(label, key)| format!("{label}={}", info[*key])).collect();
    out.push_str("# HELP kubernetes_build_info [ALPHA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.\n# TYPE kubernetes_build_info gauge\n");
    let _ = writeln!(out, "kubernetes_build_info{{{}}} 1", labels.join(","));
}

/// Go's name of the architecture, which clients expect here.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

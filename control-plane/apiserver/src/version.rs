//! `/version`: which Kubernetes API this is, and which build serves it.

use serde_json::{Value, json};

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

/// Go's name of the architecture, which clients expect here.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

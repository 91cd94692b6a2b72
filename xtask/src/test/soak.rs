//! The soak tier: starts `keelson-soak`, which knows the scenarios, on the cluster that is up.

use crate::{
    build::Built,
    paths,
    shell::{cmd, run as run_command},
};
use anyhow::Result;

/// Minutes of a scenario when soaking is what was asked for.
pub(super) const MINUTES: u32 = 10;
/// A day.
pub(super) const MINUTES_MAX: i64 = 1440;

/// A scenario by its name in `keelson-soak`, and whether it needs a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scenario {
    name: &'static str,
    needs_cluster: bool,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "churn", needs_cluster: true },
    Scenario { name: "crashes", needs_cluster: true },
    Scenario { name: "services", needs_cluster: true },
    Scenario { name: "store", needs_cluster: false },
];

/// Those whose names hold one of the words; all of them without words.
pub(super) fn scenarios(words: &[String]) -> Vec<Scenario> {
    let named = |scenario: &Scenario| words.iter().any(|word| scenario.name.contains(word));
    SCENARIOS.into_iter().filter(|scenario| words.is_empty() || named(scenario)).collect()
}

/// For an error.
pub(super) fn names() -> String {
    SCENARIOS.map(|scenario| scenario.name).join(", ")
}

/// Whether one of them needs a cluster.
pub(super) fn need_cluster(scenarios: &[Scenario]) -> bool {
    scenarios.iter().any(|scenario| scenario.needs_cluster)
}

/// Runs the scenarios one after another, each for so many minutes.
pub(super) fn run(
    built: &Built,
    scenarios: &[Scenario],
    minutes: u32,
    seed: Option<u64>,
    output: &str,
) -> Result<()> {
    let mut command = cmd(built.folder.join("keelson-soak"), scenarios.iter().map(|scenario| scenario.name));
    command.args(["--minutes", &minutes.to_string(), "--output", output]);
    if let Some(seed) = seed {
        command.args(["--seed", &seed.to_string()]);
    }
    let programs = [
        ("--store-power", "crashes"),
        ("--store-crashes", "embedded"),
        ("--store-cluster", "cluster"),
        ("--store-equivalence", "equivalence"),
    ];
    for (flag, target) in programs {
        command.arg(flag).arg(built.test("control-plane/store", target)?);
    }
    run_command(command.env("KUBECONFIG", paths::cluster().join("kubeconfig")))
}

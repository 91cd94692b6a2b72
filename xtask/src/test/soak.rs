//! The soak tier: starts `keelson-soak`, which knows the scenarios, on the cluster that is up; and the fuzzer.

use super::fuzz;
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

/// A scenario by its name, in `keelson-soak` where there is no word of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scenario {
    name: &'static str,
    needs: Needs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Cluster,
    Nothing,
    /// Programs of its own: [`fuzz`].
    Fuzzer,
}

const SCENARIOS: [Scenario; 5] = [
    Scenario { name: "churn", needs: Needs::Cluster },
    Scenario { name: "crashes", needs: Needs::Cluster },
    Scenario { name: "services", needs: Needs::Cluster },
    Scenario { name: "store", needs: Needs::Nothing },
    Scenario { name: "fuzz", needs: Needs::Fuzzer },
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
    scenarios.iter().any(|scenario| scenario.needs == Needs::Cluster)
}

/// Runs the scenarios one after another, each for so many minutes.
pub(super) fn run(
    built: &Built,
    scenarios: &[Scenario],
    minutes: u32,
    seed: Option<u64>,
    output: &str,
) -> Result<()> {
    let (fuzz, soak): (Vec<&Scenario>, Vec<&Scenario>) =
        scenarios.iter().partition(|scenario| scenario.needs == Needs::Fuzzer);
    if !soak.is_empty() {
        soaked(built, soak.iter().map(|scenario| scenario.name), minutes, seed, output)?;
    }
    if !fuzz.is_empty() {
        fuzz::run_all(minutes, seed, output)?;
    }
    Ok(())
}

fn soaked(
    built: &Built,
    scenarios: impl Iterator<Item = &'static str>,
    minutes: u32,
    seed: Option<u64>,
    output: &str,
) -> Result<()> {
    let mut command = cmd(built.folder.join("keelson-soak"), scenarios);
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

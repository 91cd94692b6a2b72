//! What Keelson's processes keep in memory before and after.

use anyhow::{Result, ensure};
use keelson_tests::{figures::Report, process};
use std::{collections::BTreeMap, time::Duration};

/// How long the cluster rests before it counts as idle. Not for a condition: idleness is the absence of events for a while.
const REST: Duration = Duration::from_secs(10);

/// How much the sum may grow. Caches and rings of named size fill up, and the allocator keeps pages; what grows without end
/// grows by more than this in ten minutes of a few hundred changes a second.
const GROWTH_MAX_MIB: f64 = 96.0;

/// PSS in MiB by the processes' names, each the sum of its kind.
pub(crate) fn idle() -> Result<BTreeMap<String, f64>> {
    std::thread::sleep(REST);
    let mut by_name = BTreeMap::new();
    for process in process::all()? {
        *by_name.entry(process.name.clone()).or_default() += process.pss_kib()? as f64 / 1024.0;
    }
    Ok(by_name)
}

/// States both, and fails if the sum grew by too much.
pub(crate) fn compare(
    scenario: &str,
    before: &BTreeMap<String, f64>,
    after: &BTreeMap<String, f64>,
    report: &mut Report,
) -> Result<()> {
    for (name, mib) in after {
        let start = before.get(name).copied().unwrap_or_default();
        report.add(
            format!("{scenario}: PSS {name}, end"),
            *mib,
            "MiB",
            format!("start {start:.1} MiB, three nodes' sum"),
        );
    }
    let (start, end): (f64, f64) = (before.values().sum(), after.values().sum());
    ensure!(
        end - start <= GROWTH_MAX_MIB,
        "PSS grew from {start:.1} to {end:.1} MiB: {before:?} became {after:?}"
    );
    Ok(())
}

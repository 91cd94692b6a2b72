//! Whether the processes grow while as much is there as before: PSS at every death of the one that is killed.

use anyhow::{Result, ensure};
use keelson_tests::{Cluster, figures::Report, process};
use std::time::Duration;

/// Until here caches and rings of named size fill up: the control plane keeps five minutes of changes.
const FULL_AFTER: Duration = Duration::from_secs(330);
/// How much the later half of what follows may be above the earlier half.
const GROWTH_MAX: f64 = 1.10;
/// Below so many samples a half tells nothing.
const SAMPLES_MIN: usize = 10;

/// PSS in MiB at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    at: Duration,
    control_plane: f64,
    /// Of the nodes whose daemons nobody kills, in the mean.
    daemons: f64,
    /// Of the one that is about to be killed.
    killed: f64,
}

pub(super) fn sample(cluster: &Cluster, killed: &str, at: Duration) -> Result<Sample> {
    let killed_pid = cluster.daemon(killed, "node")?.as_raw() as u32;
    let mut sample = Sample { at, control_plane: 0.0, daemons: 0.0, killed: 0.0 };
    let mut others = 0;
    for process in process::all()? {
        let mib = process.pss_kib()? as f64 / 1024.0;
        match process.name.as_str() {
            "keelson serve" => sample.control_plane += mib,
            "keelson-node run" if process.pid == killed_pid => sample.killed = mib,
            "keelson-node run" => {
                others += 1;
                sample.daemons += mib;
            }
            _ => {}
        }
    }
    sample.daemons /= f64::from(others.max(1));
    Ok(sample)
}

/// States them, and fails if something grew that was full.
pub(super) fn tell(samples: &[Sample], report: &mut Report) -> Result<()> {
    type Of = fn(&Sample) -> f64;
    let series: [(&str, Of); 3] = [
        ("control plane", |s| s.control_plane),
        ("a node daemon, not killed", |s| s.daemons),
        ("the killed node daemon, before each kill", |s| s.killed),
    ];
    for (name, of) in series {
        let all: Vec<f64> = samples.iter().map(of).collect();
        let (first, last) =
            (all.first().copied().unwrap_or(f64::NAN), all.last().copied().unwrap_or(f64::NAN));
        let full: Vec<f64> = samples.iter().filter(|s| s.at >= FULL_AFTER).map(of).collect();
        let mut note = format!("first {first:.1} MiB");
        if full.len() >= SAMPLES_MIN {
            let (earlier, later) = full.split_at(full.len() / 2);
            let (earlier, later) = (median(earlier), median(later));
            note += &format!("; from {} s on median {earlier:.1}, then {later:.1}", FULL_AFTER.as_secs());
            ensure!(later <= earlier * GROWTH_MAX, "services: PSS of {name} grows: {note}");
        }
        report.add(format!("services: PSS {name}, end"), last, "MiB", note);
    }
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

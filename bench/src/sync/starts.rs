//! The node daemon's start: what was changed while it was dead is right, with all that was not.

use super::{TWO, all_right, on_ground, until};
use anyhow::{Context, Result, ensure};
use keelson_tests::{
    Cluster,
    figures::Report,
    fleet::{Endpoints, Fleet, Ground},
    process,
};
use std::{fs, path::Path, time::Instant};

/// Starts of either kind.
const STARTS: usize = 5;
/// Services changed while it is dead, spread over all.
const CHANGED: usize = 50;
/// The endpoints that they have then: none of those before.
const OTHERS: Endpoints = Endpoints(0b1100);
/// Where a node keeps maps and programs.
const PINS: &str = "/sys/fs/bpf/keelson/n1";

/// What the daemon finds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Maps and programs at work, as after a crash or an upgrade.
    Again,
    /// Nothing, as after the machine's start.
    First,
}

pub(super) fn measure(cluster: &Cluster, ground: &Ground, fleet: &Fleet, report: &mut Report) -> Result<()> {
    let services = fleet.services();
    for (start, name, found) in [
        (Start::Again, "again", "as after a crash: maps and programs are there"),
        (Start::First, "first", "as after a reboot: no map and no program is there"),
    ] {
        let mut seconds = Vec::new();
        for number in 0..STARTS {
            seconds.push(once(cluster, ground, fleet, start, number)?);
        }
        seconds.sort_by(f64::total_cmp);
        let note = format!("{found}; {:.2} to {:.2} s", seconds[0], seconds[STARTS - 1]);
        report.add(
            format!("daemon start ({name}) with {services} Services to verified"),
            seconds[STARTS / 2],
            "s",
            note,
        );
    }
    Ok(())
}

/// Seconds from the process' start until new connections were right.
fn once(cluster: &Cluster, ground: &Ground, fleet: &Fleet, start: Start, number: usize) -> Result<f64> {
    let killed = cluster.kill_daemon("n1", "node")?;
    let endpoints = if number.is_multiple_of(2) { OTHERS } else { TWO };
    let step = fleet.services() / CHANGED;
    let changed: Vec<_> = (0..CHANGED).map(|n| (n * step + step / 2, endpoints)).collect();
    changed.iter().try_for_each(|&(service, endpoints)| fleet.change(service, endpoints))?;
    if start == Start::First {
        ensure!(Path::new(PINS).is_dir(), "{PINS} is not there");
        fs::remove_dir_all(PINS).with_context(|| format!("removing {PINS}"))?;
    }
    let (took, mut up) = std::thread::scope(|scope| {
        let back = scope.spawn(|| cluster.bring_back("n1", "node", killed));
        let right = on_ground(ground, || {
            let rights = changed.iter().map(|&(service, endpoints)| until(fleet, service, endpoints));
            rights.collect::<Result<Vec<Instant>>>()
        });
        let up = back.join().expect("it answers errors")?;
        let began = process::started(cluster.daemon("n1", "node")?)?;
        let last = right?.into_iter().max().context("no Service was changed")?;
        anyhow::Ok((last.saturating_duration_since(began).as_secs_f64(), up))
    })?;
    ensure!(up.wait()?.success(), "xtask up failed");
    on_ground(ground, || all_right(fleet, &changed))?;
    // For the next measurement.
    if endpoints != TWO && number + 1 == STARTS {
        changed.iter().try_for_each(|&(service, _)| fleet.change(service, TWO))?;
        on_ground(ground, || {
            changed.iter().try_for_each(|&(service, _)| until(fleet, service, TWO).map(drop))
        })?;
    }
    Ok(took)
}

//! One endpoint of one Service changed, again and again, each time of another.

use super::{RIGHT_MAX, TWO, all_right, on_ground, until};
use crate::percentile;
use anyhow::{Result, ensure};
use keelson_tests::{
    figures::Report,
    fleet::{Endpoints, Fleet, Ground},
};
use std::{
    sync::mpsc::{Receiver, Sender, channel},
    time::Instant,
};

/// Services that are changed, each there and later back.
const CHANGES: usize = 500;
/// The second endpoint is another than before.
const OTHER: Endpoints = Endpoints(0b101);
/// Connections after the first right one: none may go to the endpoint that went.
const AFTER: usize = 20;

/// What is waited for: the Service, the endpoint that came, and all that it has then.
type Wanted = (usize, Endpoints, Endpoints);

pub(super) fn measure(ground: &Ground, fleet: &Fleet, report: &mut Report) -> Result<()> {
    let (orders, wanted) = channel();
    let (found, seen) = channel();
    let (mut right_ms, mut answered_ms) = std::thread::scope(|scope| {
        scope.spawn(move || watch(ground, fleet, &wanted, &found));
        // The watcher ends when nobody orders any more.
        change(fleet, orders, &seen)
    })?;
    on_ground(ground, || all_right(fleet, &[]))?;
    let services = fleet.services();
    let name = format!("endpoint changed among {services} Services");
    let note = "from sending the write to a connection that reaches the new endpoint";
    for (p, label) in [(0.5, "p50"), (0.99, "p99")] {
        report.add(format!("{name}, {label}"), percentile(&mut right_ms, p), "ms", note);
    }
    report.add(
        format!("{name}, answer of the API, p99"),
        percentile(&mut answered_ms, 0.99),
        "ms",
        "of the above",
    );
    Ok(())
}

/// Milliseconds until connections were right, and until the API answered.
fn change(
    fleet: &Fleet,
    orders: Sender<Wanted>,
    seen: &Receiver<Result<Instant>>,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut right_ms, mut answered_ms) = (Vec::new(), Vec::new());
    let chosen = rand::seq::index::sample(&mut rand::rng(), fleet.services(), CHANGES.min(fleet.services()));
    // All there, then all back.
    for (new, all) in [(Endpoints(OTHER.0 & !TWO.0), OTHER), (Endpoints(TWO.0 & !OTHER.0), TWO)] {
        for service in chosen.iter() {
            orders.send((service, new, all))?;
            let begun = Instant::now();
            fleet.change(service, all)?;
            answered_ms.push(begun.elapsed().as_secs_f64() * 1e3);
            let right = seen.recv_timeout(RIGHT_MAX)??;
            right_ms.push(right.saturating_duration_since(begun).as_secs_f64() * 1e3);
        }
    }
    Ok((right_ms, answered_ms))
}

/// On the ground: asks until what is wanted has come, then that it stays.
fn watch(ground: &Ground, fleet: &Fleet, wanted: &Receiver<Wanted>, found: &Sender<Result<Instant>>) {
    let one = |(service, new, all): Wanted| -> Result<Instant> {
        let right = until(fleet, service, new)?;
        for _ in 0..AFTER {
            let number = fleet.ask(service)?;
            ensure!(
                all.holds(number),
                "Service {service}: {number} answered after the endpoints {all:?} were there"
            );
        }
        Ok(right)
    };
    let entered = ground.enter();
    for order in wanted {
        let answer = entered.as_ref().map_or_else(|e| Err(anyhow::anyhow!("{e:#}")), |()| one(order));
        // The other side has given up.
        let Ok(()) = found.send(answer) else { return };
    }
}

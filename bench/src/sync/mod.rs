//! How soon what is written to the API is what connections get: Services made, changed, and after the node daemon's start.
//!
//! Every figure ends with a connection that reached the right endpoint, and is followed by a look at all Services. The
//! data plane alone, without an API and beside peers, is `sync_time` of `node/dataplane`.

mod changes;
mod made;
mod starts;

use anyhow::{Result, ensure};
use keelson_tests::{
    Cluster, Namespace,
    figures::Report,
    fleet::{Endpoints, Fleet, Ground},
};
use std::time::{Duration, Instant};

/// Two endpoints of each Service.
const TWO: Endpoints = Endpoints(0b11);
/// A Service that is not right within this is lost.
const RIGHT_MAX: Duration = Duration::from_secs(120);
/// Between two connections while something is waited for: the cluster that is measured has these CPUs, too.
const PAUSE: Duration = Duration::from_micros(200);

/// Measures with so many Services, ascending.
pub(crate) fn measure(services: &[usize], report: &mut Report) -> Result<()> {
    let cluster = Cluster::require_any()?;
    ensure!(
        !cluster.is_split(),
        "`sync` connects as a process of the machine, which is a node only in a cluster of one: `cargo xtask up`"
    );
    made::by_kubectl(report)?;
    let ground = Ground::prepare()?;
    let namespace = Namespace::create("sync")?;
    let mut fleet = Fleet::new(&namespace);
    for &services in services {
        made::by_api(&ground, &mut fleet, services, report)?;
        changes::measure(&ground, &fleet, report)?;
        starts::measure(&cluster, &ground, &fleet, report)?;
    }
    Ok(())
}

/// Does something on a thread on the ground.
fn on_ground<T: Send>(ground: &Ground, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let there = scope.spawn(|| ground.enter().and_then(|()| act()));
        there.join().expect("it answers errors")
    })
}

/// Asks a Service until one of its endpoints answers that is wanted; when that was.
fn until(fleet: &Fleet, service: usize, wanted: Endpoints) -> Result<Instant> {
    let start = Instant::now();
    loop {
        let answer = fleet.ask(service);
        let now = Instant::now();
        if answer.as_ref().is_ok_and(|&number| wanted.holds(number)) {
            return Ok(now);
        }
        ensure!(
            start.elapsed() < RIGHT_MAX,
            "Service {service} is not right after {RIGHT_MAX:?}: {answer:?}"
        );
        std::thread::sleep(PAUSE);
    }
}

/// An error unless each Service answers at once, by one of these; `changed` have others.
fn all_right(fleet: &Fleet, changed: &[(usize, Endpoints)]) -> Result<()> {
    for service in 0..fleet.services() {
        let endpoints = changed.iter().rfind(|(number, _)| *number == service).map_or(TWO, |(_, e)| *e);
        let number = fleet.ask(service)?;
        ensure!(endpoints.holds(number), "Service {service}: {number} answered, not one of {endpoints:?}");
    }
    Ok(())
}

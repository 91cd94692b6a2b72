//! Crashes: node daemons, DNS processes and the control plane are killed in random order, and brought back as `up` does it.
//!
//! Promises: no request to a Service that nobody touches fails (by name: none but while the asker's own DNS was dead); every
//! acknowledged write is there in the end; all pods are Ready, and none was restarted.

mod writer;

use crate::{Run, memory, steady};
use anyhow::{Context, Result, bail, ensure};
use keelson_tests::{Cluster, Namespace, eventually, figures::Report, load::from_node};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use writer::Writer;

/// Dead for at most this long before somebody brings it back.
const DEAD_MS_MAX: u64 = 1500;
/// Between two rounds.
const PAUSE_MS: std::ops::Range<u64> = 500..3000;
/// Until a new DNS process answers again.
const DNS_BACK_MAX: Duration = Duration::from_secs(10);
/// A request by name that began before its DNS answered again may fail after: two tries of a second each.
const DNS_AFTER_S: f64 = 2.5;

/// What was killed, and what the kills cost.
#[derive(Default)]
struct Kills {
    by_kind: BTreeMap<&'static str, u32>,
    /// Seconds since 1970 in which the DNS of the node that asks by name was dead.
    without_dns: Vec<(f64, f64)>,
    slowest_return: Duration,
    slowest_dns: Duration,
}

/// Runs the scenario.
pub(crate) fn run(run: &Run, report: &mut Report) -> Result<()> {
    let cluster = Cluster::require()?;
    let memory_before = memory::idle()?;
    let namespace = Namespace::create("soak")?;
    steady::deploy(&namespace)?;
    let containers = steady::containers(&namespace)?;
    let load = steady::Load::start(&cluster, &namespace)?;
    let run = Run { start: Instant::now(), ..*run };
    let stop = AtomicBool::new(false);
    let (kills, written) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| Writer::write(&namespace, run.seed, &stop));
        let kills = kill(&run, &cluster, &steady::by_name(&namespace));
        stop.store(true, Ordering::Relaxed);
        (kills, writer.join().expect("the writer answers errors"))
    });
    // Whatever came of it: what follows needs a whole cluster.
    cluster.up()?;
    let (kills, written, requests) = (kills?, written?, load.stop()?);
    let acknowledged = written.verify(&namespace).context("after the last kill")?;
    ensure!(
        steady::containers(&namespace)? == containers,
        "pods of the Service that nobody touches were replaced or restarted"
    );
    let unlucky = requests.by_name.failures.len();
    if let Some(failure) = requests.by_name.failures.iter().find(|failure| !kills.excuse(failure)) {
        let windows = &kills.without_dns;
        bail!(
            "by name, while the DNS of {} was alive, dead it was in {windows:?}: {failure}",
            steady::BY_NAME
        );
    }
    for (kind, number) in &kills.by_kind {
        report.add(format!("crashes: SIGKILLs of {kind}"), f64::from(*number), "", "");
    }
    report.add(
        "crashes: requests to the unchanged Service",
        requests.answered as f64,
        "",
        "by address none failed",
    );
    let note = format!("all while the DNS of {} was dead", steady::BY_NAME);
    report.add("crashes: requests by name that failed", unlucky as f64, "", note);
    report.add("crashes: acknowledged writes, none lost", acknowledged as f64, "", "");
    report.add(
        "crashes: slowest return",
        kills.slowest_return.as_secs_f64(),
        "s",
        "`xtask up` until all nodes are Ready",
    );
    let note = "from `xtask up` until a request by name is answered";
    report.add("crashes: slowest return of DNS", kills.slowest_dns.as_secs_f64(), "s", note);
    namespace.delete_and_wait(keelson_tests::PATIENCE)?;
    memory::compare("crashes", &memory_before, &memory::idle()?, report)
}

fn kill(run: &Run, cluster: &Cluster, target: &str) -> Result<Kills> {
    let mut victims = vec![("the control plane", "keelson".to_string())];
    for node in cluster.nodes() {
        victims.extend([("a node daemon", format!("{node}-node")), ("a DNS process", format!("{node}-dns"))]);
    }
    let mut rng = StdRng::seed_from_u64(run.seed);
    let mut kills = Kills::default();
    while !run.is_over() {
        // Sometimes two at once.
        let number = if rng.random_bool(0.25) { 2 } else { 1 };
        let chosen: Vec<_> = victims.choose_multiple(&mut rng, number).cloned().collect();
        let names = chosen.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ");
        let since = now_s();
        for (kind, name) in &chosen {
            cluster.kill(name)?;
            *kills.by_kind.entry(kind).or_default() += 1;
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(0..DEAD_MS_MAX)));
        let start = Instant::now();
        cluster.up().with_context(|| format!("after {names} was killed"))?;
        kills.slowest_return = kills.slowest_return.max(start.elapsed());
        run.says(format!("killed {names}; all Ready after {:.2} s", start.elapsed().as_secs_f64()));
        if chosen.iter().any(|(_, name)| *name == format!("{}-dns", steady::BY_NAME)) {
            eventually(DNS_BACK_MAX, "the new DNS process answers", || {
                from_node(cluster, steady::BY_NAME, target, 1)?.all_answered(1)
            })?;
            kills.slowest_dns = kills.slowest_dns.max(start.elapsed());
            kills.without_dns.push((since, now_s() + DNS_AFTER_S));
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(PAUSE_MS)));
    }
    Ok(kills)
}

impl Kills {
    /// Whether the asker's DNS was dead when a request failed: failures begin with their moment, `at SECONDS: `.
    fn excuse(&self, failure: &str) -> bool {
        let moment = failure.strip_prefix("at ").and_then(|rest| rest.split(':').next()?.parse::<f64>().ok());
        moment.is_some_and(|s| self.without_dns.iter().any(|(from, until)| (*from..*until).contains(&s)))
    }
}

/// Seconds since 1970, on the clock that keelson-load states.
fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_of_the_time_without_dns_are_excused() {
        let kills = Kills { without_dns: vec![(100.0, 103.5)], ..Kills::default() };
        assert!(kills.excuse("at 101.250: resolving web: no answer"));
        assert!(!kills.excuse("at 99.000: resolving web: no answer"));
        assert!(!kills.excuse("resolving web: no answer"));
    }
}

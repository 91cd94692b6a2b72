//! From times to what is printed: medians, tails, and how far two equal things differ.

use std::fmt;

use serde::Serialize;

use crate::{
    Result,
    series::{Series, Worker},
    wire::Path,
};

/// Rounds of which one tail is taken; a run has a few such parts, and they show how far a tail moves by itself.
const PART: usize = 2_000;

#[derive(Serialize)]
pub(crate) struct Report {
    path: String,
    cpus: usize,
    /// The first three numbers of /proc/loadavg.
    load_before: String,
    load_after: String,
    pub(crate) subjects: Vec<Subject>,
}

/// One number of Services.
#[derive(Serialize)]
pub(crate) struct Subject {
    services: usize,
    ways: Vec<Way>,
    spread: Spread,
    metrics: Option<Metrics>,
    against: Option<Metrics>,
}

/// One process over another: what the metrics cost is `keelson` over `unmeasured`; and `keelson` over `against`. Two processes differ by themselves: see the
/// range of several runs.
#[derive(Serialize)]
struct Metrics {
    service_p50_ratio: f64,
    direct_p50_ratio: f64,
    service_p50_added_ns: i64,
    direct_p50_added_ns: i64,
    /// Time of all rounds, with closing: the inverse of throughput.
    time_ratio: f64,
}

#[derive(Serialize)]
struct Way {
    process: String,
    way: String,
    connections: usize,
    p50_ns: u32,
    p99_ns: u32,
    /// Over `direct` of the same process.
    p50_ratio: f64,
    p99_ratio: f64,
}

/// In the process `keelson`: the Service against the pod's address, beside the pod's address against itself.
#[derive(Serialize)]
struct Spread {
    service_p50_ratio: f64,
    direct_p50_ratio: f64,
    /// Median over the run's parts.
    service_p99_ratio: f64,
    /// Least and greatest over the run's parts, either stream over the other.
    direct_p99_ratio: [f64; 2],
    service_p99_inside: bool,
}

impl Report {
    pub(crate) fn start(path: Path) -> Result<Self> {
        let cpus = std::thread::available_parallelism()?.get();
        let (load_before, load_after) = (load()?, String::new());
        Ok(Self { path: path.to_string(), cpus, load_before, load_after, subjects: Vec::new() })
    }

    pub(crate) fn end(&mut self) -> Result<()> {
        self.load_after = load()?;
        Ok(())
    }
}

fn load() -> Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

impl Subject {
    pub(crate) fn new(services: usize, workers: &[Worker]) -> Self {
        let ways = workers.iter().flat_map(ways).collect();
        let keelson = workers.iter().find(|worker| worker.way == "keelson");
        let without = workers.iter().find(|worker| worker.way == "unmeasured");
        let metrics = keelson.zip(without).map(|(with, without)| Metrics::new(with, without));
        let others = workers.iter().find(|worker| worker.way == "against");
        let against = keelson.zip(others).map(|(ours, others)| Metrics::new(ours, others));
        let spread = Spread::new(keelson.map_or(&[], |worker| &worker.series));
        Self { services, ways, spread, metrics, against }
    }
}

fn ways(worker: &Worker) -> impl Iterator<Item = Way> {
    let direct = &worker.series[0].nanoseconds;
    worker.series.iter().map(|Series { name, nanoseconds }| Way {
        process: worker.way.into(),
        way: name.clone(),
        connections: nanoseconds.len(),
        p50_ns: percentile(nanoseconds, 50),
        p99_ns: percentile(nanoseconds, 99),
        p50_ratio: ratio(nanoseconds, direct, 50),
        p99_ratio: ratio(nanoseconds, direct, 99),
    })
}

fn named<'a>(series: &'a [Series], name: &str) -> &'a [u32] {
    series.iter().find(|s| s.name == name).map_or(&[][..], |s| &s.nanoseconds[..])
}

impl Metrics {
    fn new(with: &Worker, without: &Worker) -> Self {
        let both = |name| (named(&with.series, name), named(&without.series, name));
        let p50 = |name| ratio(both(name).0, both(name).1, 50);
        let added = |name| i64::from(percentile(both(name).0, 50)) - i64::from(percentile(both(name).1, 50));
        let time_ratio = with.taken.as_secs_f64() / without.taken.as_secs_f64();
        Self {
            service_p50_ratio: p50("service"),
            direct_p50_ratio: p50("direct"),
            service_p50_added_ns: added("service"),
            direct_p50_added_ns: added("direct"),
            time_ratio: (time_ratio * 1000.0).round() / 1000.0,
        }
    }
}

impl Spread {
    fn new(series: &[Series]) -> Self {
        let named = |name| named(series, name);
        let (direct, service, again) = (named("direct"), named("service"), named("direct-again"));
        let tails = |one: &[u32], other: &[u32]| -> Vec<f64> {
            one.chunks(PART).zip(other.chunks(PART)).map(|(a, b)| ratio(a, b, 99)).collect()
        };
        let mut service_tails = tails(service, direct);
        service_tails.sort_unstable_by(f64::total_cmp);
        let service_p99_ratio = service_tails.get(service_tails.len() / 2).copied().unwrap_or(1.0);
        let equal = [tails(again, direct), tails(direct, again)].concat();
        let least = equal.iter().copied().fold(1.0, f64::min);
        let greatest = equal.iter().copied().fold(1.0, f64::max);
        Self {
            service_p50_ratio: ratio(service, direct, 50),
            direct_p50_ratio: ratio(again, direct, 50),
            service_p99_ratio,
            direct_p99_ratio: [least, greatest],
            service_p99_inside: service_p99_ratio <= greatest,
        }
    }
}

fn percentile(nanoseconds: &[u32], percent: usize) -> u32 {
    let mut sorted = nanoseconds.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or(1)
}

/// Rounded to a thousandth: more would be noise.
fn ratio(one: &[u32], other: &[u32], percent: usize) -> f64 {
    let ratio = f64::from(percentile(one, percent)) / f64::from(percentile(other, percent));
    (ratio * 1000.0).round() / 1000.0
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "path: {}; {} CPUs; load average {} before, {} after; times in nanoseconds\n",
            self.path, self.cpus, self.load_before, self.load_after
        )?;
        self.subjects.iter().try_for_each(|subject| writeln!(f, "{subject}"))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = format!("{} Services", self.services);
        writeln!(f, "| {title:<21} | number |     p50 |     p99 | p50/direct | p99/direct |")?;
        writeln!(f, "|{:-<23}|-------:|--------:|--------:|-----------:|-----------:|", "")?;
        for way in &self.ways {
            let name = format!("{} {}", way.process, way.way);
            writeln!(
                f,
                "| {name:<21} | {:>6} | {:>7} | {:>7} | {:>10.3} | {:>10.3} |",
                way.connections, way.p50_ns, way.p99_ns, way.p50_ratio, way.p99_ratio
            )?;
        }
        let Spread { direct_p99_ratio: [least, greatest], .. } = self.spread;
        writeln!(
            f,
            "\np50: Service {:.3} of direct; direct {:.3} of itself\n\
             p99: Service {:.3} of direct; direct {least:.3} to {greatest:.3} of itself: {}",
            self.spread.service_p50_ratio,
            self.spread.direct_p50_ratio,
            self.spread.service_p99_ratio,
            if self.spread.service_p99_inside { "inside" } else { "above" }
        )?;
        for (what, metrics) in [("metrics", &self.metrics), ("against", &self.against)] {
            let Some(metrics) = metrics else { continue };
            writeln!(
                f,
                "{what}: Service p50 {:.4} of that without ({} ns), direct p50 {:.4} ({} ns), time of all rounds {:.3}",
                metrics.service_p50_ratio,
                metrics.service_p50_added_ns,
                metrics.direct_p50_ratio,
                metrics.direct_p50_added_ns,
                metrics.time_ratio
            )?;
        }
        Ok(())
    }
}

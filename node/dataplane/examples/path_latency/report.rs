//! From times to what is printed.

use std::fmt;

use serde_json::{Value, json};

use crate::{Result, WAYS};

/// Exchanges of which one ratio is taken, to show how far it moves within the run.
const PART: usize = 5_000;

/// A way beside the bare link.
struct Way {
    name: &'static str,
    p50_ns: u32,
    p99_ns: u32,
    /// Exchanges a second: one over the mean without the slowest hundredth, which other processes made slow.
    per_second: f64,
    p50_ratio: f64,
    /// Over the parts of the run.
    least: f64,
    greatest: f64,
}

pub(crate) struct Report {
    ways: Vec<Way>,
    loads: [String; 2],
}

/// The first three numbers of /proc/loadavg.
pub(crate) fn load() -> Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

impl Report {
    pub(crate) fn new(times: &[Vec<u32>], loads: [String; 2]) -> Self {
        let bare = &times[0];
        let ways = WAYS.iter().zip(times).map(|((name, _), times)| {
            let parts = times.chunks(PART).zip(bare.chunks(PART)).map(|(a, b)| ratio(a, b));
            let parts: Vec<f64> = parts.collect();
            let sorted = sorted(times);
            let fast = &sorted[..sorted.len() * 99 / 100];
            Way {
                name,
                p50_ns: sorted[sorted.len() / 2],
                p99_ns: sorted[sorted.len() * 99 / 100],
                per_second: fast.len() as f64 * 1e9 / fast.iter().map(|&ns| f64::from(ns)).sum::<f64>(),
                p50_ratio: ratio(times, bare),
                least: parts.iter().copied().fold(f64::INFINITY, f64::min),
                greatest: parts.iter().copied().fold(0.0, f64::max),
            }
        });
        Self { ways: ways.collect(), loads }
    }

    /// As `bench --check` reads it.
    pub(crate) fn json(&self) -> Value {
        let figures: Vec<Value> = self.ways[1..]
            .iter()
            .map(|way| {
                let name = format!("{} to another node over bare, request and response, p50", way.name);
                let value = (way.p50_ratio * 1e3).round() / 1e3;
                json!({"name": name, "value": value, "unit": "", "least": way.least, "greatest": way.greatest})
            })
            .collect();
        json!({"figures": figures, "load": self.loads})
    }
}

fn sorted(times: &[u32]) -> Vec<u32> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted
}

/// Of medians.
fn ratio(one: &[u32], other: &[u32]) -> f64 {
    let median = |times: &[u32]| f64::from(sorted(times)[times.len() / 2]);
    median(one) / median(other)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, after] = &self.loads;
        writeln!(f, "load average {before} before, {after} after; times in microseconds\n")?;
        writeln!(f, "| to another node |   p50 |   p99 |    /s | p50/bare | over parts     | rate/bare |")?;
        writeln!(f, "|-----------------|------:|------:|------:|---------:|----------------|----------:|")?;
        for way in &self.ways {
            let (p50, p99) = (f64::from(way.p50_ns) / 1e3, f64::from(way.p99_ns) / 1e3);
            let rate = way.per_second / self.ways[0].per_second;
            writeln!(
                f,
                "| {:<15} | {p50:>5.2} | {p99:>5.2} | {:>5.0} | {:>8.3} | {:.3} to {:.3} | {rate:>9.3} |",
                way.name, way.per_second, way.p50_ratio, way.least, way.greatest
            )?;
        }
        Ok(())
    }
}

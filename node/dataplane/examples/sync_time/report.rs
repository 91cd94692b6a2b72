//! From times to what is printed.

use std::time::Instant;

use serde::Serialize;

use crate::Result;

#[derive(Serialize)]
pub(crate) struct Report {
    cpus: usize,
    /// The first three numbers of /proc/loadavg.
    load_before: String,
    load_after: String,
    /// Under this name, by which readers of several reports tell it from others.
    #[serde(rename = "sync")]
    pub(crate) subjects: Vec<Subject>,
}

/// One number of Services.
#[derive(Serialize)]
pub(crate) struct Subject {
    pub(crate) services: usize,
    pub(crate) maps: Maps,
    pub(crate) daemon: Daemon,
    pub(crate) peers: Vec<Peer>,
}

/// From frontends to maps.
#[derive(Serialize)]
pub(crate) struct Maps {
    /// Programs loaded, the smallest tables made.
    pub(crate) open_ms: Figures,
    /// All Services into empty tables, with their growth.
    pub(crate) written_ms: Figures,
    /// By the median of the line before.
    pub(crate) services_per_second: f64,
    /// Programs loaded, all tables read by another data plane and compared with what is wanted.
    pub(crate) read_back_ms: Figures,
    /// One Service changed.
    pub(crate) change_ms: Figures,
}

/// From an API server's lists to attached programs.
#[derive(Serialize)]
pub(crate) struct Daemon {
    /// Where nothing was pinned.
    pub(crate) first_ms: Figures,
    /// Where another daemon has left everything.
    pub(crate) again_ms: Figures,
}

#[derive(Serialize)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) written_ms: f64,
    pub(crate) change_ms: Figures,
}

/// Milliseconds of the same thing.
#[derive(Default)]
pub(crate) struct Times(Vec<f64>);

/// What they come to.
#[derive(Serialize)]
pub(crate) struct Figures {
    number: usize,
    least: f64,
    pub(crate) median: f64,
    p99: f64,
    greatest: f64,
}

pub(crate) fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

impl Times {
    pub(crate) fn add(&mut self, milliseconds: f64) {
        self.0.push(milliseconds);
    }

    pub(crate) fn median(&self) -> f64 {
        self.figures().median
    }

    pub(crate) fn figures(&self) -> Figures {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |fraction: f64| {
            let last = sorted.len().saturating_sub(1);
            let rounded =
                sorted.get((last as f64 * fraction).round() as usize).map(|ms| (ms * 1e4).round() / 1e4);
            rounded.unwrap_or(f64::NAN)
        };
        Figures { number: sorted.len(), least: at(0.0), median: at(0.5), p99: at(0.99), greatest: at(1.0) }
    }
}

impl Report {
    pub(crate) fn start() -> Result<Self> {
        let cpus = std::thread::available_parallelism()?.get();
        Ok(Self { cpus, load_before: load()?, load_after: String::new(), subjects: Vec::new() })
    }

    pub(crate) fn end(&mut self) -> Result<()> {
        self.load_after = load()?;
        Ok(())
    }

    pub(crate) fn print(&self, json: bool) -> Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        let (cpus, before, after) = (self.cpus, &self.load_before, &self.load_after);
        println!("{cpus} CPUs; load average {before} before, {after} after; times in milliseconds\n");
        self.subjects.iter().for_each(Subject::print);
        Ok(())
    }
}

impl Subject {
    fn print(&self) {
        println!("| {:<36} |  least | median |    p99 | greatest |", format!("{} Services", self.services));
        println!("|{:-<38}|-------:|-------:|-------:|---------:|", "");
        let Maps { open_ms, written_ms, services_per_second, read_back_ms, change_ms } = &self.maps;
        row("programs loaded, empty tables", open_ms);
        row("written from nothing", written_ms);
        row("read back and compared", read_back_ms);
        row("one changed", change_ms);
        row("daemon ready, first start", &self.daemon.first_ms);
        row("daemon ready, next start", &self.daemon.again_ms);
        for Peer { name, change_ms, .. } in &self.peers {
            row(&format!("{name}: one changed"), change_ms);
        }
        println!();
        for Peer { name, written_ms, .. } in &self.peers {
            println!("{name}: all written in {written_ms:.0} ms");
        }
        println!("{services_per_second:.0} Services/s written from nothing\n");
    }
}

fn row(what: &str, figures: &Figures) {
    let Figures { number, least, median, p99, greatest } = figures;
    println!(
        "| {:<36} | {least:>6.2} | {median:>6.2} | {p99:>6.2} | {greatest:>8.2} |",
        format!("{what} ({number})")
    );
}

fn load() -> Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

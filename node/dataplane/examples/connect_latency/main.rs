//! What a Service costs: connect, one byte, its answer, close; through the socket programs, through iptables as
//! kube-proxy writes it, and straight to the backend.
//!
//! Each way is a process with a network namespace of its own, where servers and Services live on loopback; only the one
//! called `keelson` is in the cgroup with the programs. They take turns in short batches, and within a process the
//! ways alternate from one connection to the next, so that the machine's moods hit all alike. A ratio is of medians
//! (p99: of 99th percentiles) within one process. Needs root; run it in release:
//! `cargo run --release -p keelson-dataplane --example connect_latency [SERVICES...]`
#![forbid(unsafe_code)]

mod iptables;
mod worker;

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// Batches of each process, and connections of each way in a batch.
const BATCHES: usize = 60;
const BATCH: usize = 250;
const SERVICES: [usize; 2] = [1, 10_000];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [worker, way, services] = &arguments[..]
        && worker == "worker"
    {
        return worker::run(way, services.parse()?);
    }
    let chosen: Vec<usize> = arguments.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    let chosen = if chosen.is_empty() { SERVICES.to_vec() } else { chosen };
    println!("{} connections a way, alternating; nanoseconds\n", BATCHES * BATCH);
    for services in chosen {
        measure(services)?;
    }
    Ok(())
}

/// A way that a process can connect, and how long each connection took.
struct Series {
    name: String,
    nanoseconds: Vec<u32>,
}

struct Worker {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    way: &'static str,
    series: Vec<Series>,
}

fn measure(services: usize) -> Result<(), Box<dyn std::error::Error>> {
    let mut workers = Vec::new();
    for way in ["bare", "keelson", "iptables"] {
        match Worker::start(way, services) {
            Ok(worker) => workers.push(worker),
            Err(reason) => println!("{way} is left out: {reason}"),
        }
    }
    // The first batch warms caches and is not counted.
    for batch in 0..=BATCHES {
        for worker in &mut workers {
            worker.batch(batch > 0)?;
        }
    }
    println!("| {services} Services | p50 | p99 | p50 / direct | p99 / direct |\n|---|---|---|---|---|");
    for worker in &mut workers {
        worker.report();
    }
    println!();
    Ok(())
}

impl Worker {
    fn start(way: &'static str, services: usize) -> Result<Self, Box<dyn std::error::Error>> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["worker", way, &services.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let commands = child.stdin.take().ok_or("no stdin")?;
        let mut answers = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut ready = String::new();
        answers.read_line(&mut ready)?;
        let Some(names) = ready.trim().strip_prefix("ready ") else {
            child.wait()?;
            return Err(format!("not ready: {ready}").into());
        };
        let series =
            names.split(' ').map(|name| Series { name: name.into(), nanoseconds: Vec::new() }).collect();
        Ok(Self { child, commands, answers, way, series })
    }

    fn batch(&mut self, count: bool) -> Result<(), Box<dyn std::error::Error>> {
        writeln!(self.commands, "{BATCH}")?;
        for _ in 0..BATCH {
            let mut line = String::new();
            self.answers.read_line(&mut line)?;
            let times = line.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>()?;
            if times.len() != self.series.len() {
                return Err(format!("{} ended: {line:?}", self.way).into());
            }
            if count {
                self.series.iter_mut().zip(times).for_each(|(series, time)| series.nanoseconds.push(time));
            }
        }
        Ok(())
    }

    fn report(&mut self) {
        for series in &mut self.series {
            series.nanoseconds.sort_unstable();
        }
        let direct = &self.series[0];
        let (p50, p99) = (direct.at(50), direct.at(99));
        for series in &self.series {
            println!(
                "| {} {} | {} | {} | {:.3} | {:.3} |",
                self.way,
                series.name,
                series.at(50),
                series.at(99),
                f64::from(series.at(50)) / f64::from(p50),
                f64::from(series.at(99)) / f64::from(p99),
            );
        }
    }
}

impl Series {
    fn at(&self, percent: usize) -> u32 {
        self.nanoseconds.get(self.nanoseconds.len() * percent / 100).copied().unwrap_or(1)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // An empty line tells it to clean up and end.
        let _ = writeln!(self.commands);
        let _ = self.child.wait();
    }
}

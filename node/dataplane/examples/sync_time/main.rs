//! How long Services take to be in the kernel: from nothing, one of them changed, after a daemon's start; beside kube-proxy's
//! rules in iptables and nftables, written with their own tools.
//!
//! Every measurement is of real maps and programs, in a cgroup of its own; what was written is read back from the kernel by
//! a second data plane and compared. No connection is made here: that what is programmed is what connections get
//! is what the crate's tests and `bench`'s cluster show. Needs root; run it in release: `cargo xtask bench sync`, or
//! `cargo run --release -p keelson-dataplane --example sync_time -- --help`
#![forbid(unsafe_code)]

mod api;
mod arguments;
mod daemon;
#[path = "../shared/iptables.rs"]
mod iptables;
mod maps;
#[path = "../shared/nftables.rs"]
mod nftables;
mod peers;
#[path = "../shared/place.rs"]
mod place;
mod report;
mod services;

use arguments::Arguments;
use report::{Report, Subject};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(arguments) = Arguments::parse(&words)? else { return Ok(()) };
    let mut report = Report::start()?;
    for &services in &arguments.services {
        eprintln!("{services} Services");
        report.subjects.push(Subject {
            services,
            maps: maps::measure(services)?,
            daemon: daemon::measure(services)?,
            peers: if services > arguments.peers_max { Vec::new() } else { peers::measure(services) },
        });
    }
    report.end()?;
    report.print(arguments.json)
}

//! What a Service costs: connect, one byte, its answer, close; through the socket programs, through iptables and nftables as
//! kube-proxy writes them, and straight to the backend.
//!
//! Each way is a process with network namespaces of its own (see `wire`): by default a client pod, a node and two server
//! pods, wired as the CNI plugin does it. Only those called `keelson` and, without metrics,
//! `unmeasured` are in a cgroup with the programs. They take turns
//! in short batches, and within a process the ways alternate from one connection to the next, so that the machine's moods
//! hit all alike. A ratio is of medians (p99: of 99th percentiles) within one process; two streams straight to the
//! backend, alternating like all others, say how far two equal things differ. Needs root; run it in release:
//! `cargo xtask bench service`, or
//! `cargo run --release -p keelson-dataplane --example connect_latency -- [--path pod|loopback] [--output text|json] [--against OBJECT] [SERVICES...]`
#![forbid(unsafe_code)]

mod arguments;
#[path = "../shared/iptables.rs"]
mod iptables;
mod lab;
#[path = "../shared/nftables.rs"]
mod nftables;
#[path = "../shared/place.rs"]
mod place;
mod report;
mod series;
#[path = "../shared/space.rs"]
mod space;
mod wire;
mod worker;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use nix::sys::signal::{SigSet, Signal};

use arguments::{Arguments, Output};
use report::{Report, Subject};
use series::Worker;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Batches of each process, and connections of each way in a batch.
const BATCHES: usize = 80;
const BATCH: usize = 250;
/// What a process may take for all its batches: iptables with 10,000 Services ends here, with fewer connections.
const PROCESS_MAX: Duration = Duration::from_secs(9);
/// kube-proxy's ways, and how many Services they are asked to carry here: to write more takes minutes.
const PEERS: [&str; 2] = ["iptables", "nftables"];
const PEER_SERVICES_MAX: usize = 10_000;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [worker, path, way, services, cgroup] = &words[..]
        && worker == "worker"
    {
        return worker::run(path.parse()?, way, services.parse()?, cgroup);
    }
    let arguments = Arguments::parse(&words)?;
    let interrupted = watch_signals()?;
    let mut report = Report::start(arguments.path)?;
    for &services in &arguments.services {
        report.subjects.push(measure(&arguments, services, &interrupted)?);
    }
    report.end()?;
    match arguments.output {
        Output::Text => print!("{report}"),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(())
}

/// Interrupts are looked at between batches, so that pins and cgroup are removed first. The processes inherit the mask and
/// end with their input.
fn watch_signals() -> Result<Arc<AtomicBool>> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block()?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    std::thread::spawn(move || {
        if signals.wait().is_ok() {
            flag.store(true, Relaxed);
        }
    });
    Ok(interrupted)
}

fn measure(arguments: &Arguments, services: usize, interrupted: &AtomicBool) -> Result<Subject> {
    let mut workers = Vec::new();
    let against = arguments.against.as_deref();
    for way in ["bare", "keelson", "unmeasured", "against", "iptables", "nftables"] {
        // Other programs are compared with ours alone.
        let peers = services <= PEER_SERVICES_MAX && against.is_none();
        if PEERS.contains(&way) && !peers || way == "against" && against.is_none() {
            continue;
        }
        match Worker::start(arguments.path, way, services, against) {
            Ok(worker) => workers.push(worker),
            Err(reason) if PEERS.contains(&way) => eprintln!("{way} is left out: {reason}"),
            Err(reason) => return Err(format!("{way}: {reason}").into()),
        }
    }
    // The first batch warms caches and is not counted.
    for batch in 0..=BATCHES {
        for worker in workers.iter_mut().filter(|worker| worker.taken < PROCESS_MAX) {
            worker.batch(BATCH, batch > 0)?;
            if interrupted.load(Relaxed) {
                return Err("interrupted".into());
            }
        }
    }
    Ok(Subject::new(services, &workers))
}

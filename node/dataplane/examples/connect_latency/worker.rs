//! One process: a wire, two servers, Services in front of them, and connections on demand.

use std::{
    fs,
    io::{BufRead, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    time::Instant,
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::socket::{setsockopt, sockopt},
    unistd::{Pid, alarm},
};

use crate::{
    Result,
    iptables::{self, Rules},
    nftables,
    space::Space,
    wire::{self, Path, SERVICE_PORT, service},
};

/// After this a process that hangs is ended by the kernel, in seconds. Processes that take turns live longer than
/// their own batches.
const LIFE_MAX: u32 = 100;

/// `cgroup` is the folder to join, empty for none: clients and servers alike, as all pods of a node are under its programs.
pub(crate) fn run(path: Path, way: &str, services: usize, cgroup: &str) -> Result<()> {
    alarm::set(LIFE_MAX);
    pin()?;
    if !cgroup.is_empty() {
        let file = std::path::Path::new(cgroup).join("cgroup.procs");
        fs::write(file, std::process::id().to_string())?;
    }
    let wire = wire::lay(path)?;
    let backends = path.backends();
    let rules = Rules { services, address: service, port: SERVICE_PORT, backends: &backends };
    match way {
        "iptables" => iptables::program(&rules)?,
        "nftables" => nftables::program(&rules)?,
        _ => {}
    }
    let [one, two] = wire.servers;
    serve(one, backends[0])?;
    serve(two, backends[1])?;
    wire.client.enter()?;
    let names: &[_] = match way {
        "bare" => &["direct"],
        _ => &["direct", "service", "direct-again"],
    };
    answer(names, services, &backends)
}

/// Client and servers share one CPU. On several, the time that a CPU needs to wake from idle is added or not by a hair's
/// breadth: a client that spins for 0.4 us before it connects was seen to take 3 to 6 us longer.
fn pin() -> Result<()> {
    let mut last = CpuSet::new();
    last.set(std::thread::available_parallelism()?.get() - 1)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &last)?)
}

/// Rounds at the start of each batch that are not told: what other processes left in the caches is gone after them.
const UNTOLD: usize = 5;

/// For each number on stdin so many rounds of all ways, a line of times each. An empty line ends it.
fn answer(names: &[&str], services: usize, backends: &[SocketAddr]) -> Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    writeln!(out, "ready {}", names.join(" "))?;
    out.flush()?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut order: Vec<usize> = (0..names.len()).collect();
    for line in std::io::stdin().lock().lines() {
        let Ok(rounds) = line?.trim().parse::<usize>() else { break };
        let mut times = Vec::with_capacity(rounds);
        for _ in 0..UNTOLD + rounds {
            // By chance, so that no way always follows the same other: each pays for closing the one before.
            random.shuffle(&mut order);
            let mut row = vec![0; names.len()];
            for &way in &order {
                // Each chooses anew among Services or backends.
                let to = match names[way] {
                    "service" => SocketAddr::new(service(random.below(services)).into(), SERVICE_PORT),
                    _ => backends[random.below(backends.len())],
                };
                row[way] = connect(to)?;
            }
            times.push(row);
        }
        for row in &times[UNTOLD..] {
            let words: Vec<_> = row.iter().map(ToString::to_string).collect();
            writeln!(out, "{}", words.join(" "))?;
        }
        out.flush()?;
    }
    Ok(())
}

/// Marsaglia's xorshift64: good enough to choose by, and the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as usize % limit
    }

    /// Fisher and Yates.
    fn shuffle(&mut self, order: &mut [usize]) {
        for last in (1..order.len()).rev() {
            order.swap(last, self.below(last + 1));
        }
    }
}

/// Connects, sends a byte, waits for the answer; nanoseconds. Closes with a reset, so that no port waits.
fn connect(to: SocketAddr) -> Result<u32> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(to).map_err(|e| format!("{to}: {e}"))?;
    stream.write_all(b"?")?;
    stream.read_exact(&mut [0])?;
    let elapsed = start.elapsed();
    setsockopt(&stream.as_fd(), sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    Ok(elapsed.as_nanos() as u32)
}

/// Serves in a namespace for as long as the process lives; listens when it returns.
fn serve(space: Space, address: SocketAddr) -> Result<()> {
    let listen = move || {
        let entered = space.enter().map_err(|e| e.to_string());
        entered.and_then(|()| TcpListener::bind(address).map_err(|e| format!("listening on {address}: {e}")))
    };
    let listener = std::thread::spawn(listen).join().map_err(|_| "a server's thread panicked")??;
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut byte = [0];
            let _ = stream.read_exact(&mut byte).and_then(|()| stream.write_all(&byte));
            // Waits for the client to close first.
            let _ = stream.read(&mut byte);
        }
    });
    Ok(())
}

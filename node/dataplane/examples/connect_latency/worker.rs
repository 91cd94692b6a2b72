//! One process: a namespace, two servers, Services in front of them, and connections on demand.

use std::{
    fs,
    io::{BufRead, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use keelson_dataplane::{
    Dataplane, Object, Options,
    plan::{Frontend, FrontendKey, Protocol},
    remove_all,
};
use nix::{
    sched::{CloneFlags, CpuSet, sched_setaffinity, unshare},
    sys::socket::{setsockopt, sockopt},
    unistd::Pid,
};

use crate::iptables;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const BPFFS: &str = "/sys/fs/bpf";
const PORT: u16 = 80;

/// Address of a Service by its number; from 10.96.1.0 on.
pub(crate) fn service(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 1, 0)) + number as u32)
}

pub(crate) fn run(way: &str, services: usize) -> Result<()> {
    pin()?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    command("ip", &["link", "set", "lo", "up"])?;
    command("ip", &["address", "add", "10.244.0.1/32", "dev", "lo"])?;
    command("ip", &["route", "add", "10.96.0.0/16", "dev", "lo", "src", "10.244.0.1"])?;
    let backends = [serve()?, serve()?];
    match way {
        "bare" => answer(&["direct"], services, &backends),
        "iptables" => {
            iptables::program(services, &backends)?;
            answer(&["direct", "service"], services, &backends)
        }
        _ => {
            let lab = Lab::new(services, &backends)?;
            let done = answer(&["direct", "service", "direct-again"], services, &backends);
            drop(lab);
            done
        }
    }
}

/// Client and servers share one CPU. On several, the time that a CPU needs to wake from idle is added or not by a hair's
/// breadth: a client that spins for 0.4 us before it connects was seen to take 3 to 6 us longer.
fn pin() -> Result<()> {
    let mut last = CpuSet::new();
    last.set(std::thread::available_parallelism()?.get() - 1)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &last)?)
}

/// For each number on stdin so many rounds of all ways, a line of times each. An empty line ends it.
fn answer(names: &[&str], services: usize, backends: &[SocketAddr]) -> Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    writeln!(out, "ready {}", names.join(" "))?;
    out.flush()?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for line in std::io::stdin().lock().lines() {
        let Ok(rounds) = line?.trim().parse::<usize>() else { break };
        let mut times = Vec::with_capacity(rounds * names.len());
        for round in 0..rounds {
            // Each way is first as often as any other, and each chooses anew among Services or backends.
            let mut row = vec![0; names.len()];
            for turn in 0..names.len() {
                let way = (round + turn) % names.len();
                let to = match names[way] {
                    "service" => SocketAddr::new(service(random.below(services)).into(), PORT),
                    _ => backends[random.below(backends.len())],
                };
                row[way] = connect(to)?;
            }
            times.extend(row);
        }
        for round in times.chunks(names.len()) {
            let words: Vec<_> = round.iter().map(ToString::to_string).collect();
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
}

/// Connects, sends a byte, waits for the answer; nanoseconds. Closes with a reset, so that no port waits.
fn connect(to: SocketAddr) -> Result<u32> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(to)?;
    stream.write_all(b"?")?;
    stream.read_exact(&mut [0])?;
    let elapsed = start.elapsed();
    setsockopt(&stream.as_fd(), sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    Ok(elapsed.as_nanos() as u32)
}

fn serve() -> Result<SocketAddr> {
    let listener = TcpListener::bind("10.244.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut byte = [0];
            let _ = stream.read_exact(&mut byte).and_then(|()| stream.write_all(&byte));
            // Waits for the client to close first.
            let _ = stream.read(&mut byte);
        }
    });
    Ok(address)
}

pub(crate) fn command(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program).args(arguments).status().map_err(|e| format!("{program}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{program} {arguments:?}: {status}").into()) }
}

/// The cgroup with the programs, and what is to be removed at the end.
struct Lab {
    options: Options,
    home: PathBuf,
    _dataplane: Dataplane,
}

impl Lab {
    fn new(services: usize, backends: &[SocketAddr]) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).ok_or("no cgroup2 mount")?;
        let mount = Path::new(mount.split(' ').nth(4).ok_or("no mount point")?);
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).ok_or("in no v2 cgroup")?;
        let node = format!("bench-{}", std::process::id());
        let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ebpf/sock.o");
        let options = Options {
            cgroup_root: mount.join(&node),
            node,
            bpffs: BPFFS.into(),
            object: std::env::var_os("KEELSON_EBPF_OBJ")
                .map_or(Object::File(object), |p| Object::File(p.into())),
        };
        fs::create_dir(&options.cgroup_root)?;
        let opened = Self::fill(&options, services, backends);
        let dataplane = opened.inspect_err(|_| clean(&options))?;
        fs::write(options.cgroup_root.join("cgroup.procs"), std::process::id().to_string())?;
        Ok(Self { options, home: mount.join(own), _dataplane: dataplane })
    }

    fn fill(options: &Options, services: usize, backends: &[SocketAddr]) -> Result<Dataplane> {
        let mut dataplane = Dataplane::open(options)?;
        let mut backends = backends.to_vec();
        backends.sort_unstable();
        let frontend = |number| Frontend {
            key: FrontendKey { address: service(number).into(), port: PORT, protocol: Protocol::Tcp },
            backends: backends.clone(),
            affinity_s: 0,
        };
        let start = Instant::now();
        let all: Vec<_> = (0..services).map(frontend).collect();
        dataplane.replace(&all)?;
        let filled = start.elapsed();
        let start = Instant::now();
        dataplane.change(&[], &[Frontend { backends: all[0].backends[..1].to_vec(), ..all[0].clone() }])?;
        dataplane.change(&[], &all[..1])?;
        eprintln!("{services} Services written in {filled:?}; one changed in {:?}", start.elapsed() / 2);
        dataplane.attach()?;
        Ok(dataplane)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::write(self.home.join("cgroup.procs"), std::process::id().to_string());
        clean(&self.options);
    }
}

fn clean(options: &Options) {
    if let Err(e) = remove_all(&options.bpffs, &options.node) {
        eprintln!("pins are left: {e}");
    }
    if let Err(e) = fs::remove_dir(&options.cgroup_root) {
        eprintln!("{} is left: {e}", options.cgroup_root.display());
    }
}

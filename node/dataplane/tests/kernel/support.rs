//! A laboratory: cgroup, namespace and pins of one test, and backends that say who they are.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use keelson_dataplane::{
    Dataplane, Object, Options, Talk,
    plan::{Frontend, FrontendKey, Protocol},
    remove_all,
};
use nix::sched::{CloneFlags, unshare};

pub(crate) const BPFFS: &str = "/sys/fs/bpf";

/// A process is in one cgroup: tests of one process take turns.
static TURN: Mutex<()> = Mutex::new(());

pub(crate) struct Lab {
    pub(crate) options: Options,
    home: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    /// `None`, with the reason on stderr, where the kernel or the rights are missing.
    pub(crate) fn new(name: &str) -> Option<Self> {
        match Self::prepare(name) {
            Ok(lab) => Some(lab),
            Err(reason) => {
                eprintln!("skipped: {reason}");
                None
            }
        }
    }

    fn prepare(name: &str) -> Result<Self, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("not root".into());
        }
        let object = object();
        if !object.exists() {
            return Err(format!("no programs at {}: run `cargo xtask ebpf`", object.display()));
        }
        if !Path::new(BPFFS).exists() || !keelson_sys::bpf::is_bpffs(Path::new(BPFFS)).unwrap_or(false) {
            return Err(format!("no bpffs at {BPFFS}"));
        }
        let mount = cgroup2().ok_or("no cgroup2 mount")?;
        let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let node = format!("test-{name}-{}", std::process::id());
        let home = mount.join(own_cgroup().ok_or("not in a v2 cgroup")?.trim_start_matches('/'));
        let cgroup = mount.join(&node);
        fs::create_dir(&cgroup).map_err(|e| format!("making {}: {e}", cgroup.display()))?;
        let options = Options {
            node,
            bpffs: BPFFS.into(),
            cgroup_root: cgroup,
            object: Object::File(object),
            measure: true,
            talk: Talk::Silent,
            packets: None,
        };
        let lab = Self { options, home, _turn: turn };
        join(&lab.options.cgroup_root);
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| format!("a network namespace: {e}"))?;
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.is_ok_and(|status| status.success()), "ip link set lo up");
        Ok(lab)
    }

    /// Opened, filled and attached.
    pub(crate) fn dataplane(&self, frontends: &[Frontend]) -> Dataplane {
        let mut dataplane = Dataplane::open(&self.options).unwrap_or_else(|e| panic!("{}", explain(&e)));
        assert_eq!(dataplane.replace(frontends).unwrap().full, []);
        dataplane.attach().unwrap_or_else(|e| panic!("{}", explain(&e)));
        dataplane
    }

    pub(crate) fn pins(&self) -> PathBuf {
        Path::new(BPFFS).join("keelson").join(&self.options.node)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        join(&self.home);
        let removed = remove_all(&self.options.bpffs, &self.options.node);
        let cgroup = fs::remove_dir(&self.options.cgroup_root);
        if !thread::panicking() {
            removed.unwrap();
            cgroup.unwrap();
        }
    }
}

pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text += &format!(": {e}");
        cause = e.source();
    }
    text
}

fn object() -> PathBuf {
    std::env::var_os("KEELSON_EBPF_OBJ")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ebpf/sock.o"), PathBuf::from)
}

fn cgroup2() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    line.split(' ').nth(4).map(PathBuf::from)
}

fn own_cgroup() -> Option<String> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

fn join(cgroup: &Path) {
    let _ = fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string());
}

pub(crate) fn frontend(protocol: Protocol, service: &str, backends: &[SocketAddr]) -> Frontend {
    let service: SocketAddr = service.parse().unwrap();
    let mut backends = backends.to_vec();
    backends.sort_unstable();
    Frontend {
        key: FrontendKey { address: service.ip(), port: service.port(), protocol },
        backends,
        affinity_s: 0,
    }
}

/// Servers on ports of their own; each answers with its number.
pub(crate) struct Servers {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) served: Arc<Vec<AtomicUsize>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

const LOOK: Duration = Duration::from_millis(20);

impl Servers {
    /// Takes a connection, sends its number, closes when the client has.
    pub(crate) fn tcp(ip: &str, count: usize) -> Self {
        let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind((ip, 0)).unwrap()).collect();
        let addresses = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        Self::start(addresses, listeners, |number, listener, served, stop| {
            while let Ok((mut stream, _)) = listener.accept() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                served.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(&[number]);
            }
        })
    }

    /// Answers every datagram with its number.
    pub(crate) fn udp(ip: &str, count: usize) -> Self {
        let sockets: Vec<_> = (0..count).map(|_| UdpSocket::bind((ip, 0)).unwrap()).collect();
        let addresses = sockets.iter().map(|s| s.local_addr().unwrap()).collect();
        Self::start(addresses, sockets, |number, socket, served, stop| {
            socket.set_read_timeout(Some(LOOK)).unwrap();
            while !stop.load(Ordering::Relaxed) {
                if let Ok((_, from)) = socket.recv_from(&mut [0; 16]) {
                    served.fetch_add(1, Ordering::Relaxed);
                    let _ = socket.send_to(&[number], from);
                }
            }
        })
    }

    fn start<S: Send + 'static>(
        addresses: Vec<SocketAddr>,
        sockets: Vec<S>,
        serve: fn(u8, S, &AtomicUsize, &AtomicBool),
    ) -> Self {
        let served: Arc<Vec<_>> = Arc::new(sockets.iter().map(|_| AtomicUsize::new(0)).collect());
        let stop = Arc::new(AtomicBool::new(false));
        let run = |(number, socket)| {
            let (served, stop) = (served.clone(), stop.clone());
            thread::spawn(move || serve(number as u8, socket, &served[number], &stop))
        };
        let threads = sockets.into_iter().enumerate().map(run).collect();
        Self { addresses, served, stop, threads }
    }

    pub(crate) fn counts(&self) -> Vec<usize> {
        self.served.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for address in &self.addresses {
            let _ = TcpStream::connect(address);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Connects and reads the number of the server that answered.
pub(crate) fn ask(address: SocketAddr) -> std::io::Result<u8> {
    let mut stream = TcpStream::connect(address)?;
    let mut number = [0];
    stream.read_exact(&mut number)?;
    Ok(number[0])
}

/// The IPv4 address on an AF_INET6 socket.
pub(crate) fn mapped(address: &str) -> SocketAddr {
    let address: SocketAddr = address.parse().unwrap();
    match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

//! Namespaces and wires, servers and clients in them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use keelson_dataplane::{
    Dataplane, Object, Options, PacketOptions, PodEndpoint, WireStatus,
    plan::{ExternalFrontend, Frontend},
};
use nix::sched::{CloneFlags, setns, unshare};

use crate::node::{clean, explain, object, options, or_skipped};
pub(crate) use crate::node::{external, frontend};

pub(crate) const NODE1: &str = "172.31.0.11";
pub(crate) const NODE2: &str = "172.31.0.12";
pub(crate) const OUTSIDE: &str = "192.0.2.7";
pub(crate) const POD1: &str = "10.245.1.2";
pub(crate) const POD2: &str = "10.245.1.3";
pub(crate) const POD3: &str = "10.245.2.2";
/// The same of IPv6, of those that have it.
pub(crate) const NODE1_6: &str = "fd00:31::11";
const NODE2_6: &str = "fd00:31::12";
pub(crate) const OUTSIDE_6: &str = "fd00:92::7";
pub(crate) const POD3_6: &str = "fd00:45:2::2";
const POD4: &str = "10.245.1.4";
const HOST_MAC: [u8; 6] = [0xee, 0x4b, 0x4c, 0, 0, 1];
const PATIENCE: Duration = Duration::from_secs(5);
/// Namespaces of the laboratory.
const SPACES: [&str; 8] = ["fabric", "node1", "node2", "outside", "pod1", "pod2", "pod3", "pod4"];

pub(crate) struct Lab {
    options: Options,
    dataplane: Dataplane,
    /// Of node2, where it has the programs, too.
    second: Option<(Options, Dataplane)>,
    /// Kept for its program.
    polled: Option<aya::Ebpf>,
    spaces: Spaces,
}

/// Each namespace lives as long as a file of it is open, which a thread that was in it has opened.
struct Spaces(BTreeMap<&'static str, Arc<File>>);

impl Spaces {
    fn new() -> Self {
        let open = |name| {
            let thread = thread::spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                File::open("/proc/thread-self/ns/net").unwrap()
            });
            (name, Arc::new(thread.join().unwrap()))
        };
        Self(SPACES.into_iter().map(open).collect())
    }

    fn within<T: Send + 'static>(&self, space: &str, act: impl FnOnce() -> T + Send + 'static) -> T {
        let file = self.0[space].clone();
        let thread = thread::spawn(move || {
            setns(&*file, CloneFlags::CLONE_NEWNET).unwrap();
            act()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn ip(&self, space: &str, words: &str) {
        self.tool(space, &format!("ip {words}"));
    }

    fn tool(&self, space: &str, words: &str) {
        let words = words.to_owned();
        self.within(space, move || {
            let (tool, arguments) = words.split_once(' ').unwrap();
            let done = Command::new(tool).args(arguments.split(' ')).status().unwrap();
            assert!(done.success(), "{words}");
        });
    }

    /// A wire between two namespaces.
    fn wire(&self, (one, name): (&str, &str), (other, peer): (&str, &str)) {
        use std::os::fd::AsRawFd;
        let file = self.0[other].clone();
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        self.ip(one, &format!("link add {name} type veth peer name {peer} netns {path}"));
        self.ip(one, &format!("link set {name} up"));
        self.ip(other, &format!("link set {peer} up"));
    }
}

impl Lab {
    pub(crate) fn new(name: &str) -> Option<Self> {
        Self::with(name, |_| {})
    }

    pub(crate) fn with(name: &str, change: impl FnOnce(&mut PacketOptions)) -> Option<Self> {
        or_skipped(Self::prepare(name, change))
    }

    fn prepare(name: &str, change: impl FnOnce(&mut PacketOptions)) -> Result<Self, String> {
        let object = object()?;
        let spaces = Spaces::new();
        lay(&spaces);
        // Whoever makes the data plane is on node1, as its daemon is.
        setns(&*spaces.0["node1"], CloneFlags::CLONE_NEWNET).map_err(|e| e.to_string())?;
        let mut packets = PacketOptions {
            object: Object::File(object.clone()),
            uplink: Some("eth0".into()),
            node_addresses: vec![NODE1.parse().unwrap()],
            masquerade: true,
            never_masqueraded: ["10.245.0.0/16", "172.31.0.0/24", "fd00:45::/32", "fd00:31::/64"]
                .map(|n| n.parse().unwrap())
                .into(),
            ..PacketOptions::default()
        };
        change(&mut packets);
        let options = options(format!("wire-{name}-{}", std::process::id()), object, packets)?;
        let opened = Dataplane::open(&options).and_then(|mut dataplane| {
            dataplane.attach()?;
            let packets = dataplane.packets().expect("asked for");
            packets.add_endpoint(&pod(POD1, "pod1"))?;
            packets.add_endpoint(&pod(POD2, "pod2"))?;
            Ok(dataplane)
        });
        match opened {
            Ok(dataplane) => Ok(Self { options, dataplane, second: None, polled: None, spaces }),
            Err(error) => {
                clean(&options);
                panic!("{}", explain(&error))
            }
        }
    }

    /// Gives node2 the programs, too, of the families that node1 has, and both nodes wires on which XDP can send.
    pub(crate) fn with_second(mut self) -> Self {
        // XDP cannot see that a checksum is to be made later.
        self.make_checksums("outside");
        self.polled = Some(self.attach_pass("fabric", "node1"));
        self.spaces.ip("outside", &format!("route add 203.0.113.0/24 via {NODE1}"));
        let mut options = self.options.clone();
        options.node += "-second";
        options.cgroup_root = options.cgroup_root.with_file_name(&options.node);
        std::fs::create_dir(&options.cgroup_root).unwrap();
        let packets = options.packets.as_mut().unwrap();
        let six = packets.node_addresses.iter().any(|address| address.is_ipv6()).then_some(NODE2_6);
        packets.node_addresses = [NODE2].into_iter().chain(six).map(|n| n.parse().unwrap()).collect();
        let theirs = options.clone();
        let opened = self.spaces.within("node2", move || {
            let mut dataplane = Dataplane::open(&theirs)?;
            dataplane.attach()?;
            let packets = dataplane.packets().expect("asked for");
            packets.add_endpoint(&pod(POD3, "pod3"))?;
            packets.add_endpoint(&PodEndpoint { address: POD3_6.parse().unwrap(), ..pod(POD3, "pod3") })?;
            Ok::<_, keelson_dataplane::Error>(dataplane)
        });
        match opened {
            Ok(dataplane) => self.second = Some((options, dataplane)),
            Err(error) => {
                clean(&options);
                panic!("{}", explain(&error))
            }
        }
        self
    }

    /// Gives IPv6 to whoever takes part when node2's pod is asked from outside.
    pub(crate) fn with_ipv6(self) -> Self {
        lay_ipv6(&self.spaces);
        self
    }

    /// Has what a namespace sends carry its checksums.
    pub(crate) fn make_checksums(&self, space: &str) {
        self.spaces.tool(space, "ethtool -K eth0 tx off");
    }

    /// The other end of a veth takes what XDP sends (`XDP_TX`) only if it has a program itself: with GRO alone it is not woken
    /// (`veth_xdp_flush`).
    pub(crate) fn attach_pass(&self, space: &str, device: &'static str) -> aya::Ebpf {
        let object = match &self.options.object {
            Object::File(path) => std::fs::read(path.with_file_name("xdp.o")).unwrap(),
            Object::Installed => unreachable!("named above"),
        };
        self.spaces.within(space, move || {
            let mut ebpf = aya::Ebpf::load(&object).unwrap();
            let pass: &mut aya::programs::Xdp = ebpf.program_mut("pass").unwrap().try_into().unwrap();
            pass.load().unwrap();
            pass.attach(device, aya::programs::xdp::XdpMode::Driver).unwrap();
            ebpf
        })
    }

    /// What the program on node1's wire did, and how it is attached.
    pub(crate) fn wire(&mut self) -> WireStatus {
        self.dataplane.packets().unwrap().wire_status().unwrap().unwrap()
    }

    /// Takes over node1 as a later daemon does, with other options.
    pub(crate) fn restart(&mut self, change: impl FnOnce(&mut PacketOptions), external: &[ExternalFrontend]) {
        change(self.options.packets.as_mut().unwrap());
        let mut dataplane = Dataplane::open(&self.options).unwrap();
        assert_eq!(dataplane.replace_external(external).unwrap(), []);
        dataplane.attach().unwrap();
        self.dataplane = dataplane;
    }

    /// Bytes that node1 has received by its uplink.
    pub(crate) fn received(&self) -> u64 {
        self.spaces.within("node1", || {
            let devices = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
            let line = devices.lines().find_map(|line| line.trim().strip_prefix("eth0:")).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        })
    }

    pub(crate) fn frontends(&mut self, frontends: &[Frontend]) {
        assert_eq!(self.dataplane.replace(frontends).unwrap().full, []);
    }

    pub(crate) fn external(&mut self, frontends: &[ExternalFrontend]) {
        assert_eq!(self.dataplane.replace_external(frontends).unwrap(), []);
        if let Some((options, mut second)) = self.second.take() {
            let frontends = frontends.to_vec();
            self.second = Some(self.spaces.within("node2", move || {
                assert_eq!(second.replace_external(&frontends).unwrap(), []);
                (options, second)
            }));
        }
    }

    /// A server of datagrams that tells each client the address that it sees, for as long as nobody sends it nothing.
    pub(crate) fn serve_datagrams(&self, space: &str, address: &str, port: u16) -> JoinHandle<()> {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        let socket = self.spaces.within(space, move || UdpSocket::bind(address).unwrap());
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((1.., client)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(client.ip().to_string().as_bytes(), client);
            }
        })
    }

    /// Sends a datagram; who the server says that we are.
    pub(crate) fn ask_datagram(
        &self,
        space: &str,
        address: &str,
        port: u16,
        bytes: usize,
    ) -> io::Result<String> {
        let server = SocketAddr::new(address.parse().unwrap(), port);
        self.spaces.within(space, move || {
            let any: IpAddr = match server {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(server)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.send(&vec![7; bytes])?;
            let mut buffer = [0; 64];
            let length = if bytes == 0 { 0 } else { socket.recv(&mut buffer)? };
            Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
        })
    }

    /// A connection to a server that sends back each byte.
    pub(crate) fn connect(&self, space: &str, address: &str, port: u16) -> io::Result<TcpStream> {
        let server = SocketAddr::new(address.parse().unwrap(), port);
        self.spaces.within(space, move || {
            let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(stream)
        })
    }

    /// A server that tells each client the address that it sees.
    pub(crate) fn serve(&self, space: &str, address: &str, port: u16) -> Server {
        self.server(space, address, port, |mut stream, client| {
            let _ = stream.write_all(client.ip().to_string().as_bytes());
        })
    }

    /// A server that sends back what it gets, a byte at a time.
    pub(crate) fn echo(&self, space: &str, address: &str, port: u16) -> Server {
        self.server(space, address, port, |mut stream, _| {
            stream.set_nodelay(true).unwrap();
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
        })
    }

    /// A server that tells each client so many letters.
    pub(crate) fn talk(&self, space: &str, address: &str, port: u16, letters: usize) -> Server {
        self.server(space, address, port, move |mut stream, _| {
            let _ = stream.write_all(&vec![b'a'; letters]);
        })
    }

    fn server(
        &self,
        space: &str,
        address: &str,
        port: u16,
        serve: impl Fn(TcpStream, SocketAddr) + Send + Clone + 'static,
    ) -> Server {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        let listener = self.spaces.within(space, move || TcpListener::bind(address).unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            while let Ok((stream, client)) = listener.accept() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let serve = serve.clone();
                thread::spawn(move || serve(stream, client));
            }
        });
        Server { stop, thread: Some(thread), space: self.spaces.0[space].clone(), address }
    }

    /// Who the server says that we are.
    pub(crate) fn ask(&self, space: &str, address: &str, port: u16) -> io::Result<String> {
        let server = SocketAddr::new(address.parse().unwrap(), port);
        self.spaces.within(space, move || {
            let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })
    }

    /// A server of one client that counts what it is sent.
    pub(crate) fn bulk(&self, space: &str, address: &str, port: u16) -> JoinHandle<usize> {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        let listener = self.spaces.within(space, move || TcpListener::bind(address).unwrap());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            io::copy(&mut stream, &mut io::sink()).unwrap() as usize
        })
    }

    /// Sends so many bytes; how many went out.
    pub(crate) fn send(&self, space: &str, address: &str, port: u16, bytes: usize) -> io::Result<usize> {
        let server = SocketAddr::new(address.parse().unwrap(), port);
        self.spaces.within(space, move || {
            let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let chunk = vec![7; 100_000];
            (0..bytes / chunk.len()).try_for_each(|_| stream.write_all(&chunk))?;
            Ok(bytes / chunk.len() * chunk.len())
        })
    }

    /// Microseconds of a request of one byte and its answer.
    pub(crate) fn round_trips(&self, space: &str, address: &str, port: u16, rounds: u32) -> f64 {
        let server = SocketAddr::new(address.parse().unwrap(), port);
        self.spaces.within(space, move || {
            let mut stream = TcpStream::connect_timeout(&server, PATIENCE).unwrap();
            stream.set_nodelay(true).unwrap();
            let mut byte = [1];
            let start = Instant::now();
            for _ in 0..rounds {
                stream.write_all(&byte).unwrap();
                stream.read_exact(&mut byte).unwrap();
            }
            start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        clean(&self.options);
        if let Some((options, _)) = &self.second {
            clean(options);
        }
    }
}

/// A server's thread; ends with the value.
pub(crate) struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    space: Arc<File>,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Its accept() is waiting: one more client lets it see that it is to end.
        let (space, address) = (self.space.clone(), self.address);
        let knock = thread::spawn(move || {
            let _ = setns(&*space, CloneFlags::CLONE_NEWNET);
            let _ = TcpStream::connect_timeout(&address, PATIENCE);
        });
        let _ = knock.join();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lay(spaces: &Spaces) {
    for space in SPACES {
        spaces.ip(space, "link set lo up");
    }
    spaces.ip("fabric", "link add bridge type bridge stp_state 0 forward_delay 0");
    spaces.ip("fabric", "link set bridge up");
    for (space, address) in
        [("node1", "172.31.0.11/24"), ("node2", "172.31.0.12/24"), ("outside", "192.0.2.7/32")]
    {
        spaces.wire(("fabric", space), (space, "eth0"));
        spaces.ip("fabric", &format!("link set {space} master bridge"));
        spaces.ip(space, &format!("address add {address} dev eth0"));
    }
    for node in ["node1", "node2"] {
        spaces.ip(node, &format!("route add {OUTSIDE} dev eth0"));
        spaces.within(node, || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
    }
    spaces.ip("outside", "route add 172.31.0.0/24 dev eth0");
    spaces.ip("node1", &format!("route add 10.245.2.0/24 via {NODE2}"));
    spaces.ip("node2", &format!("route add 10.245.1.0/24 via {NODE1}"));
    for (node, pod, address) in
        [("node1", "pod1", POD1), ("node1", "pod2", POD2), ("node2", "pod3", POD3), ("node1", "pod4", POD4)]
    {
        spaces.wire((node, pod), (pod, "eth0"));
        spaces.ip(node, &format!("link set {pod} address {}", text(HOST_MAC)));
        spaces.ip(pod, &format!("link set eth0 address {}", text(mac(address))));
        spaces.ip(node, &format!("route add {address} dev {pod}"));
        spaces.ip(node, &format!("neigh add {address} dev {pod} lladdr {}", text(mac(address))));
        spaces.ip(pod, &format!("address add {address}/32 dev eth0"));
        spaces.ip(pod, &format!("neigh add 169.254.1.1 dev eth0 lladdr {}", text(HOST_MAC)));
        spaces.ip(pod, "route add default via 169.254.1.1 dev eth0 onlink");
    }
}

/// IPv6 for node1, node2, its pod and who is outside.
fn lay_ipv6(spaces: &Spaces) {
    let pod_mac = text(mac(POD3));
    for (space, words) in [
        ("node1", format!("address add {NODE1_6}/64 dev eth0 nodad")),
        ("node2", format!("address add {NODE2_6}/64 dev eth0 nodad")),
        ("outside", format!("address add {OUTSIDE_6}/128 dev eth0 nodad")),
        ("node1", format!("route add {OUTSIDE_6} dev eth0")),
        ("node2", format!("route add {OUTSIDE_6} dev eth0")),
        ("node1", format!("route add {POD3_6} via {NODE2_6}")),
        ("outside", "route add fd00:31::/64 dev eth0".into()),
        ("outside", format!("route add fd00:99::/64 via {NODE1_6}")),
        ("node2", format!("route add {POD3_6} dev pod3")),
        ("node2", format!("neigh add {POD3_6} dev pod3 lladdr {pod_mac}")),
        ("pod3", format!("address add {POD3_6}/128 dev eth0 nodad")),
        ("pod3", format!("neigh add fe80::1 dev eth0 lladdr {}", text(HOST_MAC))),
        ("pod3", "route add default via fe80::1 dev eth0 onlink".into()),
    ] {
        spaces.ip(space, &format!("-6 {words}"));
    }
    for node in ["node1", "node2"] {
        spaces.within(node, || std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap());
    }
}

fn mac(address: &str) -> [u8; 6] {
    let address: std::net::Ipv4Addr = address.parse().unwrap();
    let [a, b, c, d] = address.octets();
    [10, 88, a, b, c, d]
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn pod(address: &str, link: &str) -> PodEndpoint {
    PodEndpoint {
        address: address.parse().unwrap(),
        link: link.into(),
        mac: mac(address),
        host_mac: HOST_MAC,
        shaped: false,
        pod: ("default".into(), "pod".into()),
        uid: "".into(),
    }
}

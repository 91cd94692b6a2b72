//! A host that is no node, on the nodes' wire: clients and servers from outside of the cluster.

use crate::{
    Cluster,
    kubectl::{Answer, run},
};
use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};
use std::{
    fs::File,
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    thread::{self, JoinHandle},
    time::Duration,
};

/// For an answer; what is dropped is silent for as long.
const PATIENCE: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_millis(1500);

/// The host, with an address outside of the cluster's ranges, and a way to it from every node; gone with the value.
///
/// There is one at a time: tests that want one wait for each other (nextest's group `outside`).
pub struct Outside {
    nodes: Vec<String>,
    has_ipv6: bool,
    routes: Vec<IpAddr>,
    /// A node, and an address to which it sends by way of the host.
    detours: Vec<(String, String)>,
}

/// The host's address.
pub const OUTSIDE_IP: &str = "192.0.2.7";
/// The same of IPv6, in a cluster that has it.
pub const OUTSIDE_IP6: &str = "2001:db8:7::7";
pub(crate) const NETNS: &str = "keelson-outside";
pub(crate) const MAC: [u8; 6] = [2, 0, 0xc0, 0, 2, 7];

impl Outside {
    /// Plugs the host in.
    pub fn new(cluster: &Cluster) -> Result<Self> {
        // What a killed run left.
        drop(Self::of(cluster));
        ip(&format!("netns add {NETNS}"))?;
        let outside = Self::of(cluster);
        ip(&format!("-n {NETNS} link set lo up"))?;
        // The same hardware address every time: nodes remember it longer than a test lasts.
        let mac = MAC.map(|byte| format!("{byte:02x}")).join(":");
        ip(&format!("-n keelson-net link add outside type veth peer name eth0 address {mac} netns {NETNS}"))?;
        ip("-n keelson-net link set outside master bridge up")?;
        ip(&format!("-n {NETNS} address add {OUTSIDE_IP}/32 dev eth0"))?;
        ip(&format!("-n {NETNS} link set eth0 up"))?;
        ip(&format!("-n {NETNS} route add 172.30.0.0/24 dev eth0"))?;
        for node in &outside.nodes {
            ip(&format!("-n keelson-{node} route add {OUTSIDE_IP} dev eth0"))?;
        }
        if outside.has_ipv6 {
            ip(&format!("-n {NETNS} address add {OUTSIDE_IP6}/128 dev eth0 nodad"))?;
            ip(&format!("-n {NETNS} -6 route add fd00:172:30::/64 dev eth0"))?;
            for node in &outside.nodes {
                ip(&format!("-n keelson-{node} -6 route add {OUTSIDE_IP6} dev eth0"))?;
            }
        }
        Ok(outside)
    }

    fn of(cluster: &Cluster) -> Self {
        let has_ipv6 = cluster.ip_family() != "ipv4";
        Self { nodes: cluster.nodes(), has_ipv6, routes: Vec::new(), detours: Vec::new() }
    }

    /// Has the host send packets for `address` to a node, instead of wherever it sent them before.
    pub fn route(&mut self, address: &str, via: &str) -> Result<()> {
        ip(&format!("-n {NETNS} route replace {address} via {via}"))?;
        self.routes.push(address.parse()?);
        Ok(())
    }

    /// Has a node send packets for an address of another node by way of the host, which lets no larger ones through; those who
    /// sent them, from an address of the first node, are told.
    pub fn detour(&mut self, from: (&str, &str), by: &str, to: (&str, &str), mtu: u16) -> Result<()> {
        self.within(|| {
            for (file, value) in
                [("ip_forward", "1"), ("conf/all/send_redirects", "0"), ("conf/eth0/send_redirects", "0")]
            {
                std::fs::write(format!("/proc/sys/net/ipv4/{file}"), value)?;
            }
            Ok(())
        })?;
        let ((sender, sender_node), (receiver, receiver_node)) = (from, to);
        ip(&format!("-n {NETNS} route replace {sender} via {sender_node} dev eth0"))?;
        ip(&format!("-n {NETNS} route replace {receiver} via {receiver_node} dev eth0 mtu lock {mtu}"))?;
        ip(&format!("-n keelson-{by} route replace {receiver}/32 via {OUTSIDE_IP} dev eth0 onlink"))?;
        self.detours.push((by.into(), receiver.into()));
        Ok(())
    }

    /// Ends all detours.
    pub fn straighten(&mut self) {
        for (node, address) in self.detours.drain(..) {
            let _ = ip(&format!("-n keelson-{node} route delete {address}/32"));
        }
    }

    /// The node whose hardware address the host knows for an address; asked by a connection before.
    pub fn answers_for(&self, address: &str) -> Result<String> {
        let known = ip(&format!("-n {NETNS} neighbour show {address}"))?;
        for node in &self.nodes {
            let link = ip(&format!("-n keelson-{node} link show dev eth0"))?;
            let mac = link.split_whitespace().skip_while(|word| *word != "link/ether").nth(1);
            if mac.is_some_and(|mac| known.contains(mac)) {
                return Ok(node.clone());
            }
        }
        anyhow::bail!("{address} is no node's: {known}")
    }

    /// Whether a node has a way to the host, of each family that the host has.
    pub fn let_answer(&self, node: &str, wanted: bool) -> Result<()> {
        let verb = if wanted { "replace" } else { "delete" };
        let six = self.has_ipv6.then(|| format!("-6 route {verb} {OUTSIDE_IP6}"));
        for words in [format!("route {verb} {OUTSIDE_IP}")].into_iter().chain(six) {
            ip(&format!("-n keelson-{node} {words} dev eth0"))?;
        }
        Ok(())
    }

    /// A server that tells each of so many clients the address that it sees.
    pub fn serve(&self, port: u16, clients: usize) -> Result<JoinHandle<Result<()>>> {
        let listener = self.within(move || Ok(TcpListener::bind((OUTSIDE_IP, port))?))?;
        Ok(thread::spawn(move || {
            for _ in 0..clients {
                let (mut stream, client) = listener.accept()?;
                stream.write_all(client.ip().to_string().as_bytes())?;
            }
            Ok(())
        }))
    }

    /// A connection that the host makes.
    pub fn connect(&self, server: SocketAddr) -> Result<TcpStream> {
        self.connect_within(server, SILENCE)
    }

    /// The same where the first packets may be lost.
    pub fn connect_within(&self, server: SocketAddr, time: Duration) -> Result<TcpStream> {
        self.within(move || Ok(TcpStream::connect_timeout(&server, time)?))
    }

    /// What a web server answers the host: the last line.
    pub fn get(&self, server: SocketAddr) -> Result<String> {
        get_over(self.connect(server)?)
    }

    /// How a connection fails.
    pub fn refusal(&self, server: SocketAddr) -> Result<io::ErrorKind> {
        match self.connect(server) {
            Ok(_) => anyhow::bail!("{server} answers"),
            Err(error) => error.downcast::<io::Error>().map(|error| error.kind()),
        }
    }

    /// What a UDP server answers to one datagram of the host, which has to come from the address that was asked.
    pub fn ask_udp(&self, server: SocketAddr) -> Result<String> {
        self.ask_udp_with(server, b"who")
    }

    /// The same of a datagram of any length.
    pub fn ask_udp_with(&self, server: SocketAddr, question: &[u8]) -> Result<String> {
        let own = if server.is_ipv4() { OUTSIDE_IP } else { OUTSIDE_IP6 };
        let socket = self.within(move || Ok(UdpSocket::bind((own, 0))?))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(SILENCE))?;
        socket.send(question)?;
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).with_context(|| format!("{server} over UDP"))?;
        Ok(String::from_utf8_lossy(&buffer[..length]).trim().to_string())
    }

    pub(crate) fn within<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        within(&format!("/run/netns/{NETNS}"), act)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.straighten();
        // The namespace takes its end of the wire along; the nodes' routes name no link of it.
        for node in &self.nodes {
            let _ = ip(&format!("-n keelson-{node} route delete {OUTSIDE_IP}"));
            let _ = ip(&format!("-n keelson-{node} -6 route delete {OUTSIDE_IP6}"));
        }
        let _ = ip("-n keelson-net link delete outside");
        let _ = ip(&format!("netns delete {NETNS}"));
    }
}

/// Asks for `/` over a connection, and answers the last line of what comes.
pub fn get_over(mut stream: TcpStream) -> Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.trim().lines().last().unwrap_or_default().to_string())
}

/// Does something on a thread that is in a network namespace, and otherwise where this process is.
pub fn within<T: Send + 'static>(netns: &str, act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let file = File::open(netns).with_context(|| format!("opening {netns}"))?;
    let thread = thread::spawn(move || {
        setns(file, CloneFlags::CLONE_NEWNET)?;
        act()
    });
    thread.join().expect("it does not panic")
}

pub(crate) fn ip(words: &str) -> Result<String> {
    let mut command = Command::new("ip");
    command.args(words.split(' '));
    let Answer { stdout, stderr, code } = run(command, None)?;
    ensure!(code == Some(0), "`ip {words}` ended with {code:?}: {stderr}");
    Ok(stdout)
}

//! The plan carried out by the real kernel: two pods on a node of their own reach each other over TCP.

use keelson_cni::{
    ranges::PodRanges,
    server::{Config, NoEndpoints, Server},
};
use keelson_cni_agent::{Address, Attachment, cni_agent_server::CniAgent};
use keelson_sys::{net::Netlink, sysctl};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Write},
    net::{IpAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};
use tokio::sync::watch;

/// A network namespace that a file stands for, as a container runtime makes them; gone with the value.
struct Netns(PathBuf);

impl Netns {
    fn new(path: PathBuf) -> Netns {
        File::create(&path).unwrap();
        let target = path.clone();
        let make = move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            mount(Some("/proc/thread-self/ns/net"), &target, None::<&Path>, MsFlags::MS_BIND, None::<&Path>)
                .unwrap();
        };
        thread::spawn(make).join().unwrap();
        Netns(path)
    }

    /// Runs something on a thread in the namespace.
    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
        let file = File::open(&self.0).unwrap();
        thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

fn attachment(sandbox: &str, netns: &Netns) -> tonic::Request<Attachment> {
    tonic::Request::new(Attachment {
        container_id: sandbox.into(),
        netns: netns.0.to_str().unwrap().into(),
        interface: "eth0".into(),
        ..Attachment::default()
    })
}

/// On a node's own thread and namespace: gives two pods their wires.
async fn attach(folder: PathBuf, one: Netns, two: Netns) -> (Netns, Vec<IpAddr>, Netns, Vec<IpAddr>) {
    let config = Config {
        root: folder.clone(),
        socket: folder.join("cni.sock"),
        conf_dir: folder.join("conf"),
        mtu: watch::channel(1500).1,
        departures: false,
    };
    let ranges =
        PodRanges::Known(["10.244.1.0/24", "fd00:244:1::/64"].map(|net| net.parse().unwrap()).into());
    let (_, ranges) = watch::channel(ranges);
    let server = Server::open(
        config,
        Arc::new(Netlink::open().unwrap()),
        Arc::new(NoEndpoints),
        ranges,
        Arc::new(|_| false),
    )
    .unwrap();
    let mut addresses = Vec::new();
    for (sandbox, netns) in [("one", &one), ("two", &two)] {
        let reply = server.add(attachment(sandbox, netns)).await.unwrap().into_inner();
        // A runtime that asks again gets the same wire.
        assert_eq!(server.add(attachment(sandbox, netns)).await.unwrap().into_inner(), reply);
        server.check(attachment(sandbox, netns)).await.unwrap();
        let ip = |of: &Address| of.address.split('/').next().unwrap().parse().unwrap();
        addresses.push(reply.addresses.iter().map(ip).collect());
    }
    let [first, second] = addresses.try_into().unwrap();
    (one, first, two, second)
}

/// IPv6 off, as a host may have it for every namespace that is made.
fn without_ipv6(netns: &Netns) {
    let off = || sysctl::set("net.ipv6.conf.all.disable_ipv6", "1", &mut BTreeMap::new()).unwrap();
    netns.run(off).join().unwrap();
}

/// What a server on one address says to a client in another namespace, and the client's address.
fn hello(server: &Netns, client: &Netns, address: IpAddr) -> (String, IpAddr) {
    // At once: an address that is still being asked about cannot be bound to.
    let listener = server.run(move || TcpListener::bind((address, 8080)).unwrap()).join().unwrap();
    let serving = thread::spawn(move || {
        let (mut stream, from) = listener.accept().unwrap();
        stream.write_all(b"hello").unwrap();
        from.ip()
    });
    let client = client.run(move || {
        let mut text = String::new();
        TcpStream::connect((address, 8080)).unwrap().read_to_string(&mut text).unwrap();
        text
    });
    (client.join().unwrap(), serving.join().unwrap())
}

#[test]
fn two_pods_of_a_node_reach_each_other_by_both_families() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: making network namespaces needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let node = Netns::new(folder.path().join("node"));
    let (one, two) = (Netns::new(folder.path().join("one")), Netns::new(folder.path().join("two")));
    without_ipv6(&two);
    let root = folder.path().to_path_buf();
    let attached = node.run(move || {
        for forwarding in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            sysctl::set(forwarding, "1", &mut BTreeMap::new()).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(attach(root, one, two))
    });
    let (one, first, two, second) = attached.join().unwrap();
    assert_eq!(first.len(), 2);
    for (server, client) in first.into_iter().zip(second) {
        assert_eq!(hello(&one, &two, server), ("hello".to_string(), client));
    }
}

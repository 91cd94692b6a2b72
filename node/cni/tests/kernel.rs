//! The plan carried out by the real kernel: two pods on a node of their own reach each other over TCP.

use keelson_cni::server::{Config, NoEndpoints, Server};
use keelson_cni_agent::{Attachment, cni_agent_server::CniAgent};
use keelson_sys::{net::Netlink, sysctl};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

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
async fn attach(folder: PathBuf, one: Netns, two: Netns) -> (Netns, String, Netns, String) {
    let config = Config {
        root: folder.clone(),
        socket: folder.join("cni.sock"),
        conf_dir: folder.join("conf"),
        pod_cidr: "10.244.1.0/24".parse().unwrap(),
        mtu: 1500,
    };
    let server =
        Server::open(config, Arc::new(Netlink::open().unwrap()), Arc::new(NoEndpoints), Arc::new(|_| false))
            .unwrap();
    let mut addresses = Vec::new();
    for (sandbox, netns) in [("one", &one), ("two", &two)] {
        let reply = server.add(attachment(sandbox, netns)).await.unwrap().into_inner();
        // A runtime that asks again gets the same wire.
        assert_eq!(server.add(attachment(sandbox, netns)).await.unwrap().into_inner(), reply);
        server.check(attachment(sandbox, netns)).await.unwrap();
        addresses.push(reply.address.trim_end_matches("/32").to_string());
    }
    let [first, second] = addresses.try_into().unwrap();
    (one, first, two, second)
}

#[test]
fn two_pods_of_a_node_reach_each_other() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: making network namespaces needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let node = Netns::new(folder.path().join("node"));
    let (one, two) = (Netns::new(folder.path().join("one")), Netns::new(folder.path().join("two")));
    let root = folder.path().to_path_buf();
    let attached = node.run(move || {
        sysctl::set("net.ipv4.ip_forward", "1", &mut BTreeMap::new()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(attach(root, one, two))
    });
    let (one, first, two, _second) = attached.join().unwrap();
    let listener = one.run(move || TcpListener::bind((first.as_str(), 8080)).map(|l| (l, first)).unwrap());
    let (listener, address) = listener.join().unwrap();
    let server = thread::spawn(move || listener.accept().unwrap().0.write_all(b"hello").unwrap());
    let client = two.run(move || {
        let mut text = String::new();
        TcpStream::connect((address.as_str(), 8080)).unwrap().read_to_string(&mut text).unwrap();
        text
    });
    assert_eq!(client.join().unwrap(), "hello");
    server.join().unwrap();
}

//! Namespaces whose sockets are left alone.
//!
//! A pod here has no route, and its Services lead to closed ports of its own loopback: what is translated is refused or sent,
//! what is not is unreachable.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpStream, UdpSocket},
    path::PathBuf,
    sync::mpsc,
    thread::{self, Scope},
};

use keelson_dataplane::{Dataplane, PacketOptions, PodEndpoint, plan::Protocol};
use keelson_sys::sockets::cookie_of;
use nix::sched::{CloneFlags, unshare};

use crate::support::{Lab, explain, frontend, mapped};

const SERVICES: [&str; 2] = ["10.96.0.7:80", "[fd00:96::7]:80"];

/// A network namespace that asks its Services whenever it is told to: whether all, or none, of its calls were translated.
struct Pod {
    netns: u64,
    ask: mpsc::Sender<mpsc::Sender<bool>>,
}

impl Pod {
    fn new<'s>(scope: &'s Scope<'s, '_>) -> Self {
        let (ask, asked) = mpsc::channel::<mpsc::Sender<bool>>();
        let (told, netns) = mpsc::channel();
        scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
            assert!(up.is_ok_and(|status| status.success()));
            told.send(cookie_of(&PathBuf::from("/proc/thread-self/ns/net")).unwrap()).unwrap();
            for answer in asked {
                answer.send(is_translated()).unwrap();
            }
        });
        Self { netns: netns.recv().unwrap(), ask }
    }

    fn is_translated(&self) -> bool {
        let (answer, answered) = mpsc::channel();
        self.ask.send(answer).unwrap();
        answered.recv().unwrap()
    }
}

fn is_translated() -> bool {
    let [four, six] = SERVICES.map(|service| service.parse::<SocketAddr>().unwrap());
    let mut seen = Vec::new();
    for service in [four, mapped(SERVICES[0]), six] {
        let udp = || UdpSocket::bind(if service.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
        let calls = [
            ("tcp", TcpStream::connect(service).map(drop)),
            ("connected udp", udp().connect(service)),
            ("udp", udp().send_to(b"?", service).map(drop)),
        ];
        seen.extend(calls.map(|(call, done)| (format!("{call} {service}"), was_translated(done))));
    }
    assert!(seen.iter().all(|(_, translated)| *translated == seen[0].1), "{seen:?}");
    seen[0].1
}

fn was_translated(done: io::Result<()>) -> bool {
    match done.map_err(|error| error.kind()) {
        Ok(()) | Err(ErrorKind::ConnectionRefused) => true,
        Err(ErrorKind::NetworkUnreachable) => false,
        other => panic!("{other:?}"),
    }
}

fn endpoint() -> PodEndpoint {
    PodEndpoint {
        address: [10, 244, 0, 2].into(),
        link: String::new(),
        mac: [2; 6],
        host_mac: [2; 6],
        shaped: false,
        pod: ("default".into(), "pod".into()),
        uid: "".into(),
    }
}

#[test]
fn a_namespace_is_left_alone_until_its_link_goes_and_over_restarts() {
    let Some(mut lab) = Lab::new("bypass") else { return };
    let object = lab.options.object.clone();
    let packets = Some(PacketOptions { object, ..PacketOptions::default() });
    lab.options.packets.clone_from(&packets);
    let closed: Vec<SocketAddr> = ["127.0.0.1:1", "[::1]:1"].map(|backend| backend.parse().unwrap()).into();
    let frontends: Vec<_> = [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .flat_map(|protocol| [0, 1].map(|i| frontend(protocol, SERVICES[i], &closed[i..=i])))
        .collect();
    let bypass = |dataplane: &mut Dataplane, link: &str, netns| {
        let done = dataplane.packets().unwrap().bypass_sockets(link, netns);
        done.unwrap_or_else(|e| panic!("{}", explain(&e)));
    };
    thread::scope(|scope| {
        let (pod, other) = (Pod::new(scope), Pod::new(scope));
        assert_ne!(pod.netns, other.netns);
        let mut dataplane = lab.dataplane(&frontends);
        assert!(pod.is_translated() && other.is_translated());
        bypass(&mut dataplane, "kln0123456789a", pod.netns);
        assert!(!pod.is_translated() && other.is_translated());
        // As another daemon finds it.
        drop(dataplane);
        assert!(!pod.is_translated());
        let mut dataplane = lab.dataplane(&frontends);
        assert!(!pod.is_translated() && other.is_translated());
        // One that serves no packets, for as long as it does.
        drop(dataplane);
        lab.options.packets = None;
        drop(lab.dataplane(&frontends));
        assert!(pod.is_translated());
        lab.options.packets = packets;
        dataplane = lab.dataplane(&frontends);
        bypass(&mut dataplane, "kln0123456789b", other.netns);
        assert!(!pod.is_translated() && !other.is_translated());
        let link = "kln0123456789b".to_owned();
        dataplane.packets().unwrap().remove_endpoint(&PodEndpoint { link, ..endpoint() }).unwrap();
        assert!(!pod.is_translated() && other.is_translated());
        // One that it knows by the map alone. Of its links the node has none any more.
        dataplane.packets().unwrap().replace_endpoints(&[]).unwrap();
        assert!(pod.is_translated() && other.is_translated());
    });
}

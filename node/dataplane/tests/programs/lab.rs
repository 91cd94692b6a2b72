//! A node in a network namespace: an uplink, two pods' links, the programs loaded onto maps of its own.

use std::{net::SocketAddr, path::Path, process::Command};

use keelson_dataplane::{
    Dataplane, Object, Options, PacketOptions, PodEndpoint, Talk,
    plan::{ExternalFrontend, Frontend, FrontendKey, Protocol},
    policy::Changes,
    remove_all,
};
use keelson_ebpf_common::{drop::Reason, wire::Verdict};
use keelson_sys::bpf::is_bpffs;
use nix::sched::{CloneFlags, unshare};

use crate::packet::{HOST_MAC, POD_MAC, tell};

const BPFFS: &str = "/sys/fs/bpf";

/// The pods of the node, by address and link; each of both families.
pub(crate) const PODS: [(&str, &str); 4] =
    [("10.244.1.2", "pod1"), ("10.244.1.3", "pod2"), ("fd00:1::2", "pod1"), ("fd00:1::3", "pod2")];
pub(crate) const NODE: &str = "172.30.0.11";
pub(crate) const NODE6: &str = "fd00:30::11";

pub(crate) struct Lab {
    options: Options,
    pub(crate) dataplane: Dataplane,
}

/// What became of a packet.
#[derive(Debug, PartialEq)]
pub(crate) enum Fate {
    Pass(String),
    Redirect(String),
    Drop,
}

pub(crate) fn pass(text: &str) -> Fate {
    Fate::Pass(text.into())
}

pub(crate) fn redirect(text: &str) -> Fate {
    Fate::Redirect(text.into())
}

impl Lab {
    /// A node with an uplink that masquerades. `None`, with the reason on stderr, where something is missing.
    pub(crate) fn new(name: &str) -> Option<Self> {
        Self::with(name, |_| {})
    }

    pub(crate) fn with(name: &str, change: impl FnOnce(&mut PacketOptions)) -> Option<Self> {
        match Self::prepare(name, change) {
            Ok(lab) => Some(lab),
            Err(reason) => {
                eprintln!("skipped: {reason}");
                None
            }
        }
    }

    fn prepare(name: &str, change: impl FnOnce(&mut PacketOptions)) -> Result<Self, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("not root".into());
        }
        let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ebpf/sock.o");
        let object = std::env::var_os("KEELSON_EBPF_OBJ").map_or(object, Into::into);
        for name in ["tc.o", "xdp.o"] {
            if !object.with_file_name(name).exists() {
                return Err(format!("no {name} beside {}: run `cargo xtask ebpf`", object.display()));
            }
        }
        if !is_bpffs(Path::new(BPFFS)).unwrap_or(false) {
            return Err(format!("no bpffs at {BPFFS}"));
        }
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| format!("a network namespace: {e}"))?;
        wires();
        let object = Object::File(object);
        let mut packets = PacketOptions {
            object: object.clone(),
            uplink: Some("uplink".into()),
            node_addresses: vec![NODE.parse().unwrap(), NODE6.parse().unwrap()],
            masquerade: true,
            never_masqueraded: ["10.244.0.0/16", "172.30.0.0/24", "fd00::/16"]
                .map(|n| n.parse().unwrap())
                .into(),
            ..PacketOptions::default()
        };
        change(&mut packets);
        // No process is in it: the socket programs, where they are attached, see nothing.
        let node = format!("programs-{name}-{}", std::process::id());
        let cgroup_root = cgroup2().ok_or("no cgroup2 mount")?.join(&node);
        std::fs::create_dir(&cgroup_root).map_err(|e| format!("making a cgroup: {e}"))?;
        let options = Options {
            node,
            bpffs: BPFFS.into(),
            cgroup_root,
            object,
            packets: Some(packets),
            measure: true,
            talk: Talk::Silent,
        };
        let mut dataplane = Dataplane::open(&options).unwrap_or_else(|e| {
            let _ = remove_all(&options.bpffs, &options.node);
            let _ = std::fs::remove_dir(&options.cgroup_root);
            panic!("{}", explain(&e))
        });
        let packets = dataplane.packets().unwrap();
        for (address, link) in PODS {
            packets.add_endpoint(&pod(address, link)).unwrap_or_else(|e| panic!("{}", explain(&e)));
        }
        Ok(Self { options, dataplane })
    }

    pub(crate) fn frontends(&mut self, frontends: &[Frontend]) {
        assert_eq!(self.dataplane.replace(frontends).unwrap().full, []);
    }

    pub(crate) fn external(&mut self, frontends: &[ExternalFrontend]) {
        assert_eq!(self.dataplane.replace_external(frontends).unwrap(), []);
    }

    /// Another daemon takes over: nothing but the pins is left of the first. Of policies it knows nothing yet.
    pub(crate) fn reopen(&mut self) {
        self.dataplane = Dataplane::open(&self.options).unwrap_or_else(|e| panic!("{}", explain(&e)));
        let packets = self.dataplane.packets().unwrap();
        packets.enforce_policies().unwrap();
        for (address, link) in PODS {
            packets.add_endpoint(&pod(address, link)).unwrap_or_else(|e| panic!("{}", explain(&e)));
        }
    }

    /// Network policies are exactly these from now on.
    pub(crate) fn policies(&mut self, whole: &Changes) {
        let packets = self.dataplane.packets().unwrap();
        packets.enforce_policies().unwrap();
        packets.replace_policies(whole).unwrap_or_else(|e| panic!("{}", explain(&e)));
    }

    /// Runs a program on a packet that is on a link.
    pub(crate) fn bytes(&mut self, program: &str, link: &str, packet: &[u8]) -> (i32, Vec<u8>) {
        let ifindex = keelson_sys::net::link_index(link).unwrap().unwrap();
        let ran = self.dataplane.packets().unwrap().run(program, ifindex, packet);
        let ran = ran.unwrap_or_else(|e| panic!("{}", explain(&e)));
        (ran.verdict, ran.packet)
    }

    pub(crate) fn run(&mut self, program: &str, link: &str, packet: &[u8]) -> Fate {
        let (verdict, bytes) = self.bytes(program, link, packet);
        match verdict {
            -1 => Fate::Pass(tell(&bytes)),
            7 => Fate::Redirect(tell(&bytes)),
            2 => Fate::Drop,
            other => panic!("verdict {other}"),
        }
    }

    /// Runs the program on the uplink's wire.
    pub(crate) fn wire(&mut self, packet: &[u8]) -> Fate {
        let ran = self.dataplane.packets().unwrap().run_on_wire("wire", packet);
        let ran = ran.unwrap_or_else(|e| panic!("{}", explain(&e))).unwrap();
        match ran.verdict {
            2 => {
                assert_eq!(ran.packet, packet, "what is left to others stays as it is");
                Fate::Pass(tell(packet))
            }
            3 => {
                assert_eq!(ran.packet[..6], [2, 0, 0, 0, 0, 0x12], "to the neighbour");
                Fate::Redirect(tell(&ran.packet))
            }
            1 => Fate::Drop,
            other => panic!("verdict {other}"),
        }
    }

    pub(crate) fn verdicts(&mut self, verdict: Verdict) -> u64 {
        let status = self.dataplane.packets().unwrap().wire_status().unwrap().unwrap();
        status.verdicts.iter().find(|(v, _)| *v == verdict).unwrap().1
    }

    pub(crate) fn dropped(&self, reason: Reason) -> u64 {
        let drops = self.dataplane.status().unwrap().drops;
        drops.iter().find(|(r, _)| *r == reason).unwrap().1
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let removed = remove_all(&self.options.bpffs, &self.options.node);
        let cgroup = std::fs::remove_dir(&self.options.cgroup_root);
        if !std::thread::panicking() {
            removed.unwrap();
            cgroup.unwrap();
        }
    }
}

pub(crate) fn pod(address: &str, link: &str) -> PodEndpoint {
    PodEndpoint {
        address: address.parse().unwrap(),
        link: link.into(),
        mac: POD_MAC,
        host_mac: HOST_MAC,
        shaped: false,
        pod: ("default".into(), link.into()),
        uid: link.into(),
    }
}

fn wires() {
    for words in [
        "link set lo up",
        "link add uplink type veth peer name wire",
        "link add pod1 type veth peer name pod1p",
        "link add pod2 type veth peer name pod2p",
        "link set wire up",
        "link set uplink up",
        "link set pod1 up",
        "link set pod2 up",
        "address add 172.30.0.11/24 dev uplink",
        "-6 address add fd00:30::11/64 dev uplink nodad",
        "route add 10.244.2.0/24 via 172.30.0.12",
        "-6 route add fd00:2::/64 via fd00:30::12",
        "route add default via 172.30.0.1",
        "neigh add 172.30.0.12 dev uplink lladdr 02:00:00:00:00:12",
        "route add 10.244.3.0/24 via 172.30.0.13",
        "route add 10.244.1.2 dev pod1",
        "route add 10.244.1.3 dev pod2",
    ] {
        ip(words);
    }
    for (file, value) in [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")] {
        std::fs::write(Path::new("/proc/sys/net").join(file), value).unwrap();
    }
}

pub(crate) fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(done.success(), "ip {words}");
}

pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

pub(crate) fn key(protocol: Protocol, service: &str) -> FrontendKey {
    let service: SocketAddr = service.parse().unwrap();
    FrontendKey { address: service.ip(), port: service.port(), protocol }
}

pub(crate) fn frontend(protocol: Protocol, service: &str, backends: &[&str]) -> Frontend {
    let backends = backends.iter().map(|b| b.parse().unwrap()).collect();
    Frontend { key: key(protocol, service), backends, affinity_s: 0 }
}

pub(crate) fn external(protocol: Protocol, service: &str, backends: &[&str]) -> ExternalFrontend {
    ExternalFrontend {
        key: key(protocol, service),
        backends: backends.iter().map(|b| b.parse().unwrap()).collect(),
        local_backends_only: false,
        source_ranges: Vec::new(),
        affinity_s: 0,
        forwarding: None,
    }
}

fn cgroup2() -> Option<std::path::PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    line.split(' ').nth(4).map(Into::into)
}

//! A node in a network namespace whose uplink leads to one neighbour, with Services that are answered directly and as many that are
//! not.

use std::{fs, net::SocketAddr, path::PathBuf, process::Command};

use keelson_dataplane::{
    Dataplane, Object, Options, PacketOptions, Talk, Translation, WireOptions,
    plan::{ExternalFrontend, Forwarding, FrontendKey, Protocol},
    remove_all,
};
use keelson_ebpf_common::{limits::KNOWN_LINES_MAX, wire::Verdict};
use nix::sched::{CloneFlags, unshare};

use crate::Result;

const BPFFS: &str = "/sys/fs/bpf";
/// Pods behind all Services, on other nodes.
const PODS: usize = 3_000;
/// Backends of a Service.
const BACKENDS: usize = 3;

pub(crate) struct Lab {
    options: Options,
    dataplane: Dataplane,
}

impl Lab {
    /// With so many Services that are answered directly, each of TCP and of UDP, and as many of TCP that are not.
    pub(crate) fn new(services: usize) -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        for words in [
            "link add uplink type veth peer name wire",
            "link set wire up",
            "link set uplink up",
            "address add 172.30.0.11/24 dev uplink",
            "route add default via 172.30.0.12",
            "neigh add 172.30.0.12 dev uplink lladdr 02:00:00:00:00:12",
        ] {
            let done = Command::new("ip").args(words.split(' ')).status()?;
            if !done.success() {
                return Err(format!("ip {words}").into());
            }
        }
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        let object =
            std::env::var_os("KEELSON_EBPF_OBJ").map_or(Object::Installed, |file| Object::File(file.into()));
        let packets = PacketOptions {
            object: object.clone(),
            uplink: Some("uplink".into()),
            node_addresses: vec!["172.30.0.11".parse()?],
            never_masqueraded: vec!["10.244.0.0/16".parse()?],
            wire: Some(WireOptions {
                known_lines: KNOWN_LINES_MAX,
                translation: Translation::Wire,
                ..WireOptions::default()
            }),
            ..PacketOptions::default()
        };
        let node = format!("packet-cost-{}", std::process::id());
        let cgroup_root = cgroup2()?.join(&node);
        fs::create_dir(&cgroup_root)?;
        let options = Options {
            node,
            bpffs: BPFFS.into(),
            cgroup_root,
            object,
            packets: Some(packets),
            measure: false,
            talk: Talk::Silent,
        };
        let opened = Dataplane::open(&options);
        let dataplane = opened.inspect_err(|_| clean(&options))?;
        let mut lab = Self { options, dataplane };
        let full = lab.dataplane.replace_external(&frontends(services)?)?;
        if !full.is_empty() {
            return Err(format!("no room for {} frontends", full.len()).into());
        }
        Ok(lab)
    }

    /// Nanoseconds that the kernel says a run took.
    pub(crate) fn run(&mut self, program: &str, packet: &[u8]) -> Result<u32> {
        Ok(self.send(program, packet)?.0)
    }

    /// The same, and what the packet became.
    pub(crate) fn send(&mut self, program: &str, packet: &[u8]) -> Result<(u32, Vec<u8>)> {
        let packets = self.dataplane.packets().ok_or("no per-packet programs")?;
        let ran = packets.run_on_wire(program, packet)?.ok_or("no program on the wire")?;
        let expected = if program == "wire" { 3 } else { 2 };
        if ran.verdict != expected {
            return Err(format!("{program} answered {}", ran.verdict).into());
        }
        Ok((ran.duration_ns, ran.packet))
    }

    pub(crate) fn count(&mut self, verdict: Verdict) -> Result<u64> {
        let packets = self.dataplane.packets().ok_or("no per-packet programs")?;
        let status = packets.wire_status()?.ok_or("no program on the wire")?;
        Ok(status.verdicts.iter().find(|(v, _)| *v == verdict).map_or(0, |(_, count)| *count))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        clean(&self.options);
    }
}

fn clean(options: &Options) {
    let removed = remove_all(&options.bpffs, &options.node);
    let cgroup = fs::remove_dir(&options.cgroup_root);
    if let (Err(error), _) = (&removed, &cgroup) {
        eprintln!("{error}");
    }
}

/// The node's address.
pub(crate) const NODE: [u8; 4] = [172, 30, 0, 11];

/// Address of a Service of a way of forwarding; its port is 80.
pub(crate) fn address(forwarding: Forwarding, service: usize) -> [u8; 4] {
    let second = if forwarding == Forwarding::Dsr { 18 } else { 19 };
    [198, second, (service / 250) as u8, (service % 250 + 1) as u8]
}

fn frontends(services: usize) -> Result<Vec<ExternalFrontend>> {
    let pod = |n: usize| format!("10.244.{}.{}:8080", n / 200 % 256, n % 200 + 2).parse::<SocketAddr>();
    let mut frontends = Vec::new();
    for service in 0..services {
        // Every Service has pods that no other has together.
        let numbers = [service % PODS, (service * 7 + service / PODS + 1) % PODS, (service * 13 + 2) % PODS];
        let mut backends = numbers.map(pod).into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
        backends.sort_unstable();
        backends.dedup();
        debug_assert!(backends.len() <= BACKENDS);
        let kinds = [
            (Forwarding::Dsr, Protocol::Tcp),
            (Forwarding::Dsr, Protocol::Udp),
            (Forwarding::Snat, Protocol::Tcp),
        ];
        for (forwarding, protocol) in kinds {
            frontends.push(ExternalFrontend {
                key: FrontendKey { address: address(forwarding, service).into(), port: 80, protocol },
                backends: backends.clone(),
                local_backends_only: false,
                source_ranges: Vec::new(),
                affinity_s: 0,
                forwarding: Some(forwarding),
            });
        }
    }
    Ok(frontends)
}

fn cgroup2() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 ")).ok_or("no cgroup2 mount")?;
    Ok(line.split(' ').nth(4).ok_or("no mount point")?.into())
}

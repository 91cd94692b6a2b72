//! A node in a network namespace: an uplink, two pods' links, the programs loaded onto maps of its own.

use std::{path::Path, process::Command};

use keelson_dataplane::{
    Dataplane, Object, Options, PacketOptions, PodEndpoint,
    plan::{ExternalFrontend, Frontend},
    policy::Changes,
};
use keelson_ebpf_common::{drop::Reason, wire::Verdict};
use nix::sched::{CloneFlags, unshare};

pub(crate) use crate::node::{explain, external, frontend, key};
use crate::{
    node::{clean, object, options, or_skipped},
    packet::{HOST_MAC, POD_MAC, tell},
};

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
        or_skipped(Self::prepare(name, change))
    }

    fn prepare(name: &str, change: impl FnOnce(&mut PacketOptions)) -> Result<Self, String> {
        let object = object()?;
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| format!("a network namespace: {e}"))?;
        wires();
        let mut packets = PacketOptions {
            object: Object::File(object.clone()),
            uplink: Some("uplink".into()),
            node_addresses: vec![NODE.parse().unwrap(), NODE6.parse().unwrap()],
            masquerade: true,
            never_masqueraded: ["10.244.0.0/16", "172.30.0.0/24", "fd00::/16"]
                .map(|n| n.parse().unwrap())
                .into(),
            ..PacketOptions::default()
        };
        change(&mut packets);
        let options = options(format!("programs-{name}-{}", std::process::id()), object, packets)?;
        let mut dataplane = Dataplane::open(&options).unwrap_or_else(|e| {
            clean(&options);
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
        clean(&self.options);
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
        "-6 neigh add fd00:30::12 dev uplink lladdr 02:00:00:00:00:12",
        "-6 route add 2001:db8:7::/64 via fd00:30::1",
        "-6 route add fd00:3::/64 via fd00:30::13",
        "-6 route add fd00:1::3 dev pod2",
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

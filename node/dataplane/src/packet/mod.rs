//! The per-packet programs of a node: loaded beside the socket programs, on whose tables they look, and attached to devices.
//!
//! ```text
//! <bpffs>/keelson/<node>/devices/<device>-<direction>   links of devices (tcx), or the programs of filters (clsact)
//!                       /wire/<device>-<mode>                the link of the program on the uplink's wire
//!                       /state/<map>-<version>          endpoints, flows and the like
//! ```
//! - [`settings`]: what the programs are told as constants; which ports translated sources get (pure).
//! - [`load`]: programs and maps. [`attach`]: devices. [`wire`]: the program before them, by XDP.
//! - [`endpoints`], [`addresses`], [`external`], [`announce`]: what the tables are to hold, from pods, frontends, plans; [`places`] says where
//!   it lies, [`maglev`] how flows are spread (pure).
//! - [`paces`]: how fast pods may send out of the node.
//! - [`tunnel`]: devices that lead to nodes by something that wraps packets.
//! - [`policies`]: network policies. [`judged`]: the connections that they let pass, when idle.
//! - [`path`]: what becomes of a connection between two pods, for people.
//! - [`bypass`]: pods whose sockets are not translated.
//! - [`collect`]: idle flows out of the table, a slice at a time.
//!
//! Does not own Services inside the cluster (the socket programs' tables) or pods' links (`node/cni`).

mod addresses;
mod announce;
mod attach;
mod bypass;
mod collect;
mod endpoints;
mod external;
mod judged;
mod load;
mod maglev;
mod paces;
mod path;
mod places;
mod policies;
mod settings;
mod tunnel;
mod wire;

pub use attach::{Method, Side};
pub use collect::FlowCount;
pub use endpoints::PodEndpoint;
pub use path::{End, Entry, Judgement, Number, Path, With};
pub use settings::{PORTS_FLOOR, PacketOptions, ports_beside};
pub use tunnel::TunnelDevice;

pub use wire::{Translation, WireOptions, WireStatus};

pub(crate) use attach::detach_all;
pub(crate) use bypass::ignore as ignore_bypass;
pub(crate) use wire::detach_wire;

use std::{collections::BTreeSet, fs, net::IpAddr, path::PathBuf};

use addresses::Addresses;
use announce::Announcements;
use attach::{Devices, Present};
use bypass::Bypass;
use collect::Collector;
use endpoints::Endpoints;
use external::Externals;
use judged::JudgedCollector;
use keelson_ebpf_common::packet::{mark, protocol};
use keelson_sys::bpf::{GracePeriod, Ran, run_once};
use load::Loaded;
use places::DirectRule;
use policies::Policies;
use settings::Constants;
use tunnel::Tunnels;
use wire::Wire;

use crate::{
    Error,
    follower::chain,
    maps::{
        object::Part,
        pins::{Pins, file},
    },
    plan::{Backend, ExternalFrontend, Frontend, FrontendKey, Protocol},
    policy,
};

/// The per-packet programs, loaded, and their maps.
#[derive(Debug)]
pub struct Packets {
    options: PacketOptions,
    constants: Constants,
    loaded: Loaded,
    wire: Option<Wire>,
    devices: Devices,
    endpoints: Endpoints,
    bypass: Bypass,
    addresses: Addresses,
    externals: Externals,
    announcements: Announcements,
    collector: Collector,
    wire_folder: PathBuf,
    policies: Policies,
    judged: JudgedCollector,
    tunnels: Tunnels,
    /// The tables are filled, and all programs are this daemon's.
    attached: bool,
}

impl Packets {
    /// Loads the programs onto the tables of the socket programs, which must be there, and adopts or makes their own.
    /// Attaches nothing yet.
    pub(crate) fn open(options: &PacketOptions, pins: &Pins) -> Result<Self, Error> {
        let constants = Constants::from(options)?;
        let loaded = Loaded::load(&options.object.read(Part::Packets)?, pins, &constants, options.talk)?;
        let endpoints = Endpoints::open(pins)?;
        endpoints.put_node(&options.node_addresses)?;
        let wire = match (&options.uplink, options.wire) {
            (Some(uplink), Some(wire)) => {
                let object = options.object.read(Part::Wire)?;
                Some(Wire::open(&object, pins, uplink, &constants, (wire, options.talk))?)
            }
            _ => None,
        };
        let rule = DirectRule {
            default: options.forwarding,
            cluster: options.never_masqueraded.clone(),
            translates: wire.as_ref().is_some_and(Wire::translates),
        };
        let externals = Externals::open(pins, rule, wire.is_some())?;
        externals.put_cluster_ranges(&options.never_masqueraded)?;
        let folder = pins.devices();
        fs::create_dir_all(&folder).map_err(file("making the folder", &folder))?;
        Ok(Self {
            options: options.clone(),
            constants,
            loaded,
            wire,
            devices: Devices::new(folder, options.without_tcx),
            endpoints,
            bypass: Bypass::open(pins)?,
            addresses: Addresses::open(pins)?,
            externals,
            announcements: Announcements::open(pins, options.uplink.as_deref())?,
            collector: Collector::open(pins)?,
            wire_folder: pins.wire(),
            policies: Policies::open(pins)?,
            judged: JudgedCollector::open(pins)?,
            tunnels: Tunnels::open(pins)?,
            attached: false,
        })
    }

    /// Loads the programs anew onto the tables of another generation, and puts them in the place of the old ones at every
    /// device.
    pub(crate) fn follow(&mut self, pins: &Pins) -> Result<(), Error> {
        self.loaded = Loaded::load(
            &self.options.object.read(Part::Packets)?,
            pins,
            &self.constants,
            self.options.talk,
        )?;
        self.devices.update_all(&mut self.loaded)
    }

    /// Attaches to the uplink, and puts the programs in the place of those that an earlier daemon left at pods' links.
    pub(crate) fn attach(&mut self) -> Result<(), Error> {
        self.devices.adopt(&mut self.loaded)?;
        self.attached = true;
        match &self.options.uplink {
            Some(uplink) => {
                self.devices.attach(&mut self.loaded, uplink, Side::Uplink, Present::Replaced)?;
                let method = self.devices.method();
                tracing::info!(
                    %uplink, ?method, masquerade = self.constants.masquerade,
                    "packets of the uplink are translated and redirected"
                );
            }
            None => tracing::info!(
                "no uplink is named (--uplink): Services are not answered from outside, nothing is masqueraded"
            ),
        }
        if self.wire.is_none() || !self.externals.any_on_wire() {
            return detach_wire(&self.wire_folder);
        }
        self.attach_wire()
    }

    /// Packets pass the program on the wire only where some Service asks for it; once there it stays while the daemon runs.
    fn attach_wire(&mut self) -> Result<(), Error> {
        let Some(wire) = &mut self.wire else { return Ok(()) };
        if wire.is_attached() || !self.attached || !self.externals.any_on_wire() {
            return Ok(());
        }
        // Whose program is there already, or whatever else the kernel says: tc does it all.
        if let Err(error) = wire.attach() {
            tracing::error!(
                error = chain(&error),
                "XDP is not attached to the uplink: Services are forwarded by tc"
            );
            return Ok(());
        }
        tracing::info!(
            mode = wire.status()?.mode,
            translation = wire.translates(),
            "packets from outside to backends on other nodes are sent on by XDP"
        );
        Ok(())
    }

    /// How programs are attached; `None` before the first.
    pub fn method(&self) -> Option<Method> {
        self.devices.method()
    }

    /// A pod's link is there: packets to its address go straight into it from now on.
    pub fn add_endpoint(&mut self, pod: &PodEndpoint) -> Result<(), Error> {
        let ifindex = self.devices.index(&pod.link)?;
        let present = if self.attached { Present::Replaced } else { Present::Stays };
        self.devices.attach(&mut self.loaded, &pod.link, Side::Pod, present)?;
        self.endpoints.put(pod, ifindex)
    }

    /// Sockets of the pod that has this link and lives in this namespace are not translated from now on, as long as it has it.
    pub fn bypass_sockets(&mut self, link: &str, netns: u64) -> Result<(), Error> {
        self.bypass.add(netns, link)
    }

    /// The pod that gets this link may send so fast out of the node: to be called before [`Self::add_endpoint`], once. The uplink has to keep
    /// times of departure. It lasts as long as the link.
    pub fn pace(&mut self, link: &str, bytes_per_s: u64) -> Result<(), Error> {
        let ifindex = self.devices.index(link)?;
        self.endpoints.paces.put(ifindex, bytes_per_s)
    }

    /// A pod's link is about to go.
    pub fn remove_endpoint(&mut self, pod: &PodEndpoint) -> Result<(), Error> {
        self.bypass.remove(&pod.link)?;
        self.endpoints.remove(pod.address)?;
        self.devices.forget(&pod.link, Side::Pod)
    }

    /// Exactly these pods are there. One whose link is gone is left out.
    pub fn replace_endpoints(&mut self, pods: &[PodEndpoint]) -> Result<(), Error> {
        let mut there = Vec::new();
        for pod in pods {
            match self.add_endpoint(pod) {
                Ok(()) => there.push(pod.address),
                Err(Error::NoDevice { name }) => {
                    tracing::warn!(link = name, address = %pod.address, "a pod's link is gone; its address is left out");
                }
                Err(error) => return Err(error),
            }
        }
        self.bypass.keep_only(pods.iter().map(|pod| &*pod.link))?;
        self.endpoints.keep_paces()?;
        let node = self.options.node_addresses.iter().copied().chain(self.tunnels.addresses());
        self.endpoints.keep_only(there.into_iter().chain(node))
    }

    /// Tunnels are exactly these. One whose device is gone is left out.
    pub fn set_tunnels(&mut self, devices: &[TunnelDevice]) -> Result<(), Error> {
        let mut there = BTreeSet::new();
        let before = self.devices.tunnels();
        for device in devices {
            // Before any packet is sent there: the answers to those of translated flows come back that way.
            match self.devices.attach(&mut self.loaded, &device.name, Side::Tunnel, Present::Replaced) {
                Err(Error::NoDevice { name }) => {
                    tracing::warn!(device = name, "a tunnel's device is gone");
                    continue;
                }
                other => other?,
            }
            let ifindex = self.devices.index(&device.name)?;
            self.endpoints.put_node(&device.addresses)?;
            self.tunnels.put(ifindex, device)?;
            there.insert(ifindex);
        }
        self.tunnels.keep_only(&there)?;
        for gone in before.iter().filter(|name| !devices.iter().any(|device| device.name == **name)) {
            self.devices.detach(gone, Side::Tunnel)?;
        }
        let gone = self.tunnels.remember(devices);
        let gone = gone.iter().filter(|address| !self.options.node_addresses.contains(address));
        gone.copied().try_for_each(|address| self.endpoints.remove(address))
    }

    /// From now on network policies decide; what is known of them comes with [`Self::replace_policies`]. Until then pods stay as an
    /// earlier daemon left them, and new ones are closed.
    pub fn enforce_policies(&mut self) -> Result<(), Error> {
        self.endpoints.enforce();
        self.policies.enforce()
    }

    /// Network policies are exactly these.
    pub fn replace_policies(&mut self, whole: &policy::Changes) -> Result<(), Error> {
        self.policies.replace(whole, &mut self.endpoints)
    }

    /// Takes the steps of a change of network policies. After an error the maps hold a part of it, which lets nothing pass that
    /// may not: call [`Self::replace_policies`].
    pub fn change_policies(&mut self, changes: &policy::Changes) -> Result<(), Error> {
        self.policies.change(changes, &mut self.endpoints)
    }

    /// Whether there is any policy: then pods may speak with their own addresses alone, and one that is not known yet is closed.
    pub fn require_own_sources(&mut self, wanted: bool) -> Result<(), Error> {
        self.endpoints.expect_policies(wanted);
        self.policies.own_sources(wanted)
    }

    /// Frontends inside the cluster changed: their addresses answer to echo.
    pub(crate) fn change(&mut self, gone: &[FrontendKey], wanted: &[Frontend]) -> Result<(), Error> {
        self.addresses.change(gone, wanted)
    }

    /// Exactly these frontends are there.
    pub(crate) fn replace(&mut self, wanted: &[Frontend]) -> Result<(), Error> {
        self.addresses.replace(wanted)
    }

    /// Exactly these frontends are reached from outside. Answers those for which there was no room.
    pub fn replace_external(
        &mut self,
        wanted: &[ExternalFrontend],
        grace: &GracePeriod,
    ) -> Result<Vec<FrontendKey>, Error> {
        let full = self.externals.replace(wanted, grace)?;
        self.attach_wire()?;
        Ok(full)
    }

    /// Answers on the uplink for exactly these load balancers' addresses.
    pub fn announce(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<(), Error> {
        self.announcements.replace(addresses)
    }

    /// Removes idle and stale flows from a slice of the table. How many flows the last whole round found.
    pub fn collect(&mut self) -> Result<FlowCount, Error> {
        self.judged.step()?;
        let (addresses, externals) = (&self.addresses, &self.externals);
        self.collector.step(|key, flow| {
            let translated = (key.destination, key.destination_port)
                != (flow.becomes.destination, flow.becomes.destination_port);
            // Of a direct flow the node that was asked knows the backends.
            let judged = flow.marks & (mark::REVERSE | mark::DIRECT) == 0;
            if key.protocol != protocol::UDP || !judged || !translated {
                return false;
            }
            let (address, port) = (key.destination.to_ip(), key.destination_port.number());
            let frontend = FrontendKey { address, port, protocol: Protocol::Udp };
            let (address, port) = (flow.becomes.destination.to_ip(), flow.becomes.destination_port.number());
            let backend = Backend::new(address, port);
            let leads_there = |backends: &[Backend]| backends.contains(&backend);
            !leads_there(addresses.udp_backends(&frontend)) && !leads_there(externals.backends(&frontend))
        })
    }

    /// What a program does with a packet on a device, for tests and tools. Nothing is sent.
    pub fn run(&self, program: &str, ifindex: u32, packet: &[u8]) -> Result<Ran, Error> {
        Ok(run_once(self.loaded.program(program)?, ifindex, packet)?)
    }

    /// What the program on the wire (`wire`), or one that does nothing (`pass`), does with a packet, for tests and tools.
    /// `None` where there is no such program. Nothing is sent.
    pub fn run_on_wire(&self, program: &str, packet: &[u8]) -> Result<Option<Ran>, Error> {
        self.wire.as_ref().map(|wire| wire.run(program, packet)).transpose()
    }

    /// Of the program on the wire; `None` where there is none.
    pub fn wire_status(&self) -> Result<Option<WireStatus>, Error> {
        self.wire.as_ref().map(Wire::status).transpose()
    }

    /// Kernel memory by map.
    pub(crate) fn memory_bytes(&self, pins: &Pins) -> Result<Vec<(&'static str, u64)>, Error> {
        let mut bytes = load::memory_bytes(pins)?;
        if self.wire.is_some() {
            bytes.extend(Wire::memory_bytes(pins)?);
        }
        Ok(bytes)
    }

    /// The folder of the devices' pins.
    pub fn pins(&self) -> &PathBuf {
        self.devices.folder()
    }
}

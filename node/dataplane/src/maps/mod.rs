//! The kernel side: loads the programs, adopts what is pinned, takes a ledger's steps, attaches.
//!
//! Everything blocks (some calls for milliseconds): an async caller keeps it off its workers. Owns the pins:
//! ```text
//! <bpffs>/keelson/<node>/links/<hook>               attached as long as it is pinned
//!                       /maps-<hash>-<scale>/<map>  made from the API's objects; one folder a layout and scale
//!                       /state/<map>-<version>      connections and the like, which outlive layouts
//! ```
//! Does not decide anything about a Service: that is `plan` and `ledger`.

mod attach;
mod generation;
mod lines;
pub(crate) mod object;
pub(crate) mod pins;
mod ports;
mod programs;
mod records;
mod remove;
mod tables;
mod talk;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use keelson_ebpf_common::{drop::Reason, layout, limits::SCALE_MAX};
use keelson_sys::bpf::GracePeriod;

pub use attach::Attached;
use generation::Generation;
pub use object::Object;
use object::Part;
use pins::Pins;
pub use records::{GoneTcp, ServingUdp, StaleTcp, StaleUdp};
pub use remove::remove_all;
pub(crate) use talk::Listener;
pub use talk::Talk;

use crate::{
    Error,
    flows::{Meter, Snapshot},
    ledger::{Capacity, Full},
    packet::{PacketOptions, Packets, WireStatus, ignore_bypass},
    plan::{ExternalFrontend, Frontend, FrontendKey},
};

/// Where the data plane of a node lives.
#[derive(Clone, Debug)]
pub struct Options {
    /// The node's name: its pins' folder.
    pub node: String,
    /// A mounted bpffs.
    pub bpffs: PathBuf,
    /// The cgroup v2 folder whose processes' sockets are translated.
    pub cgroup_root: PathBuf,
    /// The compiled programs.
    pub object: Object,
    /// What the per-packet programs are told; without it they are not there.
    pub packets: Option<PacketOptions>,
    /// Whether connections are measured.
    pub measure: bool,
    /// Whether the programs at sockets say what they decide.
    pub talk: Talk,
}

/// What a change did.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Applied {
    /// Whether the kernel's maps are different now.
    pub changed: bool,
    /// Frontends that stay as they were, for want of room.
    pub full: Vec<Full>,
}

/// The maps as they are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MapStatus {
    /// How large the tables are, from 0 to `keelson_ebpf_common::limits::SCALE_MAX`.
    pub scale: u32,
    /// Frontends programmed.
    pub frontends: usize,
    /// Backends programmed, over all frontends.
    pub backends: usize,
    /// Kernel memory by map.
    pub memory_bytes: Vec<(&'static str, u64)>,
    /// What programs decided against clients since the maps were made.
    pub drops: Vec<(Reason, u64)>,
    /// The program on the uplink's wire, where there is one.
    pub wire: Option<WireStatus>,
}

/// A wait for programs that may read what changes have left.
#[derive(Debug)]
pub struct Settling {
    number: u64,
    grace: Arc<GracePeriod>,
}

impl Settling {
    /// Returns when they have ended. Blocks for some milliseconds. If it fails, the changes wait for themselves.
    pub fn wait(&self) -> Result<(), Error> {
        Ok(self.grace.wait()?)
    }
}

/// The maps of one node, open.
#[derive(Debug)]
pub struct Dataplane {
    options: Options,
    grace: Arc<GracePeriod>,
    generation: Generation,
    packets: Option<Packets>,
    /// How often settling has begun: numbers that no two share, whatever becomes of the generation.
    settlings: u64,
    attached: bool,
}

impl Dataplane {
    /// Opens the programs' object, and makes or adopts the maps. Loads and attaches nothing yet: what another daemon attached
    /// keeps running as it was until [`Self::attach`].
    pub fn open(options: &Options) -> Result<Self, Error> {
        let pins = Pins::prepare(&options.bpffs, &options.node)?;
        let grace = Arc::new(GracePeriod::new()?);
        let object = options.object.read(Part::Sockets)?;
        let generation = Generation::open(&object, pins, (options.measure, options.talk), &grace)?;
        let packets = options.packets.as_ref().map(|packets| Packets::open(packets, generation.pins()));
        if packets.is_none() {
            ignore_bypass(generation.pins())?;
        }
        Ok(Self {
            options: options.clone(),
            grace,
            generation,
            packets: packets.transpose()?,
            settlings: 0,
            attached: false,
        })
    }

    /// Makes the kernel hold exactly `wanted`.
    pub fn replace(&mut self, wanted: &[Frontend]) -> Result<Applied, Error> {
        let applied = self.generation.replace(wanted, &self.grace)?;
        self.packets.as_mut().map_or(Ok(()), |packets| packets.replace(wanted))?;
        self.grow_for(applied, wanted)
    }

    /// Removes `gone`, makes `wanted` so, leaves everything else. After an error the kernel holds a part of it, each
    /// frontend whole: call [`Self::replace`].
    pub fn change(&mut self, gone: &[FrontendKey], wanted: &[Frontend]) -> Result<Applied, Error> {
        let applied = self.generation.change(gone, wanted, &self.grace)?;
        self.packets.as_mut().map_or(Ok(()), |packets| packets.change(gone, wanted))?;
        self.grow_for(applied, wanted)
    }

    /// Whether programs may still read what changes have left, so that later changes may have to wait for them. The wait can be
    /// made before, without this: then [`Self::settle`]. `None` as long as another is on its way.
    pub fn begin_settling(&mut self) -> Option<Settling> {
        let number = self.settlings;
        self.generation.begin_settling(number).then(|| {
            self.settlings += 1;
            Settling { number, grace: self.grace.clone() }
        })
    }

    /// To be called after [`Settling::wait`]. After an error the next change reads back what is there.
    pub fn settle(&mut self, settled: Settling) -> Result<(), Error> {
        self.generation.settle(settled.number)
    }

    /// Loads and attaches the programs, or puts them in the place of those that are attached; from then on the maps of other
    /// layouts and scales are dropped. Call it when the maps hold what they should.
    pub fn attach(&mut self) -> Result<Attached, Error> {
        let attached = self.generation.attach(&self.options.cgroup_root)?;
        if let Some(packets) = &mut self.packets {
            packets.attach()?;
        }
        self.attached = true;
        // Reading, relocating and verifying programs takes some tens of MiB that nobody needs any more.
        keelson_sys::memory::give_back();
        Ok(attached)
    }

    /// The per-packet programs, if there are any.
    pub fn packets(&mut self) -> Option<&mut Packets> {
        self.packets.as_mut()
    }

    /// Exactly these frontends are reached from outside; what has no room is answered. Nothing without packets' programs.
    pub fn replace_external(&mut self, wanted: &[ExternalFrontend]) -> Result<Vec<FrontendKey>, Error> {
        let Some(packets) = &mut self.packets else { return Ok(Vec::new()) };
        packets.replace_external(wanted, &self.grace)
    }

    /// Sizes, memory and counters, read from the kernel.
    pub fn status(&self) -> Result<MapStatus, Error> {
        let mut status = self.generation.status()?;
        if let Some(packets) = &self.packets {
            status.memory_bytes.extend(packets.memory_bytes(self.generation.pins())?);
            status.wire = packets.wire_status()?;
        }
        Ok(status)
    }

    /// What the programs measure. Its maps are state: they stay the same when tables grow.
    pub(crate) fn meter(&self) -> Result<Meter, Error> {
        Meter::open(|shape| self.generation.pins().map(shape))
    }

    /// Reads what is measured, of all frontends whosever they are: for those who drive the maps without an API.
    pub fn measured(&self) -> Result<Snapshot, Error> {
        Ok(self.meter()?.read()?.snapshot(|_, _, _| Some(0)))
    }

    /// Has what is measured from now on counted apart from what was before; see [`crate::flows`].
    pub fn begin_epoch(&self) -> Result<u32, Error> {
        self.meter()?.begin_epoch()
    }

    /// The pin of the flow stream's ring; an error when nothing is measured.
    pub(crate) fn ring(&self) -> Result<PathBuf, Error> {
        if !self.options.measure {
            return Err(Error::NotMeasured);
        }
        Ok(self.generation.pins().map(&layout::FLOWS))
    }

    /// A frontend as the kernel has it; `None` for one that it has not.
    pub fn frontend(&self, key: &FrontendKey) -> Option<Frontend> {
        self.generation.ledger().frontend(key)
    }

    /// Goes over to larger tables when what was left out has room there. Tables never shrink: a cluster that had so many
    /// Services may have them again, and a new daemon would still adopt what it finds.
    fn grow_for(&mut self, applied: Applied, wanted: &[Frontend]) -> Result<Applied, Error> {
        let scale = self.generation.pins().scale();
        if scale == SCALE_MAX || applied.full.iter().all(|full| full.at_any_scale) {
            return Ok(applied);
        }
        let held: Vec<_> = self.generation.ledger().content().collect();
        let mut all: BTreeMap<_, _> = held.iter().map(|f| (f.key, f.clone())).collect();
        all.extend(wanted.iter().map(|frontend| (frontend.key, frontend.clone())));
        let all: Vec<_> = all.into_values().collect();
        let pins = self.generation.pins().at_scale(Capacity::scale_for(&all, scale + 1))?;
        tracing::info!(from = scale, to = pins.scale(), frontends = all.len(), "going over to larger tables");
        let object = self.options.object.read(Part::Sockets)?;
        let mut next =
            Generation::open(&object, pins, (self.options.measure, self.options.talk), &self.grace)?;
        // What does not fit even there stays as it is here.
        next.replace(&held, &self.grace)?;
        let full = next.change(&[], wanted, &self.grace)?.full;
        if self.attached {
            next.attach(&self.options.cgroup_root)?;
        }
        if let Some(packets) = &mut self.packets {
            packets.follow(next.pins())?;
        }
        self.generation = next;
        Ok(Applied { changed: true, full })
    }
}

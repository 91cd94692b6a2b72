//! The kernel side: loads the programs, adopts what is pinned, takes a ledger's steps, attaches.
//!
//! Everything blocks (some calls for milliseconds): an async caller keeps it off its workers. Owns the pins:
//! ```text
//! <bpffs>/keelson/<node>/links/<hook>          attached as long as it is pinned
//!                       /maps-<hash>/<map>     made from the API's objects; one folder a layout
//!                       /state/<map>-<version> connections and the like, which outlive layouts
//! ```
//! Does not decide anything about a Service: that is `plan` and `ledger`.

mod attach;
mod object;
mod pins;
mod programs;
mod remove;
mod tables;

use std::path::PathBuf;

use keelson_ebpf_common::drop::Reason;
use keelson_sys::bpf::GracePeriod;

pub use attach::Attached;
pub use object::Object;
use pins::Pins;
use programs::Programs;
pub use remove::remove_all;
use tables::Tables;

use crate::{
    Error,
    ledger::{Capacity, Full, Ledger, Steps},
    plan::{Frontend, FrontendKey},
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
    /// Frontends programmed.
    pub frontends: usize,
    /// Backends programmed, over all frontends.
    pub backends: usize,
    /// Kernel memory by map.
    pub memory_bytes: Vec<(&'static str, u64)>,
    /// What programs decided against clients since the maps were made.
    pub drops: Vec<(Reason, u64)>,
}

/// The maps of one node, open.
#[derive(Debug)]
pub struct Dataplane {
    pins: Pins,
    cgroup_root: PathBuf,
    programs: Programs,
    tables: Tables,
    ledger: Ledger,
    grace: GracePeriod,
    /// A step failed half-way: the ledger does not know what is in the kernel.
    torn: bool,
}

impl Dataplane {
    /// Loads the programs, and makes or adopts the maps. Attaches nothing yet: what another daemon attached keeps
    /// running as it was until [`Self::attach`].
    pub fn open(options: &Options) -> Result<Self, Error> {
        let object = options.object.read()?;
        let pins = Pins::prepare(&options.bpffs, &options.node)?;
        let programs = Programs::load(&object, &pins)?;
        let tables = Tables::open(&pins)?;
        let mut dataplane = Self {
            pins,
            cgroup_root: options.cgroup_root.clone(),
            programs,
            tables,
            ledger: Ledger::new(Capacity::default()),
            grace: GracePeriod::new()?,
            torn: false,
        };
        dataplane.adopt()?;
        Ok(dataplane)
    }

    /// Makes the kernel hold exactly `wanted`.
    pub fn replace(&mut self, wanted: &[Frontend]) -> Result<Applied, Error> {
        self.mend()?;
        let steps = self.ledger.replace(wanted);
        self.take(steps)
    }

    /// Removes `gone`, makes `wanted` so, leaves everything else. After an error the kernel holds a part of it, each
    /// frontend whole: call [`Self::replace`].
    pub fn change(&mut self, gone: &[FrontendKey], wanted: &[Frontend]) -> Result<Applied, Error> {
        self.mend()?;
        let steps = self.ledger.change(gone, wanted);
        self.take(steps)
    }

    /// Attaches the programs, or puts them in the place of those that are attached; from then on the maps of other
    /// layouts are dropped. Call it when the maps hold what they should.
    pub fn attach(&mut self) -> Result<Attached, Error> {
        let attached = attach::attach(&self.programs, &self.pins, &self.cgroup_root)?;
        self.pins.finish_migration()?;
        self.pins.drop_other_layouts()?;
        Ok(attached)
    }

    /// Sizes, memory and counters, read from the kernel.
    pub fn status(&self) -> Result<MapStatus, Error> {
        Ok(MapStatus {
            frontends: self.ledger.frontends(),
            backends: self.ledger.backends(),
            memory_bytes: self.tables.memory_bytes()?,
            drops: self.tables.drops()?,
        })
    }

    fn mend(&mut self) -> Result<(), Error> {
        if self.torn { self.adopt() } else { Ok(()) }
    }

    fn adopt(&mut self) -> Result<(), Error> {
        // Whoever wrote before us may have removed something that a program still reads.
        self.grace.wait()?;
        let (found, members) = self.tables.read_back()?;
        let (ledger, steps) = Ledger::adopt(Capacity::default(), found, &members);
        self.ledger = ledger;
        self.torn = false;
        self.take(steps)?;
        Ok(())
    }

    fn take(&mut self, steps: Steps) -> Result<Applied, Error> {
        let changed = !steps.is_empty();
        self.torn = true;
        for (i, round) in steps.rounds.iter().enumerate() {
            if i > 0 {
                self.grace.wait()?;
            }
            self.tables.take(round)?;
        }
        self.torn = false;
        Ok(Applied { changed, full: steps.full })
    }
}

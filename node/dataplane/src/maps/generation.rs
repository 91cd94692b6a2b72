//! The tables at one scale, the programs that read them, and the book of what they hold.
//!
//! Tables grow by a generation: the next one is filled beside the one in use, then every hook's program is replaced
//! by one that reads it. Does not decide when: that is [`super::Dataplane`].

use std::path::Path;

use keelson_sys::bpf::GracePeriod;

use super::{
    Applied, MapStatus, Talk,
    attach::{self, Attached},
    pins::Pins,
    programs::Programs,
    tables::Tables,
};
use crate::{
    Error,
    ledger::{Capacity, Ledger, Steps},
    plan::{Frontend, FrontendKey},
};

/// Open maps, and programs that are loaded when they are attached.
#[derive(Debug)]
pub(super) struct Generation {
    pins: Pins,
    programs: Programs,
    tables: Tables,
    ledger: Ledger,
    /// A step failed half-way: the ledger does not know what is in the kernel.
    torn: bool,
}

impl Generation {
    /// Opens the programs' object, and makes or adopts the maps.
    pub(super) fn open(
        object: &[u8],
        pins: Pins,
        (measure, talk): (bool, Talk),
        grace: &GracePeriod,
    ) -> Result<Self, Error> {
        let programs = Programs::open(object, &pins, measure, talk)?;
        let tables = Tables::open(&pins)?;
        let ledger = Ledger::new(Capacity::at(pins.scale()));
        let torn = !pins.fresh();
        let mut generation = Self { pins, programs, tables, ledger, torn };
        generation.mend(grace)?;
        Ok(generation)
    }

    pub(super) fn pins(&self) -> &Pins {
        &self.pins
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Makes the kernel hold exactly `wanted`.
    pub(super) fn replace(&mut self, wanted: &[Frontend], grace: &GracePeriod) -> Result<Applied, Error> {
        self.mend(grace)?;
        let steps = self.ledger.replace(wanted);
        self.take(steps, grace)
    }

    /// Removes `gone`, makes `wanted` so, leaves everything else.
    pub(super) fn change(
        &mut self,
        gone: &[FrontendKey],
        wanted: &[Frontend],
        grace: &GracePeriod,
    ) -> Result<Applied, Error> {
        self.mend(grace)?;
        let steps = self.ledger.change(gone, wanted);
        self.take(steps, grace)
    }

    /// See [`Ledger::begin_settling`]; never while it is not known what the kernel holds.
    pub(super) fn begin_settling(&mut self, number: u64) -> bool {
        !self.torn && self.ledger.begin_settling(number)
    }

    /// See [`Ledger::settle`]. After an error the next change reads back what is there.
    pub(super) fn settle(&mut self, number: u64) -> Result<(), Error> {
        if self.torn {
            return Ok(());
        }
        let steps = self.ledger.settle(number);
        self.torn = true;
        steps.rounds.iter().try_for_each(|round| self.tables.take(round))?;
        self.torn = false;
        Ok(())
    }

    /// Loads the programs and puts them at their hooks, in the place of those that are there, and drops every other generation.
    pub(super) fn attach(&mut self, cgroup_root: &Path) -> Result<Attached, Error> {
        self.programs.load()?;
        let attached = attach::attach(&self.programs, &self.pins, cgroup_root)?;
        self.pins.finish_migration()?;
        self.pins.drop_others()?;
        Ok(attached)
    }

    pub(super) fn status(&self) -> Result<MapStatus, Error> {
        Ok(MapStatus {
            scale: self.pins.scale(),
            frontends: self.ledger.frontends(),
            backends: self.ledger.backends(),
            memory_bytes: self.tables.memory_bytes()?,
            drops: self.tables.drops()?,
            wire: None,
        })
    }

    /// Reads back what the kernel holds, unless that is known.
    fn mend(&mut self, grace: &GracePeriod) -> Result<(), Error> {
        if !self.torn {
            return Ok(());
        }
        // Whoever wrote before us may have removed something that a program still reads.
        grace.wait()?;
        let found = self.tables.read_back()?;
        let (ledger, steps) = Ledger::adopt(Capacity::at(self.pins.scale()), found);
        self.ledger = ledger;
        self.take(steps, grace)?;
        Ok(())
    }

    fn take(&mut self, steps: Steps, grace: &GracePeriod) -> Result<Applied, Error> {
        let changed = !steps.is_empty();
        self.torn = true;
        for (i, round) in steps.rounds.iter().enumerate() {
            if i > 0 {
                grace.wait()?;
            }
            self.tables.take(round)?;
        }
        self.torn = false;
        Ok(Applied { changed, full: steps.full })
    }
}

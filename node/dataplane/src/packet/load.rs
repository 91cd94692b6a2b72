//! The programs from the object file onto the pinned maps.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd},
};

use aya::{Ebpf, EbpfLoader, programs::SchedClassifier};
use keelson_ebpf_common::{
    layout::{self, Shape},
    packet::global,
};
use keelson_sys::bpf::Map;

use super::settings::Constants;
use crate::{
    Error,
    maps::{
        Listener, Talk,
        pins::{Pins, fits},
    },
};

/// Names in the object.
pub(super) const PROGRAMS: [&str; 4] = ["from_pod", "to_pod", "from_uplink", "to_uplink"];

/// Loaded programs. Kept whole, as clsact filters are attached through them.
pub(super) struct Loaded {
    ebpf: Ebpf,
    _listener: Option<Listener>,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(PROGRAMS).finish()
    }
}

impl Loaded {
    pub(super) fn load(object: &[u8], pins: &Pins, constants: &Constants, talk: Talk) -> Result<Self, Error> {
        let (mut loader, scale) = (EbpfLoader::new(), pins.scale());
        loader.override_global(layout::SCALE, &scale, true);
        loader.override_global(global::NODE4, &constants.node4, true);
        loader.override_global(global::NODE6, &constants.node6, true);
        loader.override_global(global::UPLINK, &constants.uplink, true);
        loader.override_global(global::PORTS_FIRST, &constants.ports_first, true);
        loader.override_global(global::PORTS_COUNT, &constants.ports_count, true);
        loader.override_global(global::MASQUERADE, &constants.masquerade, true);
        loader.override_global(global::FOREIGN_PODS, &constants.foreign_pods, true);
        talk.prepare(&mut loader);
        for shape in pins.shapes().chain(layout::PACKET_MAPS) {
            loader.map_pin_path(shape.name, pins.map(&shape));
            loader.map_max_entries(shape.name, shape.max_entries);
        }
        let mut ebpf = loader.load(object).map_err(Box::new)?;
        for shape in &layout::PACKET_MAPS {
            let map = open(pins, shape)?;
            if !fits(shape, map.info()) {
                let (found, wanted) = (format!("{:?}", map.info()), format!("{shape:?}"));
                return Err(Error::Shape { name: shape.name, found, wanted });
            }
        }
        for name in PROGRAMS {
            let program = classifier(&mut ebpf, name)?;
            program.load().map_err(|source| Error::Program { name, source: Box::new(source) })?;
        }
        Ok(Self { _listener: talk.listen(&mut ebpf)?, ebpf })
    }

    /// A program's descriptor.
    pub(super) fn program(&self, name: &str) -> Result<BorrowedFd<'_>, Error> {
        let known = PROGRAMS.iter().find(|known| **known == name);
        let missing = Error::Missing { what: "program", name: known.copied().unwrap_or("of that name") };
        let program = self.ebpf.program(name).and_then(|program| program.fd().ok()).ok_or(missing)?;
        Ok(program.as_fd())
    }

    /// A program as aya has it.
    pub(super) fn classifier(&mut self, name: &'static str) -> Result<&mut SchedClassifier, Error> {
        classifier(&mut self.ebpf, name)
    }
}

fn classifier<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut SchedClassifier, Error> {
    let program = ebpf.program_mut(name).ok_or(Error::Missing { what: "program", name })?;
    program.try_into().map_err(|source| Error::Program { name, source: Box::new(source) })
}

/// Opens a pinned map.
pub(super) fn open(pins: &Pins, shape: &Shape) -> Result<Map, Error> {
    Map::open_pinned(&pins.map(shape))?.ok_or(Error::Missing { what: "map", name: shape.name })
}

/// Kernel memory by map.
pub(super) fn memory_bytes(pins: &Pins) -> Result<Vec<(&'static str, u64)>, Error> {
    layout::PACKET_MAPS.iter().map(|shape| Ok((shape.name, open(pins, shape)?.memory_bytes()?))).collect()
}

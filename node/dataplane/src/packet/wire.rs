//! The program on the uplink's wire (XDP): loaded, attached by one pinned link, updated in place, taken away.
//!
//! ```text
//! <bpffs>/keelson/<node>/wire/<device>-<native or generic>   the link
//! ```
//! In the driver where it can (native), else in the kernel's generic receive path; the pin's name tells which. It is sped-up
//! work of the programs at tc: without it everything works by them.

use std::{
    fmt, fs, io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use aya::{Ebpf, EbpfLoader, programs::Xdp};
use keelson_ebpf_common::{
    layout::{self, Shape},
    limits::{KNOWN_LINES, KNOWN_LINES_MAX, KNOWN6_LINES_MIN},
    packet::global,
    wire::{self, Verdict},
};
use keelson_sys::{
    bpf::{self, AttachType, Link, Map, Ran, XdpMode, run_once_on_wire},
    net::{driver, link_index},
};
use zerocopy::IntoBytes;

use super::{load::open, settings::Constants};
use crate::{
    Error,
    maps::{
        Listener, Talk,
        pins::{Pins, file, fits, subfolders},
    },
};

/// Names in the object: what is attached in a driver, what in the generic path, and what measures a run of nothing.
const PROGRAMS: [&str; 3] = ["wire", "wire_generic", "pass"];

/// What the program on the wire is told.
#[derive(Clone, Copy, Debug)]
pub struct WireOptions {
    /// Attach in the kernel's generic receive path even where the driver can.
    pub without_native: bool,
    /// Lines of three known flows each, 64 bytes, and as many of one flow of IPv6 where the node has an address of it; a power of
    /// two, 2^19 at most.
    pub known_lines: u32,
    /// Whether packets get the node's address here, too.
    pub translation: Translation,
}

/// Where packets to Services that are not answered directly are translated, and the answers to them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Translation {
    /// On the wire, unless the uplink is one whose packets may come without their checksums: a link to somebody on the same
    /// machine ([`MAY_LACK_CHECKSUMS`]).
    #[default]
    Auto,
    /// On the wire: who is at the other end makes checksums.
    Wire,
    /// At tc alone.
    Tc,
}

/// Drivers of links on which checksums may be left to a device, which is invisible to XDP: answers of pods on the same machine
/// would be spoilt.
const MAY_LACK_CHECKSUMS: [&str; 5] = ["veth", "netkit", "bridge", "tun", "dummy"];

impl Translation {
    /// Whether the program on this uplink's wire translates. A device that does not say what it is does not.
    fn on_wire(self, uplink: &str) -> Result<bool, Error> {
        match self {
            Self::Wire => Ok(true),
            Self::Tc => Ok(false),
            Self::Auto => {
                let found = driver(uplink).map_err(file("asking for the driver of", Path::new(uplink)))?;
                Ok(found.is_some_and(|name| !MAY_LACK_CHECKSUMS.contains(&name.as_str())))
            }
        }
    }
}

impl Default for WireOptions {
    fn default() -> Self {
        Self { without_native: false, known_lines: KNOWN_LINES, translation: Translation::Auto }
    }
}

/// Where the program on the wire runs, and what it did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WireStatus {
    /// `native`, `generic`; `idle` while no Service asks for it: nothing is attached then; `refused` where the
    /// kernel does not let us: the log says why, and it is tried again when Services change.
    pub mode: &'static str,
    /// Packets by what became of them.
    pub verdicts: Vec<(Verdict, u64)>,
}

/// The loaded program and its device.
pub(super) struct Wire {
    ebpf: Ebpf,
    verdicts: Map,
    folder: PathBuf,
    options: WireOptions,
    translates: bool,
    uplink: String,
    mode: Option<XdpMode>,
    refused: bool,
    _listener: Option<Listener>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("uplink", &self.uplink).field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Wire {
    /// Loads the programs onto the tables of those at tc, and adopts or makes their own. Attaches nothing.
    pub(super) fn open(
        object: &[u8],
        pins: &Pins,
        uplink: &str,
        constants: &Constants,
        (options, talk): (WireOptions, Talk),
    ) -> Result<Self, Error> {
        let lines = options.known_lines;
        if !lines.is_power_of_two() || !(2..=KNOWN_LINES_MAX).contains(&lines) {
            return Err(Error::KnownLines { lines });
        }
        let lines6 = if constants.node6 == [0; 4] { KNOWN6_LINES_MIN } else { lines.max(KNOWN6_LINES_MIN) };
        let known = Shape { max_entries: lines, ..layout::KNOWN };
        let known6 = Shape { max_entries: lines6, ..layout::KNOWN6 };
        // A table of another size is forgotten, and with it which flows a change of backends does not move.
        for known in [known, known6] {
            let path = pins.map(&known);
            if Map::open_pinned(&path)?.is_some_and(|map| !fits(&known, map.info())) {
                bpf::unpin(&path)?;
            }
        }
        let (mut loader, mask, mask6) = (EbpfLoader::new(), lines - 1, lines6 - 1);
        let translates = options.translation.on_wire(uplink)?;
        let translates_word = u32::from(translates);
        loader.override_global(global::NODE4, &constants.node4, true);
        loader.override_global(global::NODE6, &constants.node6, true);
        loader.override_global(global::UPLINK, &constants.uplink, true);
        loader.override_global(global::PORTS_FIRST, &constants.ports_first, true);
        loader.override_global(global::PORTS_COUNT, &constants.ports_count, true);
        loader.override_global(wire::global::KNOWN_MASK, &mask, true);
        loader.override_global(wire::global::KNOWN6_MASK, &mask6, true);
        loader.override_global(wire::global::TRANSLATES, &translates_word, true);
        talk.prepare(&mut loader);
        let own = layout::WIRE_MAPS.map(|shape| match shape {
            layout::KNOWN => known,
            layout::KNOWN6 => known6,
            other => other,
        });
        for shape in own.into_iter().chain(layout::PACKET_MAPS).chain([layout::DROPS]) {
            loader.map_pin_path(shape.name, pins.map(&shape));
            loader.map_max_entries(shape.name, shape.max_entries);
        }
        let mut ebpf = loader.load(object).map_err(Box::new)?;
        for shape in &own {
            let map = open(pins, shape)?;
            if !fits(shape, map.info()) {
                let (found, wanted) = (format!("{:?}", map.info()), format!("{shape:?}"));
                return Err(Error::Shape { name: shape.name, found, wanted });
            }
        }
        for name in PROGRAMS {
            let failed = |source| Error::Program { name, source: Box::new(source) };
            let program = ebpf.program_mut(name).ok_or(Error::Missing { what: "program", name })?;
            let program: &mut Xdp = program.try_into().map_err(failed)?;
            program.load().map_err(failed)?;
        }
        let listener = talk.listen(&mut ebpf)?;
        let (verdicts, folder) = (open(pins, &layout::VERDICTS)?, pins.wire());
        let uplink = uplink.to_owned();
        Ok(Self {
            ebpf,
            verdicts,
            folder,
            options,
            translates,
            uplink,
            mode: None,
            refused: false,
            _listener: listener,
        })
    }

    /// Whether packets get the node's address here, too.
    pub(super) fn translates(&self) -> bool {
        self.translates
    }

    /// Attaches to the uplink, or takes the place of what an earlier daemon left there. What is on another device, or where
    /// it is not wanted any more, is detached.
    pub(super) fn attach(&mut self) -> Result<(), Error> {
        self.mode = None;
        self.refused = true;
        self.mode = Some(self.attach_link()?);
        self.refused = false;
        Ok(())
    }

    fn attach_link(&self) -> Result<XdpMode, Error> {
        fs::create_dir_all(&self.folder).map_err(file("making the folder", &self.folder))?;
        let ifindex = link_index(&self.uplink)
            .map_err(file("looking up the device", Path::new(&self.uplink)))?
            .ok_or_else(|| Error::NoDevice { name: self.uplink.clone() })?;
        if let Some(mode) = self.adopt(ifindex)? {
            return Ok(mode);
        }
        let modes = [XdpMode::Native, XdpMode::Generic];
        for mode in modes.into_iter().skip(usize::from(self.options.without_native)) {
            let program = self.program(program_for(mode))?;
            let Some(link) = Link::attach_xdp(program, ifindex, mode)? else { continue };
            link.pin(&self.pin(mode))?;
            return Ok(mode);
        }
        Err(Error::NoWire { device: self.uplink.clone() })
    }

    pub(super) fn is_attached(&self) -> bool {
        self.mode.is_some()
    }

    /// Updates the link that is there, if it is where it should be; detaches every other.
    fn adopt(&self, ifindex: u32) -> Result<Option<XdpMode>, Error> {
        let mut adopted = None;
        for pin in subfolders(&self.folder)? {
            let mode = [XdpMode::Native, XdpMode::Generic].into_iter().find(|mode| pin == self.pin(*mode));
            let wanted = mode.filter(|mode| !(self.options.without_native && *mode == XdpMode::Native));
            match (Link::open_pinned(&pin)?, wanted) {
                (Some(link), Some(mode)) if joins(&link, ifindex) => {
                    link.update(self.program(program_for(mode))?)?;
                    adopted = Some(mode);
                }
                (link, _) => {
                    link.map_or(Ok(()), |link| detach(&link))?;
                    bpf::unpin(&pin)?;
                }
            }
        }
        Ok(adopted)
    }

    fn pin(&self, mode: XdpMode) -> PathBuf {
        // bpffs takes no dots in names; no device's name has a slash, which `%` stands for.
        self.folder.join(format!("{}-{}", self.uplink.replace('.', "%"), name(mode)))
    }

    /// A program's descriptor.
    fn program(&self, name: &'static str) -> Result<BorrowedFd<'_>, Error> {
        let program = self.ebpf.program(name).and_then(|program| program.fd().ok());
        Ok(program.ok_or(Error::Missing { what: "program", name })?.as_fd())
    }

    /// What a program does with a packet. Nothing is sent.
    pub(super) fn run(&self, program: &str, packet: &[u8]) -> Result<Ran, Error> {
        let name = PROGRAMS.into_iter().find(|name| *name == program);
        let name = name.ok_or(Error::Missing { what: "program", name: "of that name" })?;
        Ok(run_once_on_wire(self.program(name)?, packet)?)
    }

    pub(super) fn status(&self) -> Result<WireStatus, Error> {
        let count = |verdict: Verdict| {
            let values = self.verdicts.lookup((verdict as u32).as_bytes())?;
            let values = values.ok_or(Error::Missing { what: "whole map", name: "VERDICTS" })?;
            let (cpus, _) = values.as_chunks::<8>();
            Ok::<_, Error>((verdict, cpus.iter().map(|bytes| u64::from_ne_bytes(*bytes)).sum()))
        };
        let verdicts = Verdict::ALL.into_iter().map(count).collect::<Result<_, _>>()?;
        Ok(WireStatus {
            mode: self.mode.map_or(if self.refused { "refused" } else { "idle" }, name),
            verdicts,
        })
    }

    /// Kernel memory by map.
    pub(super) fn memory_bytes(pins: &Pins) -> Result<Vec<(&'static str, u64)>, Error> {
        layout::WIRE_MAPS.iter().map(|shape| Ok((shape.name, open(pins, shape)?.memory_bytes()?))).collect()
    }
}

const fn program_for(mode: XdpMode) -> &'static str {
    match mode {
        XdpMode::Native => PROGRAMS[0],
        XdpMode::Generic => PROGRAMS[1],
    }
}

const fn name(mode: XdpMode) -> &'static str {
    match mode {
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
    }
}

fn joins(link: &Link, ifindex: u32) -> bool {
    let info = link.device_info().ok().flatten();
    info.is_some_and(|info| info.ifindex == ifindex && info.attach_type == AttachType::Xdp as u32)
}

/// A link whose device is gone is detached already.
fn detach(link: &Link) -> Result<(), Error> {
    match link.device_info()? {
        Some(info) if info.ifindex != 0 => Ok(link.detach()?),
        _ => Ok(()),
    }
}

/// Detaches what is pinned in a folder, and removes it. Absent is fine.
pub(crate) fn detach_wire(folder: &Path) -> Result<(), Error> {
    for pin in subfolders(folder)? {
        if let Some(link) = Link::open_pinned(&pin)? {
            detach(&link)?;
        }
        bpf::unpin(&pin)?;
    }
    match fs::remove_dir(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(file("removing the folder", folder)(e)),
        _ => Ok(()),
    }
}

//! The folder of pins: what is there, whether it fits, what is copied and dropped.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use keelson_ebpf_common::{
    layout::{self, Keeping, Shape},
    limits::SCALE_MAX,
    value::ConnectionSlot,
};
use keelson_sys::bpf::{self, BpfError, Map, MapInfo, SharedArray};
use zerocopy::{FromBytes, IntoBytes};

use super::lines::Lines;
use crate::Error;

/// Suffix of a state map of another size whose elements are being copied. bpffs allows no dots.
const OUTGROWN: &str = "-outgrown";
/// The wire's known flows, a family each.
const KNOWN_FLOWS: [Shape; 2] = [layout::KNOWN, layout::KNOWN6];
/// Name of the folder of the pins of devices' programs.
pub(crate) const DEVICES: &str = "devices";
/// Name of the folder of the pin of the program on the uplink's wire.
pub(crate) const WIRE: &str = "wire";

/// The pins of one node, with the tables at one scale.
#[derive(Debug)]
pub(crate) struct Pins {
    root: PathBuf,
    scale: u32,
    /// There were no tables of this layout and scale: nobody has written them, and no program has read them.
    fresh: bool,
}

impl Pins {
    /// Makes the folders, and puts out of the way what cannot be adopted as it is. The scale is that of the tables
    /// that are there: of two, which a daemon leaves that dies while it makes them anew, the larger.
    pub(crate) fn prepare(bpffs: &Path, node: &str) -> Result<Self, Error> {
        if !bpf::is_bpffs(bpffs)? {
            return Err(Error::NoBpffs { path: bpffs.into() });
        }
        let root = root(bpffs, node)?;
        let there = (0..=SCALE_MAX).rev().find(|&scale| root.join(config_name(scale)).exists());
        Self::at(root, there.unwrap_or(0))
    }

    /// As [`Self::prepare`], for tables of another scale.
    pub(crate) fn at_scale(&self, scale: u32) -> Result<Self, Error> {
        Self::at(self.root.clone(), scale)
    }

    fn at(root: PathBuf, scale: u32) -> Result<Self, Error> {
        let fresh = !root.join(config_name(scale)).exists();
        let pins = Self { root, scale, fresh };
        for folder in [pins.links(), pins.config(), pins.state()] {
            fs::create_dir_all(&folder).map_err(file("making the folder", &folder))?;
        }
        pins.set_aside_misfits()?;
        let frontends4 = layout::FRONTENDS4.at(scale);
        if !pins.map(&frontends4).exists() {
            Lines::make(&pins.map(&frontends4), &frontends4)?;
        }
        Ok(pins)
    }

    pub(crate) fn scale(&self) -> u32 {
        self.scale
    }

    /// Whether the tables made from the API's objects are empty and nobody's yet.
    pub(crate) fn fresh(&self) -> bool {
        self.fresh
    }

    /// The maps of the socket programs, as they are at this scale.
    pub(crate) fn shapes(&self) -> impl Iterator<Item = Shape> {
        layout::MAPS.into_iter().map(|shape| shape.at(self.scale))
    }

    /// Those of the per-packet programs too, whether those run or not: their state outlives a daemon without them.
    fn all_shapes(&self) -> impl Iterator<Item = Shape> {
        self.shapes().chain(layout::PACKET_MAPS).chain(
            // A node says how large these are, and they are caches: of another size they are made anew where they are opened.
            layout::WIRE_MAPS.into_iter().filter(|shape| !KNOWN_FLOWS.contains(shape)),
        )
    }

    /// The folder of the pins of devices' programs.
    pub(crate) fn devices(&self) -> PathBuf {
        self.root.join(DEVICES)
    }

    /// The folder of the pin of the program on the uplink's wire.
    pub(crate) fn wire(&self) -> PathBuf {
        self.root.join(WIRE)
    }

    pub(crate) fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    fn config(&self) -> PathBuf {
        self.root.join(config_name(self.scale))
    }

    /// The pin of a map.
    pub(crate) fn map(&self, shape: &Shape) -> PathBuf {
        match shape.keeping {
            Keeping::Config => self.config().join(shape.name),
            Keeping::State(version) => self.state().join(format!("{}-{version}", shape.name)),
        }
    }

    fn outgrown(&self, shape: &Shape) -> PathBuf {
        let mut path = self.map(shape).into_os_string();
        path.push(OUTGROWN);
        path.into()
    }

    /// Type, key, value, size and flags are compared before anything is adopted. Maps made from the API's objects refer to
    /// each other: if one does not fit, all go (the attached programs hold theirs until they are replaced). A state
    /// map of another size is renamed and copied later; one of another type has nothing that can be read.
    fn set_aside_misfits(&self) -> Result<(), Error> {
        let mut misfit = false;
        for shape in self.all_shapes() {
            let path = self.map(&shape);
            let Some(found) = Map::open_pinned(&path)? else { continue };
            if fits(&shape, found.info()) {
                continue;
            }
            tracing::warn!(map = shape.name, found = ?found.info(), "a pinned map does not fit and is not adopted");
            let same_elements = MapInfo { max_entries: shape.max_entries, ..found.info() };
            match shape.keeping {
                Keeping::Config => misfit = true,
                Keeping::State(_) if fits(&shape, same_elements) => {
                    let aside = self.outgrown(&shape);
                    fs::rename(&path, &aside).map_err(file("renaming the pin", &path))?;
                }
                Keeping::State(_) => bpf::unpin(&path)?,
            }
        }
        if misfit {
            for shape in layout::MAPS.iter().filter(|shape| shape.keeping == Keeping::Config) {
                bpf::unpin(&self.map(shape))?;
            }
        }
        Ok(())
    }

    /// Copies what outgrown state maps hold; an element that the new map has already is younger and stays.
    pub(crate) fn migrate(&self) -> Result<(), Error> {
        for shape in &self.all_shapes().collect::<Vec<_>>() {
            let Some(old) = Map::open_pinned(&self.outgrown(shape))? else { continue };
            tracing::info!(map = shape.name, "copying state to a map of another size");
            let copied = if *shape == layout::CONNECTIONS {
                self.copy_slots(&old)
            } else {
                let Some(new) = Map::open_pinned(&self.map(shape))? else { continue };
                copy_elements(&old, &new)
            };
            if let Err(error) = copied {
                // A smaller map may not take all: those sockets lose their reverse translation, nothing else.
                tracing::warn!(map = shape.name, %error, "not all state was copied");
            }
        }
        Ok(())
    }

    /// A cookie's slot depends on how many there are. All go to the spilled ones: programs may be claiming slots.
    fn copy_slots(&self, old: &Map) -> Result<(), BpfError> {
        let (Some(slots), Some(spilled)) = (
            Map::open_pinned(&self.map(&layout::CONNECTIONS))?,
            Map::open_pinned(&self.map(&layout::CONNECTIONS_SPILLED))?,
        ) else {
            return Ok(());
        };
        let mut slots = SharedArray::new(slots);
        let entries = old.entries()?;
        let found = entries.values.chunks_exact(size_of::<ConnectionSlot>());
        for slot in found.filter_map(|bytes| ConnectionSlot::read_from_bytes(bytes).ok()) {
            if slot.cookie != 0 {
                spilled.insert_absent(slot.cookie.as_bytes(), slot.record.as_bytes())?;
                let at = ConnectionSlot::index(slot.cookie) as usize * size_of::<ConnectionSlot>();
                slots.store_u32(at + core::mem::offset_of!(ConnectionSlot, spilled), 1)?;
            }
        }
        Ok(())
    }

    /// Copies once more, now that no program writes to the outgrown maps, and drops them.
    pub(crate) fn finish_migration(&self) -> Result<(), Error> {
        self.migrate()?;
        for shape in self.all_shapes() {
            bpf::unpin(&self.outgrown(&shape))?;
        }
        Ok(())
    }

    /// Drops the maps of every other layout and scale, and state in versions that nobody reads any more.
    pub(crate) fn drop_others(&self) -> Result<(), Error> {
        for folder in subfolders(&self.root)? {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("maps-") && name != config_name(self.scale) {
                tracing::info!(%name, "dropping the maps of another layout or scale");
                remove_folder(&folder)?;
            }
        }
        let ours: Vec<_> = self.all_shapes().chain(KNOWN_FLOWS).map(|shape| self.map(&shape)).collect();
        for state in subfolders(&self.state())?.iter().filter(|path| !ours.contains(path)) {
            tracing::info!(path = %state.display(), "dropping state of another layout");
            bpf::unpin(state)?;
        }
        Ok(())
    }
}

fn copy_elements(old: &Map, new: &Map) -> Result<(), BpfError> {
    let (entries, info) = (old.entries()?, old.info());
    let keys = entries.keys.chunks_exact(info.key_size as usize);
    let values = entries.values.chunks_exact(info.value_size as usize);
    keys.zip(values).try_for_each(|(key, value)| new.insert_absent(key, value).map(|_| ()))
}

/// `<bpffs>/keelson/<node>`. bpffs allows no dots in names; no node's name has an underscore.
pub(crate) fn root(bpffs: &Path, node: &str) -> Result<PathBuf, Error> {
    let valid = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'.';
    if node.is_empty() || node.len() > 253 || !node.bytes().all(valid) {
        return Err(Error::NodeName { name: node.into() });
    }
    Ok(bpffs.join("keelson").join(node.replace('.', "_")))
}

fn config_name(scale: u32) -> String {
    format!("maps-{:016x}-{scale}", layout::CONFIG_HASH)
}

pub(crate) fn fits(shape: &Shape, found: MapInfo) -> bool {
    found.map_type == shape.map_type as u32
        && found.key_size == shape.key_size
        && found.value_size == shape.value_size
        && found.max_entries == shape.max_entries
        && found.flags == shape.flags
}

pub(crate) fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(file("reading the folder", folder)(e)),
    };
    entries.map(|entry| entry.map(|e| e.path()).map_err(file("reading the folder", folder))).collect()
}

/// Removes a folder of pins; absent is fine.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), Error> {
    for pin in subfolders(folder)? {
        bpf::unpin(&pin)?;
    }
    match fs::remove_dir(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(file("removing the folder", folder)(e)),
        _ => Ok(()),
    }
}

pub(crate) fn file<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Error + 'a {
    move |source| Error::File { doing, path: path.into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nodes_become_folders_that_bpffs_takes() {
        let root = |node| root(Path::new("/sys/fs/bpf"), node);
        assert_eq!(
            root("ip-10-0-0-1.internal").unwrap(),
            Path::new("/sys/fs/bpf/keelson/ip-10-0-0-1_internal")
        );
        for bad in ["", "a/b", "..", "A", "a_b"] {
            let refused = root(bad);
            assert!(bad == ".." || matches!(refused, Err(Error::NodeName { .. })), "{bad}");
        }
        assert_eq!(root("..").unwrap(), Path::new("/sys/fs/bpf/keelson/__"));
    }
}

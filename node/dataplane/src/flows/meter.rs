//! Reading the totals and the open connections, and keeping the table of totals from filling up.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
};

use keelson_ebpf_common::{
    layout::{self, Shape},
    limits,
    metrics::{Control, Kind, Row, Totals},
    net::{Address6, Port},
    value::{Connection, ConnectionSlot},
};
use keelson_sys::bpf::{BpfError, Map, SharedArray};
use zerocopy::{FromBytes, IntoBytes};

use super::{Figures, figures::merge};
use crate::{
    Error,
    encode::{KernelKey, frontend_key, user_key},
    plan::{Backend, FrontendKey},
};

/// A frontend and one of its backends; without one, what was refused.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Pair {
    /// What clients asked for.
    pub frontend: FrontendKey,
    /// Where they were sent. `None`: nowhere, or to backends that are gone.
    pub backend: Option<Backend>,
}

/// Everything measured, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Figures of Services that are there now.
    pub pairs: BTreeMap<Pair, Figures>,
    /// What found no room in the table of totals.
    pub other: Figures,
    /// Rows in the table, of [`limits::TOTALS_MAX`].
    pub rows: usize,
}

/// Above this the rows of backends that are gone are summed up.
const ROWS_CROWDED: usize = limits::TOTALS_MAX as usize / 2;

/// The open maps.
#[derive(Debug)]
pub(crate) struct Meter {
    totals: Map,
    connections: Map,
    spilled: Map,
    control: SharedArray,
}

/// A frontend in an epoch.
type Tenancy = (FrontendKey, u32);

/// What is in the maps, by epoch.
#[derive(Default)]
pub(crate) struct Reading {
    rows: Vec<(Row, Totals)>,
    stamps: HashMap<Tenancy, u64>,
    open: Vec<Connection>,
}

impl Meter {
    /// Opens the pins.
    pub(crate) fn open(pin: impl Fn(&Shape) -> std::path::PathBuf) -> Result<Self, Error> {
        let open = |shape: &Shape| {
            let path: &Path = &pin(shape);
            Map::open_pinned(path)?.ok_or(Error::Missing { what: "map", name: shape.name })
        };
        Ok(Self {
            totals: open(&layout::TOTALS)?,
            connections: open(&layout::CONNECTIONS)?,
            spilled: open(&layout::CONNECTIONS_SPILLED)?,
            control: SharedArray::new(open(&layout::CONTROL)?),
        })
    }

    /// The present epoch.
    pub(crate) fn epoch(&mut self) -> Result<u32, Error> {
        Ok(self.control.load_u32(core::mem::offset_of!(Control, epoch))?)
    }

    /// Begins another.
    pub(crate) fn begin_epoch(&mut self) -> Result<u32, Error> {
        let epoch = self.epoch()?.wrapping_add(1);
        self.control.store_u32(core::mem::offset_of!(Control, epoch), epoch)?;
        Ok(epoch)
    }

    /// Has one socket in so many told of, a power of two; 0 for none.
    pub(crate) fn sample(&mut self, one_in: u32) -> Result<(), Error> {
        Ok(self.control.store_u32(core::mem::offset_of!(Control, sample), one_in)?)
    }

    /// Reads everything. Totals first: a connection that ends meanwhile is in neither, rather than in both, and in the
    /// totals the next time.
    pub(crate) fn read(&self) -> Result<Reading, Error> {
        let mut reading = Reading::default();
        let entries = self.totals.entries()?;
        let keys = entries.keys.chunks_exact(size_of::<Row>());
        for (key, value) in keys.zip(entries.values.chunks_exact(size_of::<Totals>())) {
            let (Ok(row), Ok(totals)) = (Row::read_from_bytes(key), Totals::read_from_bytes(value)) else {
                continue;
            };
            if row.kind == Kind::Kept as u8
                && let Some(frontend) = frontend(&row)
            {
                reading.stamps.insert((frontend, row.epoch), totals.owner);
            }
            reading.rows.push((row, totals));
        }
        let measured = |connection: &Connection| connection.connect != 0 && connection.established != 0;
        self.connections.visit(|_, value| {
            if let Ok(slot) = ConnectionSlot::ref_from_bytes(value)
                && slot.cookie != 0
                && measured(&slot.record)
                && Connection::ends(slot.record.state) == 0
            {
                reading.open.push(slot.record);
            }
        })?;
        self.spilled.visit(|_, value| {
            // The kernel rounds values up to eight bytes only inside.
            if let Ok(record) = Connection::read_from_bytes(value)
                && measured(&record)
                && Connection::ends(record.state) == 0
            {
                reading.open.push(record);
            }
        })?;
        Ok(reading)
    }

    /// Writes down whose the frontends are, so that a later daemon knows; `owned` tells who has a frontend in an epoch, if it
    /// is who has it now.
    pub(crate) fn stamp(
        &self,
        reading: &Reading,
        owned: impl Fn(&FrontendKey, u32, Option<u64>) -> Option<u64>,
    ) -> Result<(), Error> {
        let tenancies: HashSet<Tenancy> =
            reading.rows.iter().filter_map(|(row, _)| Some((frontend(row)?, row.epoch))).collect();
        for (frontend, epoch) in tenancies {
            if reading.stamps.contains_key(&(frontend, epoch)) {
                continue;
            }
            let Some(owner) = owned(&frontend, epoch, None) else { continue };
            if !self.keep(&frontend, epoch, owner)? {
                break;
            }
        }
        Ok(())
    }

    /// Writes down whose a frontend was in an epoch, unless that is known. Whether there was room; else it is tried again when
    /// there is some, see [`Self::tidy`].
    pub(crate) fn keep(&self, frontend: &FrontendKey, epoch: u32, owner: u64) -> Result<bool, Error> {
        let totals = Totals { owner, ..Totals::NONE };
        match self.totals.insert_absent(kept(frontend, epoch).as_bytes(), totals.as_bytes()) {
            Ok(_) => Ok(true),
            Err(e) if is_full(&e) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes room when half the rows are taken: those of frontends that are others' now go, those of backends that are
    /// gone are summed up in the daemon's own row. A connection of theirs that still ends makes a row anew.
    ///
    /// Accepted flaw: what a program adds between our look and the removal is lost.
    pub(crate) fn tidy(
        &self,
        reading: &Reading,
        owned: impl Fn(&FrontendKey, u32, Option<u64>) -> Option<u64>,
        is_backend: impl Fn(&FrontendKey, &Backend) -> bool,
    ) -> Result<usize, Error> {
        if reading.rows.len() < ROWS_CROWDED {
            return Ok(0);
        }
        let mut kept_rows: HashMap<Tenancy, Totals> = HashMap::new();
        for (row, totals) in reading.rows.iter().filter(|(row, _)| row.kind == Kind::Kept as u8) {
            kept_rows.extend(frontend(row).map(|frontend| ((frontend, row.epoch), *totals)));
        }
        let (mut gone, mut changed) = (Vec::new(), HashSet::new());
        for (row, totals) in reading.rows.iter().filter(|(row, _)| *row != Row::OTHER) {
            let Some(frontend) = frontend(row) else { continue };
            let tenancy = (frontend, row.epoch);
            let owner = owned(&frontend, row.epoch, reading.stamps.get(&tenancy).copied());
            let Some(owner) = owner else {
                gone.push(*row);
                continue;
            };
            if row.kind == Kind::Counted as u8
                && let Some(backend) = backend(row)
                && !is_backend(&frontend, &backend)
            {
                let sum = kept_rows.entry(tenancy).or_insert(Totals::NONE);
                sum.owner = owner;
                merge(sum, totals);
                changed.insert(tenancy);
                gone.push(*row);
            }
        }
        let failed = |source| Error::Batch { name: layout::TOTALS.name, source };
        self.totals.delete_batch(gone.as_bytes()).map_err(failed)?;
        let (keys, values): (Vec<_>, Vec<_>) = changed
            .iter()
            .filter_map(|tenancy| Some((kept(&tenancy.0, tenancy.1), *kept_rows.get(tenancy)?)))
            .unzip();
        self.totals.update_batch(keys.as_bytes(), values.as_bytes()).map_err(failed)?;
        Ok(gone.len())
    }
}

impl Reading {
    /// Whose frontends were in an epoch, as an earlier daemon wrote.
    pub(crate) fn stamps(&self, epoch: u32) -> impl Iterator<Item = (FrontendKey, u64)> {
        self.stamps
            .iter()
            .filter(move |((_, e), _)| *e == epoch)
            .map(|((frontend, _), owner)| (*frontend, *owner))
    }

    /// The sums by frontend and backend, of frontends that are whose they were then.
    pub(crate) fn snapshot(&self, owned: impl Fn(&FrontendKey, u32, Option<u64>) -> Option<u64>) -> Snapshot {
        let mut snapshot = Snapshot { rows: self.rows.len(), ..Snapshot::default() };
        let is_owned = |frontend: &FrontendKey, epoch: u32| {
            owned(frontend, epoch, self.stamps.get(&(*frontend, epoch)).copied()).is_some()
        };
        for (row, totals) in &self.rows {
            if *row == Row::OTHER {
                snapshot.other.add(&Figures::from(totals));
            } else if let Some(frontend) = frontend(row)
                && is_owned(&frontend, row.epoch)
            {
                let pair = Pair { frontend, backend: backend(row) };
                snapshot.pairs.entry(pair).or_default().add(&Figures::from(totals));
            }
        }
        for connection in &self.open {
            let protocol = Connection::protocol(connection.state);
            if let Some(frontend) = user_key(connection.frontend.to_ip(), connection.frontend_port, protocol)
                && is_owned(&frontend, connection.epoch)
            {
                let backend = Backend::new(connection.backend.to_ip(), connection.backend_port.number());
                snapshot
                    .pairs
                    .entry(Pair { frontend, backend: Some(backend) })
                    .or_default()
                    .add_open(connection);
            }
        }
        snapshot
    }
}

/// The frontend of a row; `None` for [`Row::OTHER`].
fn frontend(row: &Row) -> Option<FrontendKey> {
    user_key(row.frontend.to_ip(), row.frontend_port, row.protocol)
}

/// The backend of a row; `None` where connections were refused.
pub(super) fn backend(row: &Row) -> Option<Backend> {
    (row.backend_port.0 != 0).then(|| Backend::new(row.backend.to_ip(), row.backend_port.number()))
}

/// The daemon's own row.
fn kept(frontend: &FrontendKey, epoch: u32) -> Row {
    let key = match frontend_key(frontend) {
        KernelKey::V4(key) => key.to_mapped(),
        KernelKey::V6(key) => key,
    };
    Row {
        frontend: key.address,
        backend: Address6([0; 4]),
        frontend_port: key.port,
        backend_port: Port(0),
        epoch,
        protocol: key.protocol,
        kind: Kind::Kept as u8,
        pad: 0,
    }
}

fn is_full(error: &BpfError) -> bool {
    /// `E2BIG`: what a hash answers when it holds its maximum.
    const E2BIG: i32 = 7;
    error.errno() == Some(E2BIG)
}

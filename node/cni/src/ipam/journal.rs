//! The pool's journal: one JSON line a change, synced before anyone is told; rewritten at each start and when it has become
//! much longer than it need be.

use super::{
    pool::{Exhausted, Lease, Pool, REST_S},
    records::{Clocks, Record, replay, shortest},
};
use ipnet::IpNet;
use std::{
    fs::{self, File},
    io::{self, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Records beside those that are needed, before the journal is rewritten: some 500 kB.
const SURPLUS_MAX: usize = 4_096;

/// What went wrong with a lease.
#[derive(Debug, thiserror::Error)]
pub enum IpamError {
    /// No address is free.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// The disk failed; nothing was given out.
    #[error("{doing} {}", path.display())]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The journal holds what was never written.
    #[error("{}, line {line}, is not a record of this journal; move the file away to start without leases", path.display())]
    Corrupt {
        /// The journal.
        path: PathBuf,
        /// Counted from one.
        line: usize,
    },
}

/// The node's addresses, on disk. Calls block on the disk.
#[derive(Debug)]
pub struct Ipam {
    pool: Pool,
    journal: File,
    path: PathBuf,
    /// Records in the journal.
    records: usize,
    opened: Instant,
}

impl Ipam {
    /// Reads the journal at `path`, or starts one. Nothing is given out before [`Ipam::set_ranges`].
    pub fn open(path: &Path) -> Result<Ipam, IpamError> {
        let text = match fs::read(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(disk("reading", path))?,
        };
        let opened = Instant::now();
        let replayed = replay(&text, clocks(opened));
        let (pool, _) = replayed.map_err(|e| IpamError::Corrupt { path: path.into(), line: e.line })?;
        let (journal, records) = rewrite(&pool, path, clocks(opened))?;
        Ok(Ipam { pool, journal, path: path.into(), records, opened })
    }

    /// The ranges from now on, of each family in the order in which they are used up. Leases of others are kept until their
    /// sandboxes go.
    pub fn set_ranges(&mut self, ranges: &[IpNet]) {
        self.pool.set_ranges(ranges);
    }

    /// The sandbox's addresses, one of each family: those it has, or free ones, which are on disk when this returns. Which
    /// pod's they are and whether it is `shaped` is remembered with them.
    pub fn acquire(
        &mut self,
        sandbox: &str,
        pod: &str,
        shaped: bool,
        named: &dyn Fn(IpAddr) -> bool,
    ) -> Result<Vec<IpAddr>, IpamError> {
        if let Some(lease) = self.pool.lease_of(sandbox) {
            return Ok(lease.addresses.clone());
        }
        let addresses = self.pool.find(clocks(self.opened).pool, named)?;
        let lease = Lease { sandbox: sandbox.into(), pod: pod.into(), addresses: addresses.clone(), shaped };
        self.append(&Record::Lease(lease.clone()))?;
        self.pool.insert(lease);
        Ok(addresses)
    }

    /// Takes a sandbox's addresses back; None if it has none.
    pub fn release(&mut self, sandbox: &str) -> Result<Option<Lease>, IpamError> {
        if self.pool.lease_of(sandbox).is_none() {
            return Ok(None);
        }
        let now = clocks(self.opened);
        self.append(&Record::Release { sandbox: sandbox.into(), second: now.wall })?;
        let released = self.pool.release(sandbox, now.pool);
        self.shorten()?;
        Ok(released)
    }

    /// The sandbox's lease, if any.
    pub fn lease_of(&self, sandbox: &str) -> Option<&Lease> {
        self.pool.lease_of(sandbox)
    }

    /// All leases, in no order.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.pool.leases()
    }

    fn append(&mut self, record: &Record) -> Result<(), IpamError> {
        let written = self.journal.write_all(&record.line()).and_then(|()| self.journal.sync_data());
        self.records += 1;
        written.map_err(disk("writing", &self.path))
    }

    fn shorten(&mut self) -> Result<(), IpamError> {
        let needed = self.pool.leases().count() + self.pool.resting().count();
        if self.records > needed + SURPLUS_MAX {
            (self.journal, self.records) = rewrite(&self.pool, &self.path, clocks(self.opened))?;
        }
        Ok(())
    }
}

/// The journal as short as it can be, put in place whole, and of how many records it is.
fn rewrite(pool: &Pool, path: &Path, now: Clocks) -> Result<(File, usize), IpamError> {
    let fresh = path.with_extension("new");
    let records = shortest(pool, now);
    let text: Vec<u8> = records.iter().flat_map(Record::line).collect();
    let write = || -> io::Result<File> {
        let mut file = File::create(&fresh)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
        File::options().append(true).open(path)
    };
    Ok((write().map_err(disk("writing", path))?, records.len()))
}

fn disk(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> IpamError {
    let path = path.to_path_buf();
    move |source| IpamError::Disk { doing, path: path.clone(), source }
}

fn clocks(opened: Instant) -> Clocks {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Clocks { wall, pool: REST_S + opened.elapsed().as_secs() }
}

#[cfg(test)]
mod tests;

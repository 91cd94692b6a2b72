//! The pool's journal: one JSON line a change, synced before anyone is told; rewritten at each start.

use super::pool::{Exhausted, Lease, Pool};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

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

/// A line of the journal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Record {
    Lease(Lease),
    /// At a second since 1970.
    Release {
        address: Ipv4Addr,
        sandbox: String,
        second: u64,
    },
    /// An address at rest, in a rewritten journal.
    Rest {
        address: Ipv4Addr,
        second: u64,
    },
}

/// The node's addresses, on disk. Calls block on the disk.
#[derive(Debug)]
pub struct Ipam {
    pool: Pool,
    journal: File,
    path: PathBuf,
}

impl Ipam {
    /// Reads the journal at `path`, or starts one. Leases outside of `cidr` (the node's range changed) are kept until
    /// their sandboxes go.
    pub fn open(path: &Path, cidr: Ipv4Net) -> Result<Ipam, IpamError> {
        let mut pool = Pool::new(cidr);
        let text = match fs::read(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(disk("reading", path))?,
        };
        replay(&text, &mut pool, path)?;
        let journal = rewrite(&pool, path)?;
        Ok(Ipam { pool, journal, path: path.into() })
    }

    /// The sandbox's address: the one it has, or a free one, which is on disk when this returns.
    pub fn acquire(
        &mut self,
        sandbox: &str,
        pod: &str,
        named: &dyn Fn(Ipv4Addr) -> bool,
    ) -> Result<Ipv4Addr, IpamError> {
        if let Some(lease) = self.pool.lease_of(sandbox) {
            return Ok(lease.address);
        }
        let address = self.pool.find(now_s(), named)?;
        let lease = Lease { sandbox: sandbox.into(), pod: pod.into(), address };
        self.append(&Record::Lease(lease.clone()))?;
        self.pool.insert(lease);
        Ok(address)
    }

    /// Takes a sandbox's address back; None if it has none.
    pub fn release(&mut self, sandbox: &str) -> Result<Option<Ipv4Addr>, IpamError> {
        let Some(lease) = self.pool.lease_of(sandbox) else { return Ok(None) };
        let (address, second) = (lease.address, now_s());
        self.append(&Record::Release { address, sandbox: sandbox.into(), second })?;
        self.pool.release(sandbox, second);
        Ok(Some(address))
    }

    /// The sandbox's lease, if any.
    pub fn lease_of(&self, sandbox: &str) -> Option<&Lease> {
        self.pool.lease_of(sandbox)
    }

    /// All leases.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.pool.leases()
    }

    /// Releases the leases of sandboxes that the runtime does not know; answers them.
    pub fn retain(&mut self, live: &BTreeSet<String>) -> Result<Vec<Lease>, IpamError> {
        let gone: Vec<Lease> =
            self.pool.leases().filter(|lease| !live.contains(&lease.sandbox)).cloned().collect();
        for lease in &gone {
            self.release(&lease.sandbox)?;
        }
        Ok(gone)
    }

    fn append(&mut self, record: &Record) -> Result<(), IpamError> {
        let line = line(record);
        let written = self.journal.write_all(&line).and_then(|()| self.journal.sync_data());
        written.map_err(disk("writing", &self.path))
    }
}

fn replay(text: &[u8], pool: &mut Pool, path: &Path) -> Result<(), IpamError> {
    // What follows the last line end was torn by a crash before its sync: nobody was told of it.
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(&[][..], |end| &text[..end]);
    for (index, line) in whole.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let record = serde_json::from_slice(line);
        let record = record.map_err(|_| IpamError::Corrupt { path: path.into(), line: index + 1 })?;
        match record {
            Record::Lease(lease) => pool.insert(lease),
            Record::Release { sandbox, second, .. } => drop(pool.release(&sandbox, second)),
            Record::Rest { address, second } => {
                let sandbox = String::new();
                pool.insert(Lease { sandbox: sandbox.clone(), pod: String::new(), address });
                pool.release(&sandbox, second);
            }
        }
    }
    Ok(())
}

/// The journal as short as it can be, put in place whole.
fn rewrite(pool: &Pool, path: &Path) -> Result<File, IpamError> {
    let fresh = path.with_extension("new");
    let rests = pool.resting().map(|(address, second)| Record::Rest { address, second });
    let records = rests.chain(pool.leases().cloned().map(Record::Lease));
    let text: Vec<u8> = records.flat_map(|record| line(&record)).collect();
    let write = || -> io::Result<File> {
        let mut file = File::create(&fresh)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
        File::options().append(true).open(path)
    };
    write().map_err(disk("writing", path))
}

fn line(record: &Record) -> Vec<u8> {
    let mut line = serde_json::to_vec(record).expect("a record holds text and numbers alone");
    line.push(b'\n');
    line
}

fn disk(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> IpamError {
    let path = path.to_path_buf();
    move |source| IpamError::Disk { doing, path: path.clone(), source }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &tempfile::TempDir) -> Ipam {
        Ipam::open(&folder.path().join("ipam.journal"), "10.244.1.0/24".parse().unwrap()).unwrap()
    }

    #[test]
    fn leases_and_rests_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let mut ipam = open(&folder);
        let first = ipam.acquire("a", "default/a", &|_| false).unwrap();
        let second = ipam.acquire("b", "default/b", &|_| false).unwrap();
        ipam.release("a").unwrap();
        drop(ipam);
        for _ in 0..2 {
            let mut ipam = open(&folder);
            assert_eq!(ipam.acquire("b", "default/b", &|_| false).unwrap(), second);
            assert_eq!(ipam.lease_of("a"), None);
            assert!(ipam.pool.resting().any(|(address, _)| address == first), "the rest is remembered");
        }
    }

    #[test]
    fn a_torn_last_line_is_as_if_never_written() {
        let folder = tempfile::tempdir().unwrap();
        open(&folder).acquire("a", "default/a", &|_| false).unwrap();
        let path = folder.path().join("ipam.journal");
        let mut text = fs::read(&path).unwrap();
        let whole = text.len();
        text.extend_from_slice(b"{\"lease\":{\"sandbox\":\"b\",");
        fs::write(&path, &text).unwrap();
        let ipam = open(&folder);
        assert!(ipam.lease_of("a").is_some() && ipam.lease_of("b").is_none());
        assert_eq!(fs::read(&path).unwrap().len(), whole);
    }

    #[test]
    fn a_line_that_is_no_record_is_refused_with_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ipam.journal");
        fs::write(&path, "{\"rest\":{\"address\":\"10.244.1.9\",\"second\":1}}\nnonsense\n").unwrap();
        let error = Ipam::open(&path, "10.244.1.0/24".parse().unwrap()).unwrap_err();
        assert!(matches!(error, IpamError::Corrupt { line: 2, .. }), "{error}");
    }

    #[test]
    fn sandboxes_that_the_runtime_does_not_know_lose_their_leases() {
        let folder = tempfile::tempdir().unwrap();
        let mut ipam = open(&folder);
        for sandbox in ["a", "b"] {
            ipam.acquire(sandbox, "default/p", &|_| false).unwrap();
        }
        let gone = ipam.retain(&BTreeSet::from(["b".to_string()])).unwrap();
        assert_eq!(gone.iter().map(|lease| lease.sandbox.as_str()).collect::<Vec<_>>(), ["a"]);
        assert!(ipam.lease_of("b").is_some());
    }
}

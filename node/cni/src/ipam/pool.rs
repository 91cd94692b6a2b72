//! The pool as a value: no clock, no disk.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
};

/// Seconds that an address rests after its release.
pub const REST_S: u64 = 60;

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The sandbox (CNI_CONTAINERID).
    pub sandbox: String,
    /// The pod, as `namespace/name`, for people.
    pub pod: String,
    /// The address.
    pub address: Ipv4Addr,
}

/// No address is free.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no free address in {cidr}: {leased} leased, {resting} resting for at most {REST_S} s after their release"
)]
pub struct Exhausted {
    /// The node's pod CIDR.
    pub cidr: Ipv4Net,
    /// How many are in use.
    pub leased: usize,
    /// How many will be free soon.
    pub resting: usize,
}

/// The addresses of one node's pod CIDR.
#[derive(Debug)]
pub struct Pool {
    cidr: Ipv4Net,
    leases: BTreeMap<Ipv4Addr, Lease>,
    by_sandbox: HashMap<String, Ipv4Addr>,
    /// Address -> second of its release.
    resting: BTreeMap<Ipv4Addr, u64>,
    /// The address given out last: the search goes on behind it, so that addresses return as late as can be.
    last: Ipv4Addr,
}

impl Pool {
    /// An empty pool.
    pub fn new(cidr: Ipv4Net) -> Pool {
        Pool {
            cidr,
            leases: BTreeMap::new(),
            by_sandbox: HashMap::new(),
            resting: BTreeMap::new(),
            last: first(cidr),
        }
    }

    /// The sandbox's lease, if it has one.
    pub fn lease_of(&self, sandbox: &str) -> Option<&Lease> {
        self.leases.get(self.by_sandbox.get(sandbox)?)
    }

    /// All leases, by address.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// When each resting address was released, in seconds.
    pub fn resting(&self) -> impl Iterator<Item = (Ipv4Addr, u64)> + '_ {
        self.resting.iter().map(|(address, second)| (*address, *second))
    }

    /// The next free address. `now` in seconds; `named` says whether something in the kernel still names the address.
    pub fn find(&mut self, now: u64, named: &dyn Fn(Ipv4Addr) -> bool) -> Result<Ipv4Addr, Exhausted> {
        self.resting.retain(|address, released| now.saturating_sub(*released) < REST_S || named(*address));
        let usable =
            |address: &Ipv4Addr| !self.leases.contains_key(address) && !self.resting.contains_key(address);
        let hosts = || self.cidr.hosts().filter(|address| *address != first(self.cidr));
        let behind =
            hosts().filter(|address| *address > self.last).chain(hosts().filter(|a| *a <= self.last));
        behind.into_iter().find(usable).ok_or(Exhausted {
            cidr: self.cidr,
            leased: self.leases.len(),
            resting: self.resting.len(),
        })
    }

    /// Records a lease that is on disk.
    pub fn insert(&mut self, lease: Lease) {
        self.last = lease.address;
        self.resting.remove(&lease.address);
        self.by_sandbox.insert(lease.sandbox.clone(), lease.address);
        self.leases.insert(lease.address, lease);
    }

    /// Releases what a sandbox had at second `now`.
    pub fn release(&mut self, sandbox: &str, now: u64) -> Option<Lease> {
        let lease = self.leases.remove(&self.by_sandbox.remove(sandbox)?)?;
        self.resting.insert(lease.address, now);
        Some(lease)
    }
}

/// The first host address stands for the node's side in many networks; it is left out.
fn first(cidr: Ipv4Net) -> Ipv4Addr {
    cidr.hosts().next().unwrap_or(cidr.addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(cidr: &str) -> Pool {
        Pool::new(cidr.parse().unwrap())
    }

    fn take(pool: &mut Pool, sandbox: &str, now: u64) -> Result<Ipv4Addr, Exhausted> {
        let address = pool.find(now, &|_| false)?;
        pool.insert(Lease { sandbox: sandbox.into(), pod: "default/p".into(), address });
        Ok(address)
    }

    #[test]
    fn network_first_and_broadcast_are_never_given() {
        let mut pool = pool("10.244.1.0/29");
        let given: Vec<u8> =
            (0..5).map(|n| take(&mut pool, &n.to_string(), 0).unwrap().octets()[3]).collect();
        assert_eq!(given, [2, 3, 4, 5, 6]);
        let full = take(&mut pool, "more", 0).unwrap_err();
        assert_eq!((full.leased, full.resting), (5, 0));
    }

    #[test]
    fn a_released_address_rests_and_comes_back_last() {
        let mut pool = pool("10.244.1.0/29");
        for n in 0..5 {
            take(&mut pool, &n.to_string(), 0).unwrap();
        }
        let released = pool.release("1", 100).unwrap().address;
        assert_eq!(take(&mut pool, "new", 100 + REST_S - 1).unwrap_err().resting, 1);
        assert_eq!(take(&mut pool, "new", 100 + REST_S).unwrap(), released);
    }

    #[test]
    fn an_address_that_a_map_names_stays_at_rest() {
        let mut pool = pool("10.244.1.0/30");
        let only = take(&mut pool, "a", 0).unwrap();
        pool.release("a", 0);
        assert!(pool.find(1_000, &|address| address == only).is_err());
        assert_eq!(pool.find(1_001, &|_| false).unwrap(), only);
    }

    #[test]
    fn releasing_twice_is_no_release() {
        let mut pool = pool("10.244.1.0/29");
        take(&mut pool, "a", 0).unwrap();
        assert!(pool.release("a", 1).is_some());
        assert!(pool.release("a", 2).is_none());
    }
}

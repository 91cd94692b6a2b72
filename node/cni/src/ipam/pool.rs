//! The pool as a value: no clock, no disk.

use super::range::{Family, Range};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

/// Seconds that an address rests after its release.
pub const REST_S: u64 = 60;

/// Who has which addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The sandbox (CNI_CONTAINERID).
    pub sandbox: String,
    /// The pod, as `namespace/name`, for people.
    pub pod: String,
    /// One of each family that the node had ranges of, the primary one first.
    // A journal of before both families has one `address`.
    #[serde(alias = "address", deserialize_with = "one_or_more")]
    pub addresses: Vec<IpAddr>,
    /// What comes to the pod has a bound, which it must not be taken past.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shaped: bool,
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpAddr>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        One(IpAddr),
        More(Vec<IpAddr>),
    }
    Ok(match Form::deserialize(deserializer)? {
        Form::One(address) => vec![address],
        Form::More(addresses) => addresses,
    })
}

/// No address of a family is free.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no free address in {}: {leased} leased, {resting} resting for at most {REST_S} s after their release",
    text(ranges)
)]
pub struct Exhausted {
    /// The node's ranges of the family.
    pub ranges: Vec<IpNet>,
    /// How many of the family are in use.
    pub leased: usize,
    /// How many of the family will be free soon.
    pub resting: usize,
}

fn text(ranges: &[IpNet]) -> String {
    ranges.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ")
}

/// The addresses of one node's pods.
#[derive(Debug, Default)]
pub struct Pool {
    /// The ranges, of each family in the order in which they are used up.
    ranges: Vec<Range>,
    leases: HashMap<String, Lease>,
    taken: BTreeSet<IpAddr>,
    /// Address -> second of its release.
    resting: BTreeMap<IpAddr, u64>,
    /// In the order of their leases, for ranges that are yet to be known.
    given: Vec<IpAddr>,
}

impl Pool {
    /// The ranges from now on. Leases of others are kept until their sandboxes go.
    pub fn set_ranges(&mut self, nets: &[IpNet]) {
        if nets.iter().map(IpNet::trunc).eq(self.ranges.iter().map(|range| range.net)) {
            return;
        }
        let fresh = nets.iter().map(|net| {
            let mut range = Range::new(*net);
            self.given.iter().for_each(|address| range.note(*address));
            // The search goes on where it was.
            self.ranges.iter().find(|old| old.net == range.net).cloned().unwrap_or(range)
        });
        self.ranges = fresh.collect();
        self.given.clear();
    }

    /// The sandbox's lease, if it has one.
    pub fn lease_of(&self, sandbox: &str) -> Option<&Lease> {
        self.leases.get(sandbox)
    }

    /// All leases, in no order.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// When each resting address was released, in seconds.
    pub fn resting(&self) -> impl Iterator<Item = (IpAddr, u64)> + '_ {
        self.resting.iter().map(|(address, second)| (*address, *second))
    }

    /// A free address of each family, that of the first range's family first. `now` in seconds; `named` says whether something
    /// in the kernel still names the address.
    pub fn find(&mut self, now: u64, named: &dyn Fn(IpAddr) -> bool) -> Result<Vec<IpAddr>, Exhausted> {
        self.resting.retain(|address, released| now.saturating_sub(*released) < REST_S || named(*address));
        let mut families: Vec<Family> = Vec::new();
        for range in &self.ranges {
            if !families.contains(&range.family()) {
                families.push(range.family());
            }
        }
        families.into_iter().map(|family| self.find_of(family)).collect()
    }

    fn find_of(&self, family: Family) -> Result<IpAddr, Exhausted> {
        let taken = |address: &IpAddr| self.taken.contains(address) || self.resting.contains_key(address);
        let ranges = || self.ranges.iter().filter(|range| range.family() == family);
        let of_family = |address: &&IpAddr| Family::of(**address) == family;
        ranges().find_map(|range| range.free(taken)).ok_or_else(|| Exhausted {
            ranges: ranges().map(|range| range.net).collect(),
            leased: self.taken.iter().filter(of_family).count(),
            resting: self.resting.keys().filter(of_family).count(),
        })
    }

    /// Records a lease that is on disk.
    pub fn insert(&mut self, lease: Lease) {
        for address in &lease.addresses {
            self.ranges.iter_mut().for_each(|range| range.note(*address));
            self.resting.remove(address);
            self.taken.insert(*address);
        }
        if self.ranges.is_empty() {
            self.given.extend(&lease.addresses);
        }
        self.leases.insert(lease.sandbox.clone(), lease);
    }

    /// Releases what a sandbox had at second `now`.
    pub fn release(&mut self, sandbox: &str, now: u64) -> Option<Lease> {
        let lease = self.leases.remove(sandbox)?;
        for address in &lease.addresses {
            self.taken.remove(address);
            self.rest(*address, now);
        }
        Some(lease)
    }

    /// Records an address that was released at second `now`.
    pub fn rest(&mut self, address: IpAddr, now: u64) {
        if !self.taken.contains(&address) {
            self.resting.insert(address, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(nets: &[&str]) -> Pool {
        let mut pool = Pool::default();
        pool.set_ranges(&nets.iter().map(|net| net.parse().unwrap()).collect::<Vec<_>>());
        pool
    }

    fn take(pool: &mut Pool, sandbox: &str, now: u64) -> Result<Vec<IpAddr>, Exhausted> {
        let addresses = pool.find(now, &|_| false)?;
        pool.insert(Lease {
            sandbox: sandbox.into(),
            pod: "default/p".into(),
            addresses: addresses.clone(),
            shaped: false,
        });
        Ok(addresses)
    }

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_released_address_rests_and_comes_back_last() {
        for net in ["10.244.1.0/29", "fd00::/125"] {
            let mut pool = pool(&[net]);
            let mut count = 0;
            while take(&mut pool, &count.to_string(), 0).is_ok() {
                count += 1;
            }
            let released = pool.release("1", 100).unwrap().addresses;
            assert_eq!(take(&mut pool, "new", 100 + REST_S - 1).unwrap_err().resting, 1);
            assert_eq!(take(&mut pool, "new", 100 + REST_S).unwrap(), released);
        }
    }

    #[test]
    fn an_address_that_a_map_names_stays_at_rest() {
        let mut pool = pool(&["10.244.1.0/30", "fd00::/64"]);
        let only = take(&mut pool, "a", 0).unwrap();
        pool.release("a", 0);
        assert!(pool.find(1_000, &|address| address == only[0]).is_err());
        assert_eq!(pool.find(1_001, &|_| false).unwrap()[0], only[0]);
    }

    #[test]
    fn both_families_are_given_or_none() {
        let mut pool = pool(&["fd00::/64", "10.244.1.0/30"]);
        assert_eq!(take(&mut pool, "a", 0).unwrap(), ips(&["fd00::2", "10.244.1.2"]));
        let full = take(&mut pool, "b", 0).unwrap_err();
        assert_eq!((full.ranges, full.leased), (vec!["10.244.1.0/30".parse().unwrap()], 1));
        pool.release("a", 0);
        assert_eq!(take(&mut pool, "b", REST_S).unwrap(), ips(&["fd00::3", "10.244.1.2"]));
    }

    #[test]
    fn a_range_that_is_full_goes_on_with_the_next() {
        let mut pool = pool(&["10.244.1.0/30", "fd00::/64", "10.244.9.0/30"]);
        assert_eq!(take(&mut pool, "a", 0).unwrap(), ips(&["10.244.1.2", "fd00::2"]));
        assert_eq!(take(&mut pool, "b", 0).unwrap(), ips(&["10.244.9.2", "fd00::3"]));
        assert_eq!(take(&mut pool, "c", 0).unwrap_err().ranges.len(), 2);
        pool.release("a", 0);
        assert_eq!(take(&mut pool, "c", REST_S).unwrap(), ips(&["10.244.1.2", "fd00::4"]));
    }

    #[test]
    fn other_ranges_leave_leases_as_they_are() {
        let mut pool = pool(&["10.244.1.0/24"]);
        let first = take(&mut pool, "a", 0).unwrap();
        pool.set_ranges(&["10.244.1.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()]);
        assert_eq!(pool.lease_of("a").unwrap().addresses, first);
        assert_eq!(take(&mut pool, "b", 0).unwrap(), ips(&["10.244.1.3", "fd00::2"]));
        pool.set_ranges(&["10.244.7.0/24".parse().unwrap()]);
        assert_eq!(take(&mut pool, "c", 0).unwrap(), ips(&["10.244.7.2"]));
        assert_eq!(pool.leases().count(), 3);
    }

    #[test]
    fn releasing_twice_is_no_release() {
        let mut pool = pool(&["10.244.1.0/29"]);
        take(&mut pool, "a", 0).unwrap();
        assert!(pool.release("a", 1).is_some());
        assert!(pool.release("a", 2).is_none());
    }
}

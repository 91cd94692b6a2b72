//! How flows are spread over backends so that every node, and every program of it, chooses the same one: Maglev's consistent
//! hashing, <https://research.google/pubs/maglev-a-fast-and-reliable-software-network-load-balancer/>, section 3.4.
//!
//! Owns the hash of a flow, the sizes of tables and the place of an entry; filling a table is the daemon's. All nodes of
//! a cluster must have one byte order, as the hash is of words in memory. It has no seed: who chooses its own ports may choose its
//! backend, as it could by asking again.

use crate::packet::{Table, Tuple};

/// Entries of a table, by its number; a table's size is prime. Number 0 is no table.
pub const SIZES: [u32; 8] = [0, 251, 509, 1_021, 2_039, 4_093, 8_191, 16_381];
/// Entries in a word.
pub const WORD: u32 = 4;
/// Entries a backend at least, as far as there are larger tables: each has as many as any other, give or take one, so the load
/// of any is within two percent.
pub const ENTRIES_EACH: u32 = 50;

const MIX: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb];

/// The number of the smallest table for so many backends.
pub const fn size_for(backends: u32) -> u32 {
    let mut number = 1;
    while number + 1 < SIZES.len() && SIZES[number] < backends.saturating_mul(ENTRIES_EACH) {
        number += 1;
    }
    number as u32
}

impl Table {
    /// How many entries.
    #[inline(always)]
    pub const fn entries(self) -> u32 {
        SIZES[(self.size & 7) as usize]
    }

    /// How many words they take.
    pub const fn words(self) -> u32 {
        self.entries().div_ceil(WORD)
    }

    /// Where the entry for a hash lies: the word, and how far to shift it down.
    #[inline(always)]
    pub const fn place(self, hash: u32) -> (u32, u32) {
        let entry = ((hash as u64 * self.entries() as u64) >> 32) as u32;
        (self.start + entry / WORD, entry % WORD * 16)
    }
}

/// Hash of an IPv4 flow, all as in memory; `ports` is the source's in the lower half. Both halves are spread evenly.
#[inline(always)]
pub const fn hash4(source: u32, destination: u32, ports: u32, protocol: u8) -> u64 {
    let addresses = (source as u64) << 32 | destination as u64;
    let hash = addresses.wrapping_mul(MIX[0]);
    let hash = (hash ^ hash >> 32 ^ (ports as u64) << 8 ^ protocol as u64).wrapping_mul(MIX[1]);
    let hash = (hash ^ hash >> 29).wrapping_mul(MIX[2]);
    hash ^ hash >> 32
}

/// What of a flow's hash chooses the backend; the other half is for tables of flows.
#[inline(always)]
pub const fn choosing(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// Hash of a flow of either family.
#[inline(always)]
pub const fn hash(flow: &Tuple) -> u64 {
    let ports = flow.source_port.0 as u32 | (flow.destination_port.0 as u32) << 16;
    match (flow.source.mapped(), flow.destination.mapped()) {
        (Some(source), Some(destination)) => hash4(source.0, destination.0, ports, flow.protocol),
        _ => hash4(fold(flow.source.0), fold(flow.destination.0), ports, flow.protocol),
    }
}

#[inline(always)]
const fn fold(words: [u32; 4]) -> u32 {
    let [a, b, c, d] = words;
    let high = ((a as u64) << 32 | b as u64).wrapping_mul(MIX[0]);
    let low = ((c as u64) << 32 | d as u64).wrapping_mul(MIX[1]);
    ((high ^ low) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        net::{Address4, Port},
        packet::protocol,
    };

    #[test]
    fn tables_have_fifty_entries_a_backend_as_far_as_sizes_go() {
        for (backends, entries) in [
            (1, 251),
            (5, 251),
            (6, 509),
            (20, 1_021),
            (81, 4_093),
            (82, 8_191),
            (327, 16_381),
            (9_000, 16_381),
        ] {
            assert_eq!(SIZES[size_for(backends) as usize], entries, "{backends}");
        }
    }

    #[test]
    fn every_hash_has_an_entry_of_the_table() {
        let table = Table { start: 100, size: 1 };
        assert_eq!((table.words(), table.place(0), table.place(u32::MAX)), (63, (100, 0), (162, 32)));
    }

    #[test]
    fn both_programs_give_a_flow_the_same_hash() {
        let (source, destination) = (Address4(0x0102_0304), Address4(0x0506_0708));
        let (source_port, destination_port) = (Port(0x1122), Port(0x3344));
        let (source6, destination6) = (source.to_mapped(), destination.to_mapped());
        let flow = Tuple {
            source: source6,
            destination: destination6,
            source_port,
            destination_port,
            protocol: protocol::TCP,
            pad: [0; 3],
        };
        assert_eq!(hash(&flow), hash4(source.0, destination.0, 0x3344_1122, 6));
    }

    #[test]
    fn successive_ports_and_addresses_are_spread_over_both_halves() {
        const BINS: usize = 64;
        let mut bins = [[0_u32; BINS]; 2];
        for client in 0..64_u32 {
            for port in 0..1_000_u32 {
                let hash = hash4((0x0a00_0001 + client).to_be(), 7, (40_000 + port).to_be() >> 16, 6);
                bins[0][(choosing(hash) as usize * BINS) >> 32] += 1;
                bins[1][hash as usize % BINS] += 1;
            }
        }
        // A thousand a bin; five standard deviations are 158.
        for bin in bins.iter().flatten() {
            assert!((842..=1_158).contains(bin), "{bins:?}");
        }
    }
}

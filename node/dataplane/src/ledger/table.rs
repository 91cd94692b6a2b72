//! Which lines of the table of IPv4 frontends are in use. What a lookup may assume is stated at
//! [`keelson_ebpf_common::value::Line4`].

use std::collections::{BTreeMap, BTreeSet};

use keelson_ebpf_common::{key::Frontend4, limits::REACH_MAX};

/// A frontend that changes moves away from its own line up to so far, then back: a lookup that is on its way meets the new
/// line after the old one (see [`Passage`]). Further only where all lines so near are taken.
const DRIFT_MAX: u32 = 4;

/// How lookups come from a line to the one that replaces it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Passage {
    /// Every lookup that is on its way finds the new one if it comes too late for the old one, which can go at once.
    Follows,
    /// The new one is nearer: those that begin find it, those on their way may have gone past, and need the old one.
    Nearer,
    /// The new one is further, and those on their way may have read how far to go before that was raised. As long as they need
    /// the old one, those that begin find that.
    Hidden,
}

/// Lines by their place: the number of the shard, times the lines of a shard, and the line in it.
#[derive(Debug)]
pub(super) struct Table4 {
    shards_log2: u32,
    shard_lines: u32,
    used: Vec<bool>,
    /// As in each line's head.
    reach: Vec<u8>,
    /// What was raised since it was last asked for, but for lines that are about to be written.
    raised: BTreeMap<u32, u8>,
    /// Places whose reach a lookup that is on its way may have read before it was raised.
    raised_lately: BTreeSet<u32>,
    /// Those of them that were there when settling began.
    raised_before: BTreeSet<u32>,
}

impl Table4 {
    pub(super) fn new(shards_log2: u32, shard_lines: u32) -> Self {
        let lines = (shard_lines as usize) << shards_log2;
        Self {
            shards_log2,
            shard_lines,
            used: vec![false; lines],
            reach: vec![0; lines],
            raised: BTreeMap::new(),
            raised_lately: BTreeSet::new(),
            raised_before: BTreeSet::new(),
        }
    }

    /// The place of a free line where a lookup of the key comes by: the nearest to its own.
    pub(super) fn take(&mut self, word: u64) -> Option<u32> {
        let (home, distance) = (self.home(word), self.reach_max());
        let distance = (0..=distance).find(|&d| !self.used[self.further(home, d) as usize])?;
        // Its reach is at once as far as it will go, so that later moves need not raise it.
        Some(self.occupy(home, distance, (distance + DRIFT_MAX).min(self.reach_max())))
    }

    /// The place of a free line for a key that has one at `old`, and others at `outgoing`, which lookups are to find after it.
    ///
    /// Away from the key's own line, near to it; else back; else away as far as lookups go already; else, from the key's own
    /// line, where lookups that are on their way find out, further than that.
    pub(super) fn take_other(&mut self, word: u64, old: u32, outgoing: &[u32]) -> Option<u32> {
        let (home, distance) = (self.home(word), self.distance(word, old));
        let outgoing = outgoing.iter().map(|&place| self.distance(word, place)).min();
        let far = outgoing.map_or(self.reach_max(), |outgoing| outgoing.saturating_sub(1));
        let (near, known) = (DRIFT_MAX.min(far), u32::from(self.reach[home as usize]).min(far));
        let furthest = if distance == 0 { far } else { known };
        let free = |&d: &u32| !self.used[self.further(home, d) as usize];
        let mut ways = (distance + 1..=near).chain(0..distance).chain(distance.max(near) + 1..=furthest);
        let distance = ways.find(free)?;
        // A table of an earlier daemon may not say yet how far lookups go.
        Some(self.occupy(home, distance, distance.max(DRIFT_MAX.min(self.reach_max()))))
    }

    /// How lookups of the key come from `old` to `new`. How far to go is read in the key's own line: whoever did, and found
    /// that `old` is not there, may know too little.
    pub(super) fn passage(&self, word: u64, old: u32, new: u32) -> Passage {
        let distance = self.distance(word, old);
        let lately = |home| self.raised_lately.contains(&home) || self.raised_before.contains(&home);
        if self.distance(word, new) < distance {
            Passage::Nearer
        } else if distance > 0 && lately(self.home(word)) {
            Passage::Hidden
        } else {
            Passage::Follows
        }
    }

    /// To be called when all lookups that were on their way have ended.
    pub(super) fn settle(&mut self) {
        self.raised_lately.clear();
        self.raised_before.clear();
    }

    /// Whether some lookup may not know how far to go.
    pub(super) fn has_raised(&self) -> bool {
        !self.raised_lately.is_empty()
    }

    /// To be called before a wait for all lookups that are on their way; then [`Self::settle_begun`].
    pub(super) fn begin_settling(&mut self) {
        self.raised_before.append(&mut self.raised_lately);
    }

    /// All lookups have ended that were on their way when settling began.
    pub(super) fn settle_begun(&mut self) {
        self.raised_before.clear();
    }

    fn occupy(&mut self, home: u32, distance: u32, reach: u32) -> u32 {
        let place = self.further(home, distance);
        self.used[place as usize] = true;
        if reach > u32::from(self.reach[home as usize]) {
            self.reach[home as usize] = reach as u8;
            if distance > 0 {
                // In its own line a frontend says it with all else.
                self.raised.insert(home, reach as u8);
            }
            self.raised_lately.insert(home);
        }
        place
    }

    /// Takes a certain line, that was found to hold the key. Whether lookups of the key come by; if not, it is taken
    /// all the same, and to be given back when it is empty.
    pub(super) fn reserve(&mut self, place: u32, word: u64) -> bool {
        let home = self.home(word);
        self.used[place as usize] = true;
        (0..=u32::from(self.reach[home as usize])).any(|d| self.further(home, d) == place)
    }

    pub(super) fn give(&mut self, place: u32) {
        self.used[place as usize] = false;
    }

    /// How far from a line those lie that belong there.
    pub(super) fn reach(&self, place: u32) -> u8 {
        self.reach[place as usize]
    }

    /// Takes over what was found in a line's head.
    pub(super) fn found_reach(&mut self, place: u32, reach: u8) {
        self.reach[place as usize] = reach;
    }

    /// What lines' heads must say before what was taken last can be found.
    pub(super) fn take_raised(&mut self) -> BTreeMap<u32, u8> {
        std::mem::take(&mut self.raised)
    }

    /// How far a place is from the key's own line.
    pub(super) fn distance(&self, word: u64, place: u32) -> u32 {
        (place + self.shard_lines - self.home(word)) % self.shard_lines
    }

    fn home(&self, word: u64) -> u32 {
        let (shard, line) = Frontend4::home(word, self.shards_log2, self.shard_lines);
        shard * self.shard_lines + line
    }

    /// So many lines from a place, round the end of its shard.
    fn further(&self, place: u32, distance: u32) -> u32 {
        let line = place % self.shard_lines;
        place - line + (line + distance) % self.shard_lines
    }

    fn reach_max(&self) -> u32 {
        REACH_MAX.min(self.shard_lines - 1)
    }
}

#[cfg(test)]
mod tests {
    use keelson_ebpf_common::{
        limits::{FRONTENDS4_MAX, SCALE_MAX, SHARD_LINES, frontends4, shards4_log2},
        net::{Address4, Port},
    };

    use super::*;

    #[test]
    fn keys_of_one_line_go_to_the_next_and_no_further_than_lookups_do() {
        let mut table = Table4::new(2, 100);
        let home = table.home(1);
        let taken: Vec<_> = std::iter::from_fn(|| table.take(1)).collect();
        assert_eq!(taken.len(), 1 + REACH_MAX as usize);
        assert!(taken.iter().all(|place| place / 100 == home / 100), "a lookup stays in its shard");
        assert_eq!(table.take_raised(), [(home, REACH_MAX as u8)].into());
        table.give(taken[9]);
        assert_eq!((table.take(1), table.take_raised()), (Some(taken[9]), BTreeMap::new()));
    }

    #[test]
    fn a_line_is_followed_by_one_that_lookups_find_in_time() {
        let mut table = Table4::new(1, 100);
        let mut at = table.take(1).unwrap();
        table.settle();
        let mut ways = Vec::new();
        for _ in 0..5 {
            let next = table.take_other(1, at, &[]).unwrap();
            ways.push((table.distance(1, next), table.passage(1, at, next)));
            table.give(at);
            at = next;
        }
        let follows = |distance| (distance, Passage::Follows);
        assert_eq!(ways, [follows(1), follows(2), follows(3), follows(4), (0, Passage::Nearer)]);
        let (one, two) = (table.further(at, 1), table.further(at, 2));
        assert_eq!(table.take_other(1, at, &[two]), Some(one));
        assert_eq!(table.take_other(1, one, &[two]), None, "it would be found too late");
    }

    #[test]
    fn a_line_is_adopted_where_lookups_come_by() {
        let mut table = Table4::new(1, 8);
        let home = table.home(1);
        table.found_reach(home, 2);
        assert!(table.reserve(table.further(home, 2), 1));
        let far = table.further(home, 3);
        assert!(!table.reserve(far, 1));
        assert_eq!(table.take(1), Some(home));
        assert_eq!(table.take(1), Some(table.further(home, 1)));
        assert_eq!(table.take(1), Some(table.further(home, 4)), "what is found is not given away");
    }

    #[test]
    fn a_table_as_full_as_its_limit_has_room_for_all_likely_addresses() {
        let sequence = |n: u32| (0x0a60_0000 + n / 2, 80 + (n % 2) as u16);
        // As a random allocator of addresses gives them: an odd multiplier walks through all 2^20 of a /12.
        let scattered = |n: u32| (0x0a60_0000 + (n.wrapping_mul(0x9_e375) & 0xf_ffff), 443);
        for scale in 0..=SCALE_MAX {
            for address in [sequence as fn(u32) -> (u32, u16), scattered] {
                let mut table = Table4::new(shards4_log2(scale), SHARD_LINES);
                for n in 0..frontends4(scale).min(FRONTENDS4_MAX) {
                    let (address, port) = address(n);
                    let (address, port) = (Address4::new(address.into()), Port::new(port));
                    let word = Frontend4 { address, port, protocol: 6, pad: 0 }.word();
                    assert!(table.take(word).is_some(), "{n} at scale {scale}");
                }
            }
        }
    }
}

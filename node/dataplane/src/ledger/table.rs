//! Which entries of the table of IPv4 frontends are in use. What a lookup may assume is stated at
//! [`keelson_ebpf_common::value::Bucket4`].

use keelson_ebpf_common::{key::Frontend4, limits::REACH_MAX, value::BUCKET_ENTRIES};

/// Entries in use, a bit each.
#[derive(Debug)]
pub(super) struct Table4 {
    buckets_log2: u32,
    used: Vec<u8>,
}

impl Table4 {
    pub(super) fn new(buckets_log2: u32) -> Self {
        Self { buckets_log2, used: vec![0; 1 << buckets_log2] }
    }

    /// The number of a free entry where a lookup of the key comes by: in its own bucket if there is one.
    pub(super) fn take(&mut self, word: u64) -> Option<u32> {
        let home = Frontend4::bucket(word, self.buckets_log2);
        let full = (1_u8 << BUCKET_ENTRIES) - 1;
        let near = (0..=self.reach()).map(|step| (home + step) & self.mask());
        let bucket = near.into_iter().find(|&bucket| self.used[bucket as usize] != full)?;
        let entry = (!self.used[bucket as usize]).trailing_zeros();
        self.used[bucket as usize] |= 1 << entry;
        Some(bucket * BUCKET_ENTRIES + entry)
    }

    /// Takes a certain entry, unless it is in use or no lookup of the key comes by.
    pub(super) fn reserve(&mut self, number: u32, word: u64) -> bool {
        let (bucket, bit) = (number / BUCKET_ENTRIES, 1 << (number % BUCKET_ENTRIES));
        let home = Frontend4::bucket(word, self.buckets_log2);
        if bucket > self.mask() || bucket.wrapping_sub(home) & self.mask() > self.reach() {
            return false;
        }
        let used = &mut self.used[bucket as usize];
        let free = *used & bit == 0;
        *used |= bit;
        free
    }

    pub(super) fn give(&mut self, number: u32) {
        self.used[(number / BUCKET_ENTRIES) as usize] &= !(1 << (number % BUCKET_ENTRIES));
    }

    fn mask(&self) -> u32 {
        (1 << self.buckets_log2) - 1
    }

    fn reach(&self) -> u32 {
        REACH_MAX.min(self.mask())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_bucket_go_to_the_next_and_no_further_than_lookups_do() {
        let mut table = Table4::new(5);
        let home = Frontend4::bucket(1, 5);
        let taken: Vec<_> = std::iter::from_fn(|| table.take(1)).collect();
        assert_eq!(taken.len(), 4 * (1 + REACH_MAX as usize));
        assert!(taken.iter().all(|n| (n / 4).wrapping_sub(home) & 31 <= REACH_MAX));
        table.give(taken[9]);
        assert!(table.reserve(taken[9], 1) && !table.reserve(taken[9], 1));
        let far = (home + REACH_MAX + 1) % 32 * 4;
        assert!(!table.reserve(far, 1) && !table.reserve(128, 1));
    }

    #[test]
    fn a_table_half_full_of_likely_addresses_has_room_for_all() {
        let mut table = Table4::new(15);
        for n in 0..65_536_u32 {
            let address = keelson_ebpf_common::net::Address4::new((0x0a60_0000 + n / 2).into());
            let port = keelson_ebpf_common::net::Port::new(80 + (n % 2) as u16);
            let key = Frontend4 { address, port, protocol: 6, reach: 0 };
            assert!(table.take(key.word()).is_some(), "{n}");
        }
    }
}

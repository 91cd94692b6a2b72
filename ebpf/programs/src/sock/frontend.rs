//! From a destination to the record of its Service.
//!
//! IPv4 is a table of our own in an array: one cache line a lookup, hit or miss, and no helper call, where the kernel's
//! hash takes three lines and the record a fourth. With 10,000 Services used alike those lines are cold, and each
//! costs a connection about 0.2 us. IPv6 is the kernel's hash.

use keelson_ebpf_common::{
    key::{Frontend4, Frontend6},
    limits::{REACH_MAX, SCALE_MAX, buckets4_log2},
    value::{Bucket4, RECORD6, Target},
};

use crate::maps::{FRONTENDS4, FRONTENDS6, RECORDS6};

/// How large the tables are; written by whoever loads the programs, a constant to the verifier.
#[unsafe(no_mangle)]
static SCALE: u32 = SCALE_MAX;

/// What a bucket says about a key.
enum Look {
    /// It is here.
    Hit(Target),
    /// It is not; it may be in so many buckets that follow.
    Miss(u32),
}

#[inline(always)]
pub fn find4(key: Frontend4) -> Option<Target> {
    let word = key.word();
    // SAFETY: a static of this program. Volatile: what the compiler sees is not what the loader writes.
    let scale = unsafe { (&raw const SCALE).read_volatile() };
    let buckets_log2 = buckets4_log2(scale);
    let home = Frontend4::bucket(word, buckets_log2);
    match look(home, word) {
        Look::Hit(target) => Some(target),
        Look::Miss(0) => None,
        Look::Miss(reach) => find_further(home, word, reach, (1 << buckets_log2) - 1),
    }
}

/// Rare: the key's own bucket was full once.
#[inline(always)]
fn find_further(home: u32, word: u64, reach: u32, mask: u32) -> Option<Target> {
    for step in 1..=REACH_MAX {
        if step > reach {
            break;
        }
        if let Look::Hit(target) = look((home + step) & mask, word) {
            return Some(target);
        }
    }
    None
}

#[inline(always)]
fn look(index: u32, word: u64) -> Look {
    let Some(bucket) = FRONTENDS4.get_ptr(index) else { return Look::Miss(0) };
    let head = key_at(bucket, 0);
    if head & !Frontend4::REACH == word {
        return hit(bucket, 0);
    }
    if key_at(bucket, 1) == word {
        return hit(bucket, 1);
    }
    if key_at(bucket, 2) == word {
        return hit(bucket, 2);
    }
    if key_at(bucket, 3) == word {
        return hit(bucket, 3);
    }
    Look::Miss((head & Frontend4::REACH).to_be() as u32 & 0xff)
}

#[inline(always)]
fn hit(bucket: *const Bucket4, entry: usize) -> Look {
    // SAFETY: a pointer from the map and an index below 4. One load of an aligned word: the daemon stores it as one.
    Look::Hit(Target::unpack(unsafe { (&raw const (*bucket).entries[entry].target).read_volatile() }))
}

#[inline(always)]
fn key_at(bucket: *const Bucket4, entry: usize) -> u64 {
    // SAFETY: as above.
    unsafe { (&raw const (*bucket).entries[entry].key).read_volatile() }
}

/// What the hash holds may name a record that does not exist: `Err`.
#[inline(always)]
pub fn find6(key: &Frontend6) -> Result<Option<Target>, ()> {
    // SAFETY: the element never changes while it exists, and its memory is not given to another key before this
    // program has ended (the daemon waits for a grace period).
    let Some(frontend) = (unsafe { FRONTENDS6.get(key) }) else { return Ok(None) };
    let record = RECORDS6.get_ptr(frontend.service & !RECORD6).ok_or(())?;
    // SAFETY: a pointer from the map; one load of an aligned word.
    Ok(Some(Target::unpack(unsafe { record.read_volatile() })))
}

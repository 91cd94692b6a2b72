//! From a destination to where its Service leads.
//!
//! IPv4 is a table of our own in arrays: one cache line a lookup, hit or miss, which holds the backends too, and no helper
//! call. With 10,000 Services used alike that line is cold and is what a Service costs: the kernel's hash takes three, and
//! backends apart from their frontend one more. IPv6 is the kernel's hash.

use aya_ebpf::btf_maps::Array;
use keelson_ebpf_common::{
    key::{Frontend4, Frontend6},
    limits::{REACH_MAX, SCALE_MAX, SHARD_LINES, prefix_bits4_log2, shards4_log2},
    net::Address4,
    node,
    value::{Backend4, Head4, IN_SLOTS, Line4, Span, Target},
};

use crate::maps::{FRONTENDS4, FRONTENDS6, PREFIXES4, RECORDS6};

/// How large the tables are; written by whoever loads the programs, a constant to the verifier.
#[unsafe(no_mangle)]
static SCALE: u32 = SCALE_MAX;

/// A part of the table of IPv4 frontends.
pub type Shard4 = Array<Line4, { SHARD_LINES as usize }>;

/// Where an IPv4 frontend leads.
pub enum Leads4 {
    /// To backends in its own line.
    Here(Inline4),
    /// To slots.
    Slots(Target),
}

/// The backends in a line.
pub struct Inline4 {
    line: *const Line4,
    count: u32,
}

impl Inline4 {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The backend that 32 random bits choose.
    #[inline(always)]
    pub fn pick(&self, random: u32) -> Backend4 {
        const FIRST: u32 = (core::mem::offset_of!(Line4, leads) / size_of::<u64>()) as u32;
        const WORDS: u32 = (size_of::<Line4>() / size_of::<u64>()) as u32;
        // The mask says to the verifier what the daemon's count says to us: a word of this line.
        let word = Span { first: FIRST, count: self.count }.slot(random) & (WORDS - 1);
        // SAFETY: a line from the map, of so many words. Backends do not change while the line is published, nor before
        // this program has ended.
        Backend4::from_word(unsafe { self.line.cast::<u64>().add(word as usize).read_volatile() })
    }
}

/// What a line says about a key.
enum Look {
    /// It is here.
    Hit(Leads4),
    /// It is not; it may be in so many lines that follow.
    Miss(u32),
}

/// Whether the address may be a Service's: `false` is certain.
///
/// Asked first: the answer comes from a line that every connection reads. What is not a Service's reads no cold line, and the
/// processor knows its way, and goes on it, while the line of a Service's frontend is still to come. (Measured with
/// connections of both kinds by turns: without it a Service costs 0.04 us more, and 0.1 us more where the line is cold.)
#[inline(always)]
pub fn may_be4(address: Address4) -> bool {
    let (word, bit) = node::folded4(address).prefix_bit(prefix_bits4_log2(scale()));
    // SAFETY: a pointer from the map; one load of an aligned word.
    PREFIXES4.get_ptr(word).is_some_and(|word| unsafe { word.read_volatile() } & bit != 0)
}

#[inline(always)]
fn scale() -> u32 {
    // SAFETY: a static of this program. Volatile: what the compiler sees is not what the loader writes.
    unsafe { (&raw const SCALE).read_volatile() }
}

/// Where a destination leads, if it is a Service's.
#[inline(always)]
pub fn find4(key: Frontend4) -> Option<Leads4> {
    let word = key.word();
    let (shard, home) = Frontend4::home(word, shards4_log2(scale()), SHARD_LINES);
    let shard = FRONTENDS4.get(shard)?;
    match look(shard, home, word) {
        Look::Hit(leads) => Some(leads),
        Look::Miss(0) => None,
        Look::Miss(reach) => find_further(shard, home, word, reach),
    }
}

/// For one frontend in five: the key's own line was taken.
#[inline(always)]
fn find_further(shard: &Shard4, home: u32, word: u64, reach: u32) -> Option<Leads4> {
    for step in 1..=REACH_MAX {
        if step > reach {
            break;
        }
        // Round the end by a division: a branch would make two ways of each step for the verifier, which takes them all.
        if let Look::Hit(leads) = look(shard, (home + step) % SHARD_LINES, word) {
            return Some(leads);
        }
    }
    None
}

#[inline(always)]
fn look(shard: &Shard4, index: u32, word: u64) -> Look {
    let Some(line) = shard.get_ptr(index) else { return Look::Miss(0) };
    // SAFETY: a pointer from the map; loads of aligned words. Each byte of the head is as it was or as it will be.
    let (key, head) = unsafe {
        ((&raw const (*line).key).read_volatile(), (&raw const (*line).head).cast::<u64>().read_volatile())
    };
    let head = Head4::from_word(head);
    if key != word || head.published == 0 {
        return Look::Miss(u32::from(head.reach));
    }
    if head.count != IN_SLOTS {
        return Look::Hit(Leads4::Here(Inline4 { line, count: u32::from(head.count) }));
    }
    // SAFETY: as above.
    Look::Hit(Leads4::Slots(Target::unpack(unsafe { (&raw const (*line).leads[0]).read_volatile() })))
}

/// What the hash holds may name a record that does not exist: `Err`.
#[inline(always)]
pub fn find6(key: &Frontend6) -> Result<Option<Target>, ()> {
    // SAFETY: the element never changes while it exists, and its memory is not given to another key before this
    // program has ended (the daemon waits for a grace period).
    let Some(frontend) = (unsafe { FRONTENDS6.get(key) }) else { return Ok(None) };
    let record = RECORDS6.get_ptr(frontend.service).ok_or(())?;
    // SAFETY: a pointer from the map; one load of an aligned word.
    Ok(Some(Target::unpack(unsafe { record.read_volatile() })))
}

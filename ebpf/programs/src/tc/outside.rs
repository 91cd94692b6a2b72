//! Where frontends lead that are reached from outside, as the programs at tc and on the uplink's wire both read it: so both
//! send a flow to the same backend.

use aya_ebpf::{
    macros::map,
    maps::{
        Array, HashMap,
        lpm_trie::{Key, LpmTrie},
    },
};
use keelson_ebpf_common::{
    key::Frontend6,
    layout, maglev,
    net::Address6,
    packet::{External, ExternalTarget, Range},
    value::Backend6,
};

#[map]
static EXTERNALS: HashMap<Frontend6, External> =
    HashMap::with_max_entries(layout::EXTERNALS.max_entries, layout::EXTERNALS.flags);

#[map]
static EXTERNAL_TARGETS: Array<u64> =
    Array::with_max_entries(layout::EXTERNAL_TARGETS.max_entries, layout::EXTERNAL_TARGETS.flags);

#[map]
static MAGLEV: Array<u64> = Array::with_max_entries(layout::MAGLEV.max_entries, layout::MAGLEV.flags);

#[map]
static EXTERNAL_BACKENDS: Array<Backend6> =
    Array::with_max_entries(layout::EXTERNAL_BACKENDS.max_entries, layout::EXTERNAL_BACKENDS.flags);

#[map]
static RANGES: LpmTrie<[u32; 5], u8> =
    LpmTrie::with_max_entries(layout::RANGES.max_entries, layout::RANGES.flags);

/// Whether a frontend, IPv4 in mapped form, is one of those.
#[inline(always)]
pub fn external(frontend: &Frontend6) -> Option<&'static External> {
    // SAFETY: the element never changes while it exists, and its memory is not given to another key before this program has
    // ended (the daemon waits for a grace period).
    unsafe { EXTERNALS.get(frontend) }
}

/// Where a frontend leads.
#[inline(always)]
pub fn target(external: &External) -> Option<ExternalTarget> {
    let word = EXTERNAL_TARGETS.get_ptr(external.number)?;
    // SAFETY: a pointer from the map; one load of an aligned word.
    Some(ExternalTarget::unpack(unsafe { word.read_volatile() }))
}

/// The backend of a flow with this hash, of a target that has any. Without a table all of a single one, or none.
#[inline(always)]
pub fn spread(target: &ExternalTarget, hash: u64) -> Option<&'static Backend6> {
    let Some(table) = target.table else {
        return if target.count == 1 { backend(target.first) } else { None };
    };
    let (word, shift) = table.place(maglev::choosing(hash));
    let entry = MAGLEV.get(word)? >> shift & 0xffff;
    backend(target.first + entry as u32)
}

/// The backend in a slot.
#[inline(always)]
pub fn backend(slot: u32) -> Option<&'static Backend6> {
    EXTERNAL_BACKENDS.get(slot)
}

/// Whether an address is in one of the owner's ranges.
#[inline(always)]
pub fn in_ranges(owner: u32, address: Address6) -> bool {
    let Range { bits, owner, address: Address6([a, b, c, d]) } = Range::of(owner, address);
    RANGES.get(Key::new(bits, [owner, a, b, c, d])).is_some()
}

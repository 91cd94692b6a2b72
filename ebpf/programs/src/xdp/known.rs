//! Flows that were opened here: found, used, put in the place of what is not in use. See [`keelson_ebpf_common::wire`]; what a flow is in
//! either family says [`crate::ways`].
//!
//! All CPUs share a family's table: a flow whose packets move to another CPU stays at its backend. Who writes a way has claimed its
//! state by one compare-and-swap; who reads it looks at the state before and after. A reader could take a way for another's
//! only if its own flow, silent for a quarter of an hour, came back in the nanoseconds in which the way is given away.

use core::arch::asm;

use keelson_ebpf_common::wire::{IDLE_MAX, state};

use crate::ways::{Backend, Known};

/// The backend of a flow, which is used now and perhaps over.
#[inline(always)]
pub fn find<H: Known>(head: &H, hash: u64, age: u32, over: bool) -> H::Backend {
    let way = way_of(head, hash as u32 & H::mask());
    if way.is_null() {
        return H::Backend::NONE;
    }
    // SAFETY: a way of the map; words, each read at once.
    unsafe {
        let word = H::state(way);
        let before = word.read_volatile();
        let backend = H::backend(way, before);
        let after = before & !state::AGE | age | if over { state::OVER } else { state::USED };
        // Most packets find it as they leave it.
        let seen = if after == before { word.read_volatile() } else { compare_and_swap(word, before, after) };
        if seen == before && before & (state::TAKEN | state::BUSY) == state::TAKEN {
            backend
        } else {
            H::Backend::NONE
        }
    }
}

/// Writes where a flow goes that begins now. Whether there was a way for it.
#[inline(always)]
pub fn put<H: Known>(head: &H, hash: u64, backend: H::Backend, age: u32) -> bool {
    let home = hash as u32 & H::mask();
    let mut way = way_of(head, home);
    if way.is_null() {
        let mut least_wanted = Candidate::<H> { way: core::ptr::null_mut(), rank: 0 };
        for beside in 0..H::LINES {
            least_wanted.look_in(home ^ beside, age);
        }
        way = least_wanted.way;
    }
    if way.is_null() {
        return false;
    }
    // SAFETY: a way of the map; the words are ours from the swap to the last store.
    unsafe {
        let word = H::state(way);
        let before = word.read_volatile();
        if before & state::BUSY != 0 || compare_and_swap(word, before, state::BUSY) != before {
            return false;
        }
        head.fill(way, backend);
        compare_and_swap(word, state::BUSY, state::TAKEN | age | u32::from(backend.port()) << 16);
    }
    true
}

/// The flow's way; null for none.
#[inline(always)]
fn way_of<H: Known>(head: &H, home: u32) -> *mut H::Way {
    for beside in 0..H::LINES {
        let Some(line) = H::line(home ^ beside) else { return core::ptr::null_mut() };
        for number in 0..H::WAYS {
            // SAFETY: a way of the line.
            unsafe {
                let way = line.add(number);
                if head.is_of(way) {
                    return way;
                }
            }
        }
    }
    core::ptr::null_mut()
}

/// Whose way is given away first.
struct Candidate<H: Known> {
    way: *mut H::Way,
    /// 0: nobody's.
    rank: u32,
}

impl<H: Known> Candidate<H> {
    #[inline(always)]
    fn look_in(&mut self, line: u32, age: u32) {
        let Some(line) = H::line(line) else { return };
        for number in 0..H::WAYS {
            // SAFETY: a way of the line; one word, read at once.
            let (way, state) = unsafe {
                let way = line.add(number);
                (way, H::state(way).read_volatile())
            };
            let silent = age.wrapping_sub(state) & state::AGE;
            let rank = if state & state::BUSY != 0 {
                0
            } else if state & state::TAKEN == 0 {
                u32::MAX
            } else if state & (state::USED | state::OVER) == state::USED {
                if silent > IDLE_MAX { silent } else { 0 }
            } else {
                // The older the better.
                silent + 1
            };
            if rank > self.rank {
                (self.way, self.rank) = (way, rank);
            }
        }
    }
}

/// Stores if the word is as expected; answers what it was. A barrier for both.
///
/// # Safety
/// `word` is a valid, aligned pointer into a map.
#[inline(always)]
unsafe fn compare_and_swap(word: *mut u32, expected: u32, new: u32) -> u32 {
    let mut found = u64::from(expected);
    // SAFETY: one instruction of the machine, kernels from 5.12 on; `core` has none for this target. The registers are
    // named because those of 32 bits are no class of it.
    unsafe {
        asm!(
            "w0 = cmpxchg32_32(r1 + 0, w0, w2)",
            in("r1") word, in("r2") u64::from(new), inout("r0") found
        );
    }
    found as u32
}

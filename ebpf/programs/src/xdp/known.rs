//! Flows that were opened here: found, used, put in the place of what is not in use. See [`keelson_ebpf_common::wire`].
//!
//! All CPUs share the table: a flow whose packets move to another CPU stays at its backend. Who writes a way has claimed its
//! state by one compare-and-swap; who reads it looks at the state before and after. A reader could take a way for another's
//! only if its own flow, silent for a quarter of an hour, came back in the nanoseconds in which the way is given away.

use core::arch::asm;

use keelson_ebpf_common::wire::{IDLE_MAX, Line, WAYS, Way, state};

use crate::{
    frame::Head,
    state::{KNOWN, known_mask},
};

/// Where a flow goes: address and port in network order, as one number, which is 0 for nowhere. Not an `Option`: the
/// compiler would give it back in a register of which half is undefined, which the verifier refuses.
#[derive(Clone, Copy)]
pub struct Backend(u64);

impl Backend {
    pub const NONE: Self = Self(0);

    #[inline(always)]
    pub const fn new(address: u32, port: u16) -> Self {
        Self(address as u64 | (port as u64) << 32)
    }

    #[inline(always)]
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }

    #[inline(always)]
    pub const fn address(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    pub const fn port(self) -> u16 {
        (self.0 >> 32) as u16
    }
}

/// The backend of a flow, which is used now and perhaps over.
#[inline(always)]
pub fn find(head: &Head, hash: u64, age: u32, over: bool) -> Backend {
    let home = hash as u32 & known_mask();
    let mut way = way_in(head, home);
    if way.is_null() {
        way = way_in(head, home ^ 1);
    }
    if way.is_null() {
        return Backend::NONE;
    }
    // SAFETY: a way of the map; words, each read at once.
    unsafe {
        let before = (&raw const (*way).state).read_volatile();
        let address = (&raw const (*way).backend).read_volatile();
        let after = before & !state::AGE | age | if over { state::OVER } else { state::USED };
        // Most packets find it as they leave it.
        let seen = if after == before {
            (&raw const (*way).state).read_volatile()
        } else {
            compare_and_swap(&raw mut (*way).state, before, after)
        };
        if seen == before && before & (state::TAKEN | state::BUSY) == state::TAKEN {
            Backend::new(address, (before >> 16) as u16)
        } else {
            Backend::NONE
        }
    }
}

/// Writes where a flow goes that begins now. Whether there was a way for it.
#[inline(never)]
pub fn put(head: &Head, hash: u64, backend: Backend, age: u32) -> bool {
    let home = hash as u32 & known_mask();
    let mut way = way_in(head, home);
    if way.is_null() {
        way = way_in(head, home ^ 1);
    }
    if way.is_null() {
        let mut least_wanted = Candidate { way: core::ptr::null_mut(), rank: 0 };
        least_wanted.look_in(home, age);
        least_wanted.look_in(home ^ 1, age);
        way = least_wanted.way;
    }
    if way.is_null() {
        return false;
    }
    // SAFETY: a way of the map; the words are ours from the swap to the last store.
    unsafe {
        let word = &raw mut (*way).state;
        let before = word.read_volatile();
        if before & state::BUSY != 0 || compare_and_swap(word, before, state::BUSY) != before {
            return false;
        }
        (&raw mut (*way).source).write_volatile(head.ip.source);
        (&raw mut (*way).service).write_volatile(head.ip.destination);
        (&raw mut (*way).ports).write_volatile(head.ports());
        (&raw mut (*way).backend).write_volatile(backend.address());
        compare_and_swap(word, state::BUSY, state::TAKEN | age | u32::from(backend.port()) << 16);
    }
    true
}

/// The flow's way in a line; null for none.
#[inline(always)]
fn way_in(head: &Head, line: u32) -> *mut Way {
    let Some(line) = KNOWN.get_ptr_mut(line) else { return core::ptr::null_mut() };
    let (source, service, ports) = (head.ip.source, head.ip.destination, head.ports());
    for number in 0..WAYS {
        // SAFETY: a way of the map's value; words, each read at once.
        unsafe {
            let way = way_of(line, number);
            if (&raw const (*way).source).read_volatile() == source
                && (&raw const (*way).ports).read_volatile() == ports
                && (&raw const (*way).service).read_volatile() == service
            {
                return way;
            }
        }
    }
    core::ptr::null_mut()
}

/// # Safety
/// A line of the map, and a number below [`WAYS`].
#[inline(always)]
unsafe fn way_of(line: *mut Line, number: usize) -> *mut Way {
    // SAFETY: the caller's promise.
    unsafe { (&raw mut (*line).ways).cast::<Way>().add(number) }
}

/// Whose way is given away first.
struct Candidate {
    way: *mut Way,
    /// 0: nobody's.
    rank: u32,
}

impl Candidate {
    #[inline(always)]
    fn look_in(&mut self, line: u32, age: u32) {
        let Some(line) = KNOWN.get_ptr_mut(line) else { return };
        for number in 0..WAYS {
            // SAFETY: a way of the map's value; one word, read at once.
            let (way, state) = unsafe {
                let way = way_of(line, number);
                (way, (&raw const (*way).state).read_volatile())
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

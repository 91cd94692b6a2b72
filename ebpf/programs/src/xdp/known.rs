//! Flows that were opened here: found, used, put in the place of what is not in use. See [`keelson_ebpf_common::wire`].
//!
//! All CPUs share a family's table: a flow whose packets move to another CPU stays at its backend. Who writes a way has claimed its
//! state by one compare-and-swap; who reads it looks at the state before and after. A reader could take a way for another's
//! only if its own flow, silent for a quarter of an hour, came back in the nanoseconds in which the way is given away.

use core::arch::asm;

use keelson_ebpf_common::{
    net::{Address4, Address6, Port},
    wire::{IDLE_MAX, LINES, LINES6, WAYS, Way, Way6, state},
};

use crate::{
    frame::Head,
    headers::{Head6, Headers},
    state::{KNOWN, KNOWN6, known_mask, known6_mask},
};

/// Where a flow goes, in numbers, of which some are 0 for nowhere. Not an `Option`: the compiler would give it back in a
/// register of which half is undefined, which the verifier refuses.
pub trait Backend: Copy {
    const NONE: Self;

    fn new(address: Address6, port: Port) -> Self;
    fn is_some(self) -> bool;
    /// IPv4 in mapped form.
    fn address(self) -> Address6;
    /// Network order.
    fn port(self) -> u16;
}

/// Of IPv4: address and port as one number.
#[derive(Clone, Copy)]
pub struct Backend4(u64);

impl Backend4 {
    /// Network order.
    #[inline(always)]
    pub const fn word(self) -> u32 {
        self.0 as u32
    }
}

impl Backend for Backend4 {
    const NONE: Self = Self(0);

    #[inline(always)]
    fn new(address: Address6, port: Port) -> Self {
        Self(address.0[3] as u64 | (port.0 as u64) << 32)
    }

    #[inline(always)]
    fn is_some(self) -> bool {
        self.0 != 0
    }

    #[inline(always)]
    fn address(self) -> Address6 {
        Address4(self.word()).to_mapped()
    }

    #[inline(always)]
    fn port(self) -> u16 {
        (self.0 >> 32) as u16
    }
}

/// Of IPv6: two halves of the address, and the port, which no backend has as 0.
#[derive(Clone, Copy)]
pub struct Backend6([u64; 2], u64);

impl Backend for Backend6 {
    const NONE: Self = Self([0; 2], 0);

    #[inline(always)]
    fn new(Address6([a, b, c, d]): Address6, port: Port) -> Self {
        let pair = |low: u32, high: u32| low as u64 | (high as u64) << 32;
        Self([pair(a, b), pair(c, d)], port.0.into())
    }

    #[inline(always)]
    fn is_some(self) -> bool {
        self.1 != 0
    }

    #[inline(always)]
    fn address(self) -> Address6 {
        let [first, second] = self.0;
        Address6([first as u32, (first >> 32) as u32, second as u32, (second >> 32) as u32])
    }

    #[inline(always)]
    fn port(self) -> u16 {
        self.1 as u16
    }
}

/// The table of a family. `way` is always one of it.
pub trait Known: Headers {
    type Backend: Backend;
    type Way;
    /// Lines in which a flow may lie; a power of two.
    const LINES: u32;
    /// Ways of each.
    const WAYS: usize;

    /// Lines of the table, less one.
    fn mask() -> u32;
    /// The first way of a line.
    fn line(number: u32) -> Option<*mut Self::Way>;
    /// The state of a way.
    unsafe fn state(way: *mut Self::Way) -> *mut u32;
    /// Whether a way is that of this packet's flow.
    unsafe fn is_of(&self, way: *mut Self::Way) -> bool;
    /// Where it leads, by its state as it was read.
    unsafe fn backend(way: *mut Self::Way, state: u32) -> Self::Backend;
    /// Writes all but the state.
    unsafe fn fill(&self, way: *mut Self::Way, backend: Self::Backend);
}

impl Known for Head {
    type Backend = Backend4;
    type Way = Way;
    const LINES: u32 = LINES;
    const WAYS: usize = WAYS;

    #[inline(always)]
    fn mask() -> u32 {
        known_mask()
    }

    #[inline(always)]
    fn line(number: u32) -> Option<*mut Way> {
        // SAFETY: a line of the map.
        KNOWN.get_ptr_mut(number).map(|line| unsafe { (&raw mut (*line).ways).cast() })
    }

    #[inline(always)]
    unsafe fn state(way: *mut Way) -> *mut u32 {
        // SAFETY: the caller's promise.
        unsafe { &raw mut (*way).state }
    }

    #[inline(always)]
    unsafe fn is_of(&self, way: *mut Way) -> bool {
        // SAFETY: the caller's promise; words, each read at once.
        unsafe {
            (&raw const (*way).source).read_volatile() == self.ip.source
                && (&raw const (*way).ports).read_volatile() == self.ports()
                && (&raw const (*way).service).read_volatile() == self.ip.destination
        }
    }

    #[inline(always)]
    unsafe fn backend(way: *mut Way, state: u32) -> Backend4 {
        // SAFETY: the caller's promise.
        let address = unsafe { (&raw const (*way).backend).read_volatile() };
        Backend4(address as u64 | (state as u64 >> 16) << 32)
    }

    #[inline(always)]
    unsafe fn fill(&self, way: *mut Way, backend: Backend4) {
        // SAFETY: the caller's promise.
        unsafe {
            (&raw mut (*way).source).write_volatile(self.ip.source);
            (&raw mut (*way).service).write_volatile(self.ip.destination);
            (&raw mut (*way).ports).write_volatile(self.ports());
            (&raw mut (*way).backend).write_volatile(backend.word());
        }
    }
}

impl Known for Head6 {
    type Backend = Backend6;
    type Way = Way6;
    const LINES: u32 = LINES6;
    const WAYS: usize = 1;

    #[inline(always)]
    fn mask() -> u32 {
        known6_mask()
    }

    #[inline(always)]
    fn line(number: u32) -> Option<*mut Way6> {
        KNOWN6.get_ptr_mut(number)
    }

    #[inline(always)]
    unsafe fn state(way: *mut Way6) -> *mut u32 {
        // SAFETY: the caller's promise.
        unsafe { &raw mut (*way).state }
    }

    #[inline(always)]
    unsafe fn is_of(&self, way: *mut Way6) -> bool {
        // SAFETY: the caller's promise; words, each read at once.
        unsafe {
            (&raw const (*way).ports).read_volatile() == self.ports()
                && are((&raw const (*way).source).cast(), self.ip.source)
                && are((&raw const (*way).service).cast(), self.ip.destination)
        }
    }

    #[inline(always)]
    unsafe fn backend(way: *mut Way6, state: u32) -> Backend6 {
        // SAFETY: the caller's promise.
        let address = unsafe { (&raw const (*way).backend).read_volatile() };
        Backend6::new(Address6(address), Port((state >> 16) as u16))
    }

    #[inline(always)]
    unsafe fn fill(&self, way: *mut Way6, backend: Backend6) {
        // SAFETY: the caller's promise.
        unsafe {
            (&raw mut (*way).source).write_volatile(self.ip.source);
            (&raw mut (*way).service).write_volatile(self.ip.destination);
            (&raw mut (*way).ports).write_volatile(self.ports());
            (&raw mut (*way).backend).write_volatile(backend.address().0);
        }
    }
}

/// Whether four words of the table are these.
///
/// # Safety
/// They are there.
#[inline(always)]
unsafe fn are(words: *const u32, [a, b, c, d]: [u32; 4]) -> bool {
    // SAFETY: the caller's promise. The last first: addresses of a network begin alike.
    unsafe {
        words.add(3).read_volatile() == d
            && words.add(2).read_volatile() == c
            && words.add(1).read_volatile() == b
            && words.read_volatile() == a
    }
}

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

/// Writes where a flow goes that begins now. Whether there was a way for it. `backend` in its parts, as arguments are words.
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

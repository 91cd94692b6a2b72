//! Where flows lead, and how they lie in the tables of known ones: a family each.

use keelson_ebpf_common::{
    net::{Address4, Address6, Port},
    wire::{LINES, LINES6, WAYS, Way, Way6},
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

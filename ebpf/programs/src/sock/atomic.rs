//! What needs the machine's own instructions: atomic additions, and numbers that the compiler knows nothing of. `core` offers none to this target, which has no compare-and-swap before its third version; kernels from
//! 5.12 on have both instructions.

use core::arch::asm;

/// Adds to a counter that several CPUs share.
///
/// # Safety
/// `counter` is a valid, aligned pointer into a map.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, value: u64) {
    // SAFETY: the caller's promise; one instruction of the machine.
    unsafe {
        asm!("lock *(u64 *)({counter} + 0) += {value}", counter = in(reg) counter, value = in(reg) value)
    }
}

/// Adds, and answers what was there before.
///
/// # Safety
/// As [`add`].
#[inline(always)]
pub unsafe fn fetch_add(counter: *mut u32, value: u32) -> u32 {
    let mut number = u64::from(value);
    // SAFETY: as above. The registers are named because those of 32 bits are no class of this target; the result is zero-extended.
    unsafe { asm!("w2 = atomic_fetch_add((u32 *)(r1 + 0), w2)", in("r1") counter, inout("r2") number) }
    number as u32
}

/// The same number, of which the compiler forgets what it knew: it leaves out a comparison that it can prove, and the verifier,
/// which cannot, asks for it.
#[inline(always)]
pub fn unknown(mut number: u64) -> u64 {
    // SAFETY: a move to itself. One instruction it must be: the kernel refuses line information of none.
    unsafe { asm!("{0} = {0}", inout(reg) number, options(pure, nomem, nostack)) };
    number
}

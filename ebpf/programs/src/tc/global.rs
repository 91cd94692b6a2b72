//! Globals that the loader writes before a program is verified: constants to the verifier.

/// Declares one, and the function that reads it.
macro_rules! global {
    ($(#[$doc:meta])* $name:ident: $type:ty = $value:expr, $read:ident) => {
        #[unsafe(no_mangle)]
        static $name: $type = $value;

        $(#[$doc])*
        #[inline(always)]
        pub fn $read() -> $type {
            // SAFETY: a static of this program. Volatile: what the compiler sees is not what the loader writes.
            unsafe { (&raw const $name).read_volatile() }
        }
    };
}

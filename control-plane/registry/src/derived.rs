//! Another form of an object's bytes, derived on first use and kept with the object while there is room for all of them.

use bytes::Bytes;
use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// What all objects of the process keep of derived forms. Beyond it they are made for each use.
pub(crate) const DERIVED_BYTES_MAX: usize = 64 << 20;

static KEPT: AtomicUsize = AtomicUsize::new(0);

/// A form, if it was made and kept.
#[derive(Debug, Default)]
pub(crate) struct Derived(OnceLock<Bytes>);

impl Derived {
    /// The form, made now where it is not there.
    pub(crate) fn get<E>(&self, make: impl FnOnce() -> Result<Vec<u8>, E>) -> Result<Bytes, E> {
        if let Some(bytes) = self.0.get() {
            return Ok(bytes.clone());
        }
        let bytes = Bytes::from(make()?.into_boxed_slice());
        let fits = KEPT.fetch_add(bytes.len(), Relaxed) + bytes.len() <= DERIVED_BYTES_MAX;
        if !fits || self.0.set(bytes.clone()).is_err() {
            KEPT.fetch_sub(bytes.len(), Relaxed);
        }
        Ok(bytes)
    }
}

impl Drop for Derived {
    fn drop(&mut self) {
        if let Some(bytes) = self.0.get() {
            KEPT.fetch_sub(bytes.len(), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn made(derived: &Derived, len: usize) -> bool {
        let mut made = false;
        let form = derived.get(|| {
            made = true;
            Ok::<_, Infallible>(vec![1; len])
        });
        assert_eq!(form, Ok(Bytes::from(vec![1; len])));
        made
    }

    #[test]
    fn a_form_is_kept_while_there_is_room() {
        let (small, large, other) = (Derived::default(), Derived::default(), Derived::default());
        assert!(made(&small, 10) && !made(&small, 10));
        assert!(made(&large, DERIVED_BYTES_MAX) && made(&large, DERIVED_BYTES_MAX));
        assert!(made(&other, DERIVED_BYTES_MAX - 10) && !made(&other, DERIVED_BYTES_MAX - 10));
        drop((other, small));
        assert!(made(&large, DERIVED_BYTES_MAX) && !made(&large, DERIVED_BYTES_MAX));
    }
}

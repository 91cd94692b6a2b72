//! Keys, values, limits and drop reasons shared by the kernel and the user side of the data plane.
//!
//! Owns the bytes that lie in a BPF map: nothing else may state a layout. The programs in `ebpf/programs` and
//! the map writer in `node/dataplane` both compile this crate, so a change here changes both, and changes
//! [`layout::CONFIG_HASH`], which is part of the path under which the maps are pinned.
//! Does not own how a map is reached (helpers in the kernel, `bpf(2)` in user space).
//!
//! All types derive zerocopy's `IntoBytes`, which refuses to compile a type with implicit padding.
#![no_std]
#![forbid(unsafe_code)]

pub mod drop;
pub mod key;
pub mod layout;
pub mod limits;
pub mod maglev;
pub mod metrics;
pub mod net;
pub mod node;
pub mod packet;
pub mod policy;
pub mod value;
pub mod wire;

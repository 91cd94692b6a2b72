//! `bpf(2)` where aya has no call for it: batches, links that are updated in place, maps of maps, shared arrays, grace
//! periods, test runs with a device.
//!
//! Owns the system call, its attribute structures and the safety of the buffers given to it. Does not own what is in
//! a map or which program is attached where: that is `node/dataplane`. Loading programs is aya's.

mod create;
mod grace;
mod link;
mod map;
mod pin;
mod run;
mod shared;
mod syscall;

pub use create::NewMap;
pub use grace::GracePeriod;
pub use link::{AttachType, CgroupLinkInfo, DeviceLinkInfo, Link, XdpMode};
pub use map::{BatchError, Entries, Map, MapInfo, Position};
pub use pin::{is_bpffs, pin_program, unpin};
pub use run::{Ran, run_once, run_once_on_wire};
pub use shared::SharedArray;
pub use syscall::BpfError;

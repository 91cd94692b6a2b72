//! Services in the kernel: desired maps from API objects, and the maps themselves.
//!
//! ```text
//!  Services, slices, the node ──watch──▶ index ──one Service──▶ plan ──frontends──▶ ledger ──steps──▶ maps ──▶ kernel
//!                                     (projections)          (pure)               (pure)           (executor)
//! ```
//!
//! - [`plan`]: what a Service asks for, from the API's objects alone.
//! - [`ledger`]: what the kernel holds, and the ordered steps from that to what is wanted. Pure.
//! - [`maps`]: loads the programs, adopts what is pinned, takes the steps, attaches.
//! - [`flows`]: what the programs measure, with names.
//! - [`packet`]: the programs that see packets: what socket hooks missed, the way in from outside, the pods' own way.
//! - [`policy`]: network policies, from the API's objects to what those programs are to know.
//! - `socket_lb`: pods whose sockets are left alone.
//! - [`run`]: the watches around it, for the node daemon, which also answers health checks, ends UDP sockets whose backend
//!   is gone, and tells users what they do not get.
//!
//! Owns the pins under `<bpffs>/keelson/<node>`. Does not own the programs' source (`ebpf/programs`) or the bytes in the
//! maps (`ebpf/common`). The kernel's state outlives this process: closing everything here detaches nothing, see
//! [`remove_all`].
#![forbid(unsafe_code)]

mod encode;
mod error;
pub mod flows;
mod follower;
mod handle;
mod health;
mod index;
pub mod ledger;
pub mod maps;
mod notices;
mod objects;
pub mod packet;
pub mod plan;
pub mod policy;
mod port_addresses;
mod resets;
mod run;
mod socket_lb;

pub use error::Error;
pub use handle::{Handle, PolicyStatus, ServiceFigures, Status, Trace};
pub use maps::{Dataplane, MapStatus, Object, Options, Settling, Talk, remove_all};
pub use packet::{PacketOptions, PodEndpoint, Translation, TunnelDevice, WireOptions, WireStatus};
pub use port_addresses::{BadPortAddresses, PortAddresses};
pub use run::{Config, run};
pub use socket_lb::SOCKET_LB;

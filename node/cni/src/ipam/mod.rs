//! Which pod has which addresses: a pool (pure) and the journal that makes it last.
//!
//! Life of an address: free → leased (on disk before anyone is told) → resting (after DEL, until 60 s have passed and no
//! map names it any more) → free. A rest keeps a new pod from getting the packets meant for the old one. A pod's addresses of
//! both families are one lease: they come and go together.

mod journal;
mod pool;
mod range;
mod records;

pub use journal::{Ipam, IpamError};
pub use pool::{Exhausted, Lease, Pool, REST_S};
pub use range::Family;

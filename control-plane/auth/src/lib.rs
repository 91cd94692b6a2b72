//! Who is asking and may they: authentication, RBAC and the node authorizer, over snapshots.
//!
//! Everything here is a pure function of what the caller hands in (a certificate, a token, a snapshot of the RBAC
//! objects), with one exception: [`pki`] reads and writes the folder of keys and certificates that `keelson init` makes.
//! Nothing here watches, caches or speaks HTTP; the apiserver feeds the snapshots and asks the questions.
#![forbid(unsafe_code)]

pub mod authn;
pub mod authz;
pub mod bootstrap;
mod faults;
pub mod pki;
pub mod user;

pub use authz::{Authorizer, Decision};
pub use faults::InvalidConfiguration;
pub use user::UserInfo;

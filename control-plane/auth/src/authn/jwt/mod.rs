//! Tokens of other issuers (OpenID Connect): who they make of their bearers, by an AuthenticationConfiguration.
//!
//! ```text
//! file ──config──> shape ──compile──> Authenticators (expressions compiled, everything wrong named)
//! token ──keys──> Parts ──KeySet──> signature good ──mapping──> UserInfo
//! ```
//! All of it is pure. Fetching an issuer's keys, and how long they are believed, is the apiserver's business. Not as
//! upstream: groups that are distributed claims are refused by name.

mod compile;
pub mod config;
mod keys;
mod mapping;
#[cfg(test)]
mod tests;

pub use compile::{AnonymousPaths, Authenticators, ISSUERS_MAX, compile};
pub use keys::{Algorithm, KEYS_MAX, KeySet, Parts, SignatureError};
pub use mapping::{JwtError, JwtIssuer};

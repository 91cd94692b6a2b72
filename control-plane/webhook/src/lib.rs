//! What the API server calls: admission and conversion webhooks, aggregated API servers, proxied endpoints. Its TLS
//! ([`tls_config`]) is that of nodes, too.
//!
//! ```text
//! Client::post, Remote::review ───┐
//! aggregation, proxy ────────────┴─> Transport ──> pool (a peer) ──> dial ──> Resolve (Service -> ready endpoint)
//!                                                                     └─────> TLS (caBundle, server name)
//! ```
//! - Every answer is bounded in time and, where it is read whole, in bytes.
//! - Nobody is believed further than he was configured: redirects are answers, proxies of the environment are not used.
//! - What a review means is its sender's matter; here are connections and HTTP.
#![forbid(unsafe_code)]

mod client;
mod config;
mod dial;
mod error;
mod kubeconfig;
mod resolve;
mod review;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;
mod transport;

pub use client::{Client, Limits};
pub use config::{ClientConfig, ConfigError, ServiceReference, Target};
pub use error::{CallError, TransportError};
pub use kubeconfig::{KubeconfigError, Remote, kubeconfig_files};
pub use resolve::{Resolve, ResolveError};
pub use tls::{Identity, TlsError, Trust, config as tls_config};
pub use transport::{Body, BoxError, Host, Peer, Scheme, Transport};

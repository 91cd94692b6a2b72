//! The wire of the API server: HTTP in, registry calls, HTTP out.
//!
//! ```text
//! socket ──> wire (TLS, HTTP) ──> pipeline ──> identity ──> flow ──> authorization ──> resources ──> keelson-registry
//! in_process_client ─────────────────┘ ──> audit ──> keelson-audit   │   │     ├──> reviews, pods ──> nodes (kubelet API)
//!                           keelson-webhook (SubjectAccessReview) <──┘   │     ├── conversion <── the registry, for custom kinds
//!                                                                      │     └──> proxy ──> keelson-webhook (pods, Services)
//!                                                                      ├──> aggregation ──> keelson-webhook (other API servers)
//!                                                                      └──> system: discovery, openapi, health, metrics
//! ```
//! component: the same wire for a scheduler or controllers without an API server in their process
//!
//! Nothing here knows a kind's rules: what exists comes from the registry's kind table, what a body means from
//! keelson-schema, who may do what from keelson-auth, whose turn it is from keelson-flow.
#![forbid(unsafe_code)]

mod aggregation;
mod audit;
mod authorization;
mod component;
mod connect;
mod conversion;
mod discovery;
mod extensions;
mod flow;
mod follow;
mod health;
mod identity;
mod in_process;
mod metrics;
mod nodes;
mod openapi;
mod openapi_v2;
mod pipeline;
mod pods;
mod proxy;
mod published;
mod reloads;
mod request;
mod resolve;
mod resources;
mod response;
mod reviews;
mod server;
mod storage;
mod system;
#[cfg(test)]
mod tests;
mod type_checking;
mod version;
mod wire;

pub use authorization::{AccessAuthorizer, AccessWebhook};
pub use component::{ComponentCheck, ComponentConfig, ComponentServer, ComponentTls};
pub use health::StartStep;
pub use identity::{FRONT_PROXIES, TokenWebhook};
pub use in_process::in_process_client;
pub use reloads::ConfigFile;
pub use request::body::BODY_BYTES_MAX;
pub use resolve::ServiceResolver;
pub use server::{ApiServer, Certificates, Config, SetupError};
pub use wire::{HttpOptions, tls::TlsError};

//! Proving an identity: client certificates, ServiceAccount tokens, bootstrap tokens, other issuers' tokens.
//!
//! TLS verifies a certificate against the authority before anything here sees it. Each authenticator answers with a
//! [`crate::UserInfo`]; what that user may do is the business of `authz`.

pub mod bootstrap;
pub mod jwt;
pub mod token;
pub mod x509;

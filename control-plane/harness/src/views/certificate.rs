//! CertificateSigningRequest: what is asked for, and what became of it.

use super::{View, null_default};
use crate::{Meta, Resource, api};
use serde::Deserialize;
use serde_json::Value;

/// certificates.k8s.io/v1 CertificateSigningRequest.
#[derive(Debug, Deserialize)]
pub struct CertificateSigningRequest {
    /// metadata
    pub metadata: Meta,
    /// spec
    pub spec: SigningSpec,
    /// status
    #[serde(default)]
    pub status: SigningStatus,
}

/// certificates.k8s.io/v1 CertificateSigningRequestSpec.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SigningSpec {
    /// PKCS #10 in PEM, in base64.
    pub request: Box<str>,
    /// Whose it is to sign.
    pub signer_name: Box<str>,
    /// How long the certificate should live; the signer may shorten it.
    pub expiration_seconds: Option<i64>,
    /// Key usages, in the API's words.
    #[serde(deserialize_with = "null_default")]
    pub usages: Vec<Box<str>>,
    /// Who made the request.
    pub username: Box<str>,
    /// The same, by identifier.
    pub uid: Box<str>,
    /// The maker's groups.
    #[serde(deserialize_with = "null_default")]
    pub groups: Vec<Box<str>>,
    /// What else is known of the maker.
    pub extra: Value,
}

/// certificates.k8s.io/v1 CertificateSigningRequestStatus.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SigningStatus {
    /// As they are: they are written back with one more.
    #[serde(deserialize_with = "null_default")]
    pub conditions: Vec<Value>,
    /// PEM in base64; empty until it is signed.
    pub certificate: Box<str>,
}

impl View for CertificateSigningRequest {
    const RESOURCE: Resource = api::CERTIFICATE_SIGNING_REQUESTS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

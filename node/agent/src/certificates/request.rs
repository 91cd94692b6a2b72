//! A new key, the request to certify it under the names of the certificate in use, and whether what comes back is that.

use anyhow::{Context, bail, ensure};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use time::OffsetDateTime;

use super::held::Held;
use super::place::Pair;

/// A request that was not answered yet.
pub(super) struct Request {
    key: KeyPair,
    /// PKCS #10, PEM.
    pub(super) pem: String,
}

impl Request {
    /// For another certificate that says what this one says.
    pub(super) fn like(held: &Held) -> anyhow::Result<Self> {
        let key = KeyPair::generate().context("making a key")?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for organization in &held.organizations {
            params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
        }
        params.distinguished_name.push(DnType::CommonName, held.common_name.as_str());
        for name in &held.dns_names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.subject_alt_names.extend(held.ips.iter().copied().map(SanType::IpAddress));
        let pem = params.serialize_request(&key).and_then(|request| request.pem());
        Ok(Self { key, pem: pem.context("making a certificate signing request")? })
    }

    /// The answer with its key, if it can take the place of `held` now.
    pub(super) fn answered(&self, pem: &str, held: &Held, now: OffsetDateTime) -> anyhow::Result<Pair> {
        let new = Held::read(pem)?;
        ensure!(new.public_key == self.key.public_key_raw(), "it is for another key");
        ensure!(
            new.common_name == held.common_name && new.organizations == held.organizations,
            "it is for {} of {:?}, not for {} of {:?}",
            new.common_name,
            new.organizations,
            held.common_name,
            held.organizations
        );
        if let Some(name) = held.dns_names.iter().find(|name| !new.dns_names.contains(name)) {
            bail!("it does not name {name}");
        }
        if let Some(ip) = held.ips.iter().find(|ip| !new.ips.contains(ip)) {
            bail!("it does not name {ip}");
        }
        ensure!(
            new.not_before <= now && now < new.due,
            "it is good from {} and due at {}, which leaves no time to use it: the signer or this host has a wrong clock, or the \
             cluster's CA is about to end",
            new.not_before,
            new.due
        );
        Ok(Pair { cert_pem: pem.to_owned(), key_pem: self.key.serialize_pem() })
    }
}

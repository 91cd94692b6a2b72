//! What a certificate of the node says, and when it is due for another.

use std::net::IpAddr;

use anyhow::{Context, bail, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate is renewed with this much left, or a third of its life where that is less.
const RENEW_BEFORE: Duration = Duration::days(90);
/// Up to this part of that time later, so that the nodes of a fleet do not come at once.
const SPREAD: i32 = 5;

/// A certificate, read.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
    pub(super) dns_names: Vec<String>,
    pub(super) ips: Vec<IpAddr>,
    /// The bits of its key.
    pub(super) public_key: Vec<u8>,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
    /// When to ask for the next: of each certificate another, and the same at each look.
    pub(super) due: OffsetDateTime,
}

impl Held {
    /// The first certificate of a chain in PEM.
    pub(super) fn read(pem: &str) -> anyhow::Result<Self> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).context("there is no certificate in it")?;
        let (_, cert) = X509Certificate::from_der(&der).context("it holds no X.509 certificate")?;
        let subject = cert.subject();
        let text = |part: &x509_parser::x509::AttributeTypeAndValue<'_>| part.as_str().map(str::to_owned);
        let mut common_names = subject.iter_common_name().map(text).collect::<Result<Vec<_>, _>>()?;
        ensure!(common_names.len() == 1, "its subject has not one common name: {subject}");
        let (mut dns_names, mut ips) = (Vec::new(), Vec::new());
        for name in cert.subject_alternative_name()?.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(octets) => ips.push(address(octets)?),
                other => bail!("it names neither a host nor an address: {other}"),
            }
        }
        let (not_before, not_after) =
            (cert.validity().not_before.to_datetime(), cert.validity().not_after.to_datetime());
        Ok(Self {
            common_name: common_names.remove(0),
            organizations: subject.iter_organization().map(text).collect::<Result<_, _>>()?,
            dns_names,
            ips,
            public_key: cert.public_key().subject_public_key.data.to_vec(),
            not_before,
            not_after,
            due: due(not_before, not_after, &cert.signature_value.data),
        })
    }
}

fn address(octets: &[u8]) -> anyhow::Result<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Ok(octets.into());
    }
    let octets = <[u8; 16]>::try_from(octets).context("it names an address of a wrong length")?;
    Ok(octets.into())
}

/// A signature's last bytes are as good as random.
fn due(not_before: OffsetDateTime, not_after: OffsetDateTime, signature: &[u8]) -> OffsetDateTime {
    let life: Duration = not_after - not_before;
    let before = (life / 3_i32).min(RENEW_BEFORE);
    let share = signature.last_chunk().map_or(0, |bytes: &[u8; 2]| u16::from_be_bytes(*bytes));
    not_after - before + before / SPREAD * (f64::from(share) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_third_of_a_life_or_ninety_days_and_a_little_later_for_some() {
        let from = datetime!(2026-01-01 00:00 UTC);
        let rows = [
            (Duration::days(365), [0, 0], Duration::days(275)),
            (Duration::days(365), [0xff, 0xff], Duration::days(275 + 18)),
            (Duration::days(30), [0, 0], Duration::days(20)),
            (Duration::minutes(15), [0xff, 0xff], Duration::minutes(11)),
        ];
        for (life, end, expected) in rows {
            let found = due(from, from + life, &[&[7; 70][..], &end].concat()) - from;
            assert_eq!(found, expected, "{life} {end:?}");
        }
    }
}

//! Renewal while a cluster runs: what [`super::init`] signed is signed anew before it ends, with the same names, by the same
//! authority, with a new key. Authorities and signing keys are never touched.
//!
//! Only what is ours: a certificate that another authority signed, or one of an authority whose key is not here, is its
//! owner's to renew.

use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::files::{lock, read_if_there, write_secret};
use super::kubeconfig::{Embedded, embedded};
use super::{Authority, BACKDATE, Leaf, PkiError, RENEW_BEFORE, names};

/// Certificate and key of a leaf, and those of its authority.
const LEAVES: [[&str; 4]; 3] = [
    [names::APISERVER_CERT, names::APISERVER_KEY, names::CA_CERT, names::CA_KEY],
    [names::KUBELET_CLIENT_CERT, names::KUBELET_CLIENT_KEY, names::CA_CERT, names::CA_KEY],
    [
        names::FRONT_PROXY_CLIENT_CERT,
        names::FRONT_PROXY_CLIENT_KEY,
        names::FRONT_PROXY_CA_CERT,
        names::FRONT_PROXY_CA_KEY,
    ],
];

/// What one look came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Files made anew, by name.
    pub renewed: Vec<&'static str>,
    /// When the next of what there is will be due; nothing where there is nothing of ours.
    pub next_due: Option<OffsetDateTime>,
}

/// What is known of a certificate that is ours.
struct Known {
    leaf: Leaf,
    due: OffsetDateTime,
}

/// Renews what is due in the data folder.
///
/// # Errors
/// A file that cannot be read or written, an authority that cannot sign.
pub fn renew(data: &Path, now: OffsetDateTime) -> Result<Renewal, PkiError> {
    let folder = names::pki_dir(data);
    let _lock = lock(&folder)?;
    let mut renewal = Renewal { renewed: Vec::new(), next_due: None };
    for [cert, key, ca_cert, ca_key] in LEAVES {
        let Some(authority) = authority(&folder, ca_cert, ca_key, now)? else { continue };
        let Some(pem) = read_if_there(&folder.join(cert))? else { continue };
        let Some(known) = known(&pem, &authority) else { continue };
        let due = if known.due <= now {
            let pair = authority.sign(&known.leaf, now)?;
            // The key first, as `init` does: whoever reads in between finds a pair that does not match, and waits.
            write_secret(&folder.join(key), &pair.key_pem)?;
            write_secret(&folder.join(cert), &pair.cert_pem)?;
            renewal.renewed.push(cert);
            due_of(&pair.cert_pem, &authority)
        } else {
            Some(known.due)
        };
        renewal.next_due = earliest(renewal.next_due, due);
    }
    if let Some(authority) = authority(&folder, names::CA_CERT, names::CA_KEY, now)? {
        administrator(data, &authority, now, &mut renewal)?;
    }
    Ok(renewal)
}

/// The administrator's kubeconfig, as far as `init` wrote it.
fn administrator(
    data: &Path,
    authority: &Authority,
    now: OffsetDateTime,
    renewal: &mut Renewal,
) -> Result<(), PkiError> {
    let path = data.join(names::ADMIN_KUBECONFIG);
    let Some(Embedded { cert_pem, server, user }) = read_if_there(&path)?.as_deref().and_then(embedded)
    else {
        return Ok(());
    };
    let Some(Known { leaf, due }) = known(&cert_pem, authority) else { return Ok(()) };
    let mut due = Some(due);
    if due.is_some_and(|due| due <= now) {
        let wanted = super::ClientKubeconfig { user, groups: leaf.organizations, server };
        let pair = super::kubeconfig::write_kubeconfig(&path, authority, &wanted, now)?;
        renewal.renewed.push(names::ADMIN_KUBECONFIG);
        due = due_of(&pair.cert_pem, authority);
    }
    renewal.next_due = earliest(renewal.next_due, due);
    Ok(())
}

fn earliest(one: Option<OffsetDateTime>, other: Option<OffsetDateTime>) -> Option<OffsetDateTime> {
    [one, other].into_iter().flatten().min()
}

/// None where its key is elsewhere.
fn authority(
    folder: &Path,
    cert: &str,
    key: &str,
    now: OffsetDateTime,
) -> Result<Option<Authority>, PkiError> {
    let (cert, key) = (folder.join(cert), folder.join(key));
    if read_if_there(&key)?.is_none() {
        return Ok(None);
    }
    Authority::load(&cert, &key, now).map(Some)
}

fn due_of(pem: &str, authority: &Authority) -> Option<OffsetDateTime> {
    known(pem, authority).map(|known| known.due)
}

/// None where the authority did not sign it, or could not sign one that lasts longer.
fn known(pem: &str, authority: &Authority) -> Option<Known> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, cert) = X509Certificate::from_der(&der).ok()?;
    let (_, issuer) = X509Certificate::from_der(authority.cert_der()).ok()?;
    cert.verify_signature(Some(issuer.public_key())).ok()?;
    let (from, until) = (cert.validity().not_before.to_datetime(), cert.validity().not_after.to_datetime());
    if until >= authority.not_after() {
        return None;
    }
    // Short lives are renewed with a third of them left.
    let third: Duration = ((until - from) - BACKDATE) / 3;
    Some(Known { leaf: Leaf::of(&cert)?, due: until - third.min(RENEW_BEFORE) })
}

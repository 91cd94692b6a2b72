//! What a node needs from the authority: a client identity and a certificate to serve the kubelet's API with.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::files::{make_folder, write_secret};
use super::{Authority, Leaf, PkiError, Purpose, names};
use crate::user::names::{NODE_USER_PREFIX, NODES_GROUP};

/// The user name of a node's daemon.
pub fn node_client_user(node: &str) -> String {
    format!("{NODE_USER_PREFIX}{node}")
}

/// The groups of a node's daemon.
pub fn node_client_groups() -> Vec<String> {
    vec![NODES_GROUP.to_owned()]
}

/// Where [`node_serving`] put what it made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeServing {
    /// The certificate, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The cluster's authority, PEM, which the node verifies the apiserver's client certificate against.
    pub ca: PathBuf,
}

/// Writes `kubelet.crt`, `kubelet.key` and `ca.crt` for one node into `out_dir`: a certificate for the node's name and
/// addresses, signed by the authority in `data`, as the kubelet's serving certificate is.
pub fn node_serving(
    data: &Path,
    node: &str,
    ips: &[IpAddr],
    out_dir: &Path,
    now: OffsetDateTime,
) -> Result<NodeServing, PkiError> {
    let authority =
        Authority::load(&names::pki_file(data, names::CA_CERT), &names::pki_file(data, names::CA_KEY), now)?;
    let leaf = Leaf {
        common_name: node_client_user(node),
        organizations: node_client_groups(),
        purpose: Purpose::Server,
        dns_names: vec![node.to_owned()],
        ips: ips.to_vec(),
    };
    let pair = authority.sign(&leaf, now)?;
    make_folder(out_dir)?;
    let files = NodeServing {
        cert: out_dir.join("kubelet.crt"),
        key: out_dir.join("kubelet.key"),
        ca: out_dir.join(names::CA_CERT),
    };
    write_secret(&files.key, &pair.key_pem)?;
    write_secret(&files.cert, &pair.cert_pem)?;
    write_secret(&files.ca, authority.cert_pem())?;
    Ok(files)
}

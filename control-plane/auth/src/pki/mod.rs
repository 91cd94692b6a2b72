//! The folder of keys and certificates that a cluster is made of, under the names that kubeadm gives them.
//!
//! [`init`] makes it and renews what is about to expire, [`renew`] does the latter while a cluster runs, [`client_kubeconfig`] and [`node_serving`] draw further
//! certificates from it. It is a folder of plain files on purpose: any of them can be replaced by one from elsewhere,
//! and several apiservers share a copy. Who may do what with a certificate is not decided here (see `authz`).

mod authority;
mod error;
mod files;
mod init;
mod kubeconfig;
mod leaf;
mod node;
mod renew;
mod request;

pub use authority::Authority;
pub use error::PkiError;
pub use init::{InitConfig, InitReport, init, server_names};
pub use kubeconfig::{ClientKubeconfig, client_kubeconfig};
pub use leaf::{GROUPS_MAX, Leaf, NAME_BYTES_MAX, Purpose, Signed};
pub use node::{NodeServing, node_client_groups, node_client_user, node_serving};
pub use renew::{Renewal, renew};
pub use request::{CertificateRequest, RequestError};

use time::Duration;

/// How long a certificate authority lives, as with kubeadm.
pub const AUTHORITY_LIFETIME: Duration = Duration::days(3650);
/// How long any other certificate lives, as with kubeadm.
pub const LEAF_LIFETIME: Duration = Duration::days(365);
/// A certificate with less than this left is made anew by the next [`init`].
pub const RENEW_BEFORE: Duration = Duration::days(90);
/// Certificates begin a little in the past, for peers whose clock is behind.
pub const BACKDATE: Duration = Duration::minutes(5);
/// The port in `admin.conf`, unless told otherwise.
pub const DEFAULT_API_PORT: u16 = 6443;

/// Paths inside the data folder.
pub mod names {
    use std::path::{Path, PathBuf};

    /// Certificate of the cluster's authority.
    pub const CA_CERT: &str = "ca.crt";
    /// Its key.
    pub const CA_KEY: &str = "ca.key";
    /// What the apiserver serves with.
    pub const APISERVER_CERT: &str = "apiserver.crt";
    /// Its key.
    pub const APISERVER_KEY: &str = "apiserver.key";
    /// What the apiserver shows to node daemons.
    pub const KUBELET_CLIENT_CERT: &str = "apiserver-kubelet-client.crt";
    /// Its key.
    pub const KUBELET_CLIENT_KEY: &str = "apiserver-kubelet-client.key";
    /// Certificate of the authority behind API aggregation.
    pub const FRONT_PROXY_CA_CERT: &str = "front-proxy-ca.crt";
    /// Its key.
    pub const FRONT_PROXY_CA_KEY: &str = "front-proxy-ca.key";
    /// What the apiserver shows to aggregated API servers.
    pub const FRONT_PROXY_CLIENT_CERT: &str = "front-proxy-client.crt";
    /// Its key.
    pub const FRONT_PROXY_CLIENT_KEY: &str = "front-proxy-client.key";
    /// Signs ServiceAccount tokens (ES256, PKCS #8 PEM).
    pub const SERVICE_ACCOUNT_KEY: &str = "sa.key";
    /// Verifies ServiceAccount tokens; may hold several keys, of which the signing one is the first.
    pub const SERVICE_ACCOUNT_PUBLIC: &str = "sa.pub";
    /// 32 random bytes in base64, for encryption at rest.
    pub const ENCRYPTION_KEY: &str = "encryption.key";
    /// The administrator's kubeconfig, beside the folder of keys.
    pub const ADMIN_KUBECONFIG: &str = "admin.conf";

    /// The folder of keys and certificates inside the data folder.
    pub fn pki_dir(data: &Path) -> PathBuf {
        data.join("pki")
    }

    /// One file of that folder.
    pub fn pki_file(data: &Path, name: &str) -> PathBuf {
        pki_dir(data).join(name)
    }
}

//! `keelson init`: everything that a cluster's identity rests on, made once and renewed when due.
//!
//! Idempotent: what is there and still right stays byte for byte. It never touches an authority or a signing key that is
//! there, since replacing one cuts off everybody who trusts it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::RngCore;
use rcgen::KeyPair;
use time::OffsetDateTime;

use super::files::{lock, make_folder, read_if_there, write_secret};
use super::kubeconfig::{ClientKubeconfig, ensure_kubeconfig};
use super::leaf::{new_key, reason_to_renew};
use super::{Authority, Leaf, PkiError, Purpose, RENEW_BEFORE, Signed, names};
use crate::user::names::MASTERS_GROUP;

/// What `keelson init` is told.
#[derive(Clone, Debug)]
pub struct InitConfig {
    /// The data folder; keys go to its `pki`.
    pub data: PathBuf,
    /// The addresses that clients reach this apiserver at; the first goes into `admin.conf`.
    pub advertise: Vec<IpAddr>,
    /// The port that goes into `admin.conf`.
    pub port: u16,
    /// The first address of each Service range, which is Service default/kubernetes.
    pub service_addresses: Vec<IpAddr>,
    /// The DNS domain of the cluster, `cluster.local` unless told otherwise.
    pub cluster_domain: String,
}

/// What `init` did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitReport {
    /// Files made, by name.
    pub made: Vec<&'static str>,
    /// Files made anew, with the reason.
    pub renewed: Vec<(&'static str, &'static str)>,
}

/// Makes what is missing and renews what is due. A second call right after it changes nothing.
pub fn init(config: &InitConfig, now: OffsetDateTime) -> Result<InitReport, PkiError> {
    let Some(first) = config.advertise.first() else {
        return Err(PkiError::Argument {
            what: "advertise address",
            value: String::new(),
            why: "at least one address that clients reach the apiserver at is needed",
        });
    };
    let folder = names::pki_dir(&config.data);
    make_folder(&folder)?;
    let _lock = lock(&folder)?;
    let mut maker = Maker { folder: &folder, now, report: InitReport::default() };

    let cluster = maker.authority(names::CA_CERT, names::CA_KEY, "kubernetes")?;
    let front_proxy =
        maker.authority(names::FRONT_PROXY_CA_CERT, names::FRONT_PROXY_CA_KEY, "front-proxy-ca")?;
    maker.leaf(&cluster, names::APISERVER_CERT, names::APISERVER_KEY, &server_names(config))?;
    maker.leaf(
        &cluster,
        names::KUBELET_CLIENT_CERT,
        names::KUBELET_CLIENT_KEY,
        &Leaf::client("kube-apiserver-kubelet-client", [MASTERS_GROUP]),
    )?;
    maker.leaf(
        &front_proxy,
        names::FRONT_PROXY_CLIENT_CERT,
        names::FRONT_PROXY_CLIENT_KEY,
        &Leaf::client("front-proxy-client", [] as [&str; 0]),
    )?;
    maker.service_account_keys()?;
    maker.encryption_key()?;

    let admin = ClientKubeconfig {
        user: "kubernetes-admin".to_owned(),
        groups: vec![MASTERS_GROUP.to_owned()],
        server: server_url(*first, config.port),
    };
    let path = config.data.join(names::ADMIN_KUBECONFIG);
    match ensure_kubeconfig(&path, &cluster, &admin, now)? {
        Change::None => {}
        Change::Made => maker.report.made.push(names::ADMIN_KUBECONFIG),
        Change::Renewed(reason) => maker.report.renewed.push((names::ADMIN_KUBECONFIG, reason)),
    }
    Ok(maker.report)
}

/// What the serving certificate names: kubeadm's list.
pub fn server_names(config: &InitConfig) -> Leaf {
    let domain = &config.cluster_domain;
    let mut ips = config.service_addresses.clone();
    ips.extend(config.advertise.iter().copied());
    ips.extend([IpAddr::from([127, 0, 0, 1]), "::1".parse().expect("an IPv6 address")]);
    ips.sort_unstable();
    ips.dedup();
    Leaf {
        common_name: "kube-apiserver".to_owned(),
        organizations: Vec::new(),
        purpose: Purpose::Server,
        dns_names: vec![
            "kubernetes".to_owned(),
            "kubernetes.default".to_owned(),
            "kubernetes.default.svc".to_owned(),
            format!("kubernetes.default.svc.{domain}"),
            "localhost".to_owned(),
        ],
        ips,
    }
}

fn server_url(address: IpAddr, port: u16) -> String {
    format!("https://{}", std::net::SocketAddr::new(address, port))
}

/// What became of one file.
pub(super) enum Change {
    None,
    Made,
    Renewed(&'static str),
}

struct Maker<'a> {
    folder: &'a Path,
    now: OffsetDateTime,
    report: InitReport,
}

impl Maker<'_> {
    fn authority(
        &mut self,
        cert: &'static str,
        key: &'static str,
        common_name: &str,
    ) -> Result<Authority, PkiError> {
        let (authority, made) =
            Authority::ensure(&self.folder.join(cert), &self.folder.join(key), common_name, self.now)?;
        if made {
            self.report.made.push(cert);
        }
        Ok(authority)
    }

    /// The key is written first: a crash in between leaves a pair that does not match, which the next run renews.
    fn leaf(
        &mut self,
        authority: &Authority,
        cert: &'static str,
        key: &'static str,
        wanted: &Leaf,
    ) -> Result<(), PkiError> {
        let (cert_path, key_path) = (self.folder.join(cert), self.folder.join(key));
        let reason = match (read_if_there(&cert_path)?, read_if_there(&key_path)?) {
            (Some(cert_pem), Some(key_pem)) => {
                let pair = Signed { cert_pem, key_pem };
                // Never ask for more than the authority can give, or every run would renew.
                let until = (self.now + RENEW_BEFORE).min(authority.not_after() - RENEW_BEFORE);
                match reason_to_renew(&pair, wanted, authority.cert_der(), until.max(self.now)) {
                    None => return Ok(()),
                    Some(reason) => Some(reason),
                }
            }
            (None, None) => None,
            _ => Some("half of the pair was missing"),
        };
        let pair = authority.sign(wanted, self.now)?;
        write_secret(&key_path, &pair.key_pem)?;
        write_secret(&cert_path, &pair.cert_pem)?;
        match reason {
            None => self.report.made.push(cert),
            Some(reason) => self.report.renewed.push((cert, reason)),
        }
        Ok(())
    }

    fn service_account_keys(&mut self) -> Result<(), PkiError> {
        let (key_path, public_path) =
            (self.folder.join(names::SERVICE_ACCOUNT_KEY), self.folder.join(names::SERVICE_ACCOUNT_PUBLIC));
        let key = match read_if_there(&key_path)? {
            Some(pem) => KeyPair::from_pem(&pem)
                .map_err(|error| PkiError::unreadable(&key_path, "a PKCS #8 private key in PEM", error))?,
            None => {
                let key = new_key()?;
                write_secret(&key_path, &key.serialize_pem())?;
                self.report.made.push(names::SERVICE_ACCOUNT_KEY);
                key
            }
        };
        let ours = key.public_key_pem();
        match read_if_there(&public_path)? {
            None => {
                write_secret(&public_path, &ours)?;
                self.report.made.push(names::SERVICE_ACCOUNT_PUBLIC);
            }
            // Older keys stay behind the new one, so that tokens signed with them verify until they expire.
            Some(known) if !contains_pem(&known, &ours) => {
                write_secret(&public_path, &format!("{ours}{known}"))?;
                self.report.renewed.push((names::SERVICE_ACCOUNT_PUBLIC, "the signing key is another one"));
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn encryption_key(&mut self) -> Result<(), PkiError> {
        const KEY_BYTES: usize = 32;
        let path = self.folder.join(names::ENCRYPTION_KEY);
        if let Some(text) = read_if_there(&path)? {
            return match BASE64.decode(text.trim()) {
                Ok(key) if key.len() == KEY_BYTES => Ok(()),
                Ok(key) => {
                    Err(PkiError::unreadable(&path, "32 bytes in base64", format!("{} bytes", key.len())))
                }
                Err(error) => Err(PkiError::unreadable(&path, "32 bytes in base64", error)),
            };
        }
        let mut key = [0; KEY_BYTES];
        rand::rng().fill_bytes(&mut key);
        write_secret(&path, &format!("{}\n", BASE64.encode(key)))?;
        self.report.made.push(names::ENCRYPTION_KEY);
        Ok(())
    }
}

/// Compares the base64 bodies, since PEM files differ in line ends and spaces.
fn contains_pem(haystack: &str, needle: &str) -> bool {
    let squeeze = |text: &str| text.chars().filter(|char| !char.is_whitespace()).collect::<String>();
    squeeze(haystack).contains(&squeeze(needle))
}

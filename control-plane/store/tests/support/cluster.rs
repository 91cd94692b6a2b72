//! An etcd cluster of one's own over TLS: members on free loopback ports, certificates made for it, killed when dropped.

use keelson_store::{
    Store as _,
    etcd::{Etcd, EtcdConfig, EtcdTls},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// The members, their data and their certificates.
pub(crate) struct EtcdCluster {
    folder: TempDir,
    /// Client and peer ports.
    ports: Vec<(u16, u16)>,
    children: Vec<Option<Child>>,
    pub(crate) ca_pem: String,
    pub(crate) client_pem: String,
    pub(crate) client_key_pem: String,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key, PEM.
fn issue(ca: &CertifiedIssuer<'static, KeyPair>, usages: &[ExtendedKeyUsagePurpose]) -> (String, String) {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    params.extended_key_usages = usages.to_vec();
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, ca).unwrap().pem(), key.serialize_pem())
}

impl EtcdCluster {
    /// `None`, with the reason printed, where etcd is not installed.
    pub(crate) fn start(members: usize) -> Option<Self> {
        if let Err(error) = Command::new("etcd").arg("--version").stdout(Stdio::null()).status() {
            eprintln!("skipped: etcd cannot be run ({error}); Debian's package is etcd-server");
            return None;
        }
        let ca = authority();
        let (server, server_key) =
            issue(&ca, &[ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]);
        let (client_pem, client_key_pem) = issue(&ca, &[ExtendedKeyUsagePurpose::ClientAuth]);
        let folder = tempfile::tempdir().unwrap();
        for (name, pem) in [("ca.crt", ca.pem()), ("server.crt", server), ("server.key", server_key)] {
            std::fs::write(folder.path().join(name), pem).unwrap();
        }
        let listeners: Vec<_> = (0..2 * members).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let port = |n: usize| listeners[n].local_addr().unwrap().port();
        let ports = (0..members).map(|n| (port(2 * n), port(2 * n + 1))).collect();
        drop(listeners);
        let children = (0..members).map(|_| None).collect();
        let mut cluster = Self { folder, ports, children, ca_pem: ca.pem(), client_pem, client_key_pem };
        (0..members).for_each(|member| cluster.spawn(member));
        Some(cluster)
    }

    /// An authority that has nothing to do with it.
    pub(crate) fn other_ca() -> String {
        authority().pem()
    }

    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.ports.iter().map(|(client, _)| format!("https://127.0.0.1:{client}")).collect()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, member: usize) {
        if let Some(mut child) = self.children[member].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts a member, on its data if it has some.
    pub(crate) fn spawn(&mut self, member: usize) {
        let client = &self.endpoints()[member];
        let peer = |n: usize| format!("http://127.0.0.1:{}", self.ports[n].1);
        let initial: Vec<_> = (0..self.ports.len()).map(|n| format!("m{n}={}", peer(n))).collect();
        let file = |name: &str| self.folder.path().join(name);
        let child = Command::new("etcd")
            .args(["--name", &format!("m{member}"), "--log-level", "error", "--logger", "zap"])
            .arg("--data-dir")
            .arg(file(&format!("m{member}")))
            .args(["--listen-client-urls", client, "--advertise-client-urls", client])
            .args(["--listen-peer-urls", &peer(member), "--initial-advertise-peer-urls", &peer(member)])
            .args(["--initial-cluster", &initial.join(","), "--client-cert-auth"])
            .arg("--trusted-ca-file")
            .arg(file("ca.crt"))
            .arg("--cert-file")
            .arg(file("server.crt"))
            .arg("--key-file")
            .arg(file("server.key"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.children[member] = Some(child.unwrap());
    }

    /// Until the member itself answers, so that the next may be killed.
    pub(crate) async fn wait_member(&self, member: usize) {
        let identity = Some((self.client_pem.clone(), self.client_key_pem.clone()));
        let config = EtcdConfig {
            tls: Some(EtcdTls { ca_pem: self.ca_pem.clone(), identity }),
            compact_after: None,
            connect_patience: Duration::from_secs(60),
            ..EtcdConfig::new(vec![self.endpoints()[member].clone()])
        };
        Etcd::connect(config).await.unwrap().revision().await.unwrap();
    }
}

impl Drop for EtcdCluster {
    fn drop(&mut self) {
        (0..self.children.len()).for_each(|member| self.kill(member));
    }
}

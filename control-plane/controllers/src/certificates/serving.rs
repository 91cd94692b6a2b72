//! Is a request for a kubelet's serving certificate the renewal of what that kubelet serves now?
//!
//! Upstream approves none of them by itself, as a node could ask for any name. Here one is approved that asks for nothing new: the
//! node is dialled at the address and port of its Node object, and shows, with proof of the key, a certificate of the cluster's CA
//! that has the node's own subject and every name of the request. Who takes over such a node's name gains time, no name.
//! Anything else is left to a person, as upstream.

use bytes::Bytes;
use keelson_auth::{
    pki::{Authority, CertificateRequest, Leaf, Purpose},
    user::names::NODE_USER_PREFIX,
};
use keelson_harness::{ApiError, api::NODES, views::CertificateSigningRequest};
use keelson_webhook::Trust;
use serde::Deserialize;
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::shared::Shared;

/// A node that shows no certificate within this is asked again later.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// The kubelet's port where the Node does not say.
const KUBELET_PORT: u16 = 10250;

/// What came of the look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Every name is one that the node serves.
    Renewal,
    /// Something is new: a person decides. Why.
    New(String),
    /// Nobody could tell. Why.
    Unknown(String),
}

/// Of core/v1 Node, where its kubelet is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Located {
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    addresses: Vec<Address>,
    daemon_endpoints: Endpoints,
}

#[derive(Debug, Deserialize)]
struct Address {
    r#type: String,
    address: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Endpoints {
    kubelet_endpoint: Endpoint,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Endpoint {
    #[serde(rename = "Port")]
    port: u16,
}

impl Located {
    /// As the API server dials it.
    fn kubelet(&self) -> Option<SocketAddr> {
        let internal = self.status.addresses.iter().filter(|address| address.r#type == "InternalIP");
        let ip: IpAddr = internal.filter_map(|address| address.address.parse().ok()).next()?;
        let port = self.status.daemon_endpoints.kubelet_endpoint.port;
        Some(SocketAddr::new(ip, if port == 0 { KUBELET_PORT } else { port }))
    }
}

/// Looks at what the node serves. The request is one that the signer would sign (`plan::node_serving`).
pub(super) async fn look(
    shared: &Shared,
    authority: &Authority,
    request: &CertificateSigningRequest,
    wanted: &CertificateRequest,
) -> Result<Verdict, ApiError> {
    let Some(name) = request.spec.username.strip_prefix(NODE_USER_PREFIX) else {
        return Ok(Verdict::New("its maker is no node".to_owned()));
    };
    let Some(node) = shared.api.find::<Located>(&NODES, None, name).await? else {
        return Ok(Verdict::New(format!("there is no Node {name}")));
    };
    let Some(kubelet) = node.kubelet() else {
        return Ok(Verdict::New(format!("the Node {name} has no InternalIP")));
    };
    let shown = match shown(authority.cert_pem(), kubelet).await {
        Ok(shown) => shown,
        Err(why) => return Ok(Verdict::Unknown(format!("{kubelet} shows no certificate: {why}"))),
    };
    Ok(compare(&shown, wanted))
}

/// The certificate that a server shows for its address, DER: verified against the CA, its key proved. We show none, which TLS 1.3
/// leaves to the server to refuse afterwards; a kubelet of TLS 1.2 alone refuses before, and its requests are left to a person.
async fn shown(ca_pem: &str, to: SocketAddr) -> Result<Vec<u8>, String> {
    let trust = Trust::Bundle(Bytes::copy_from_slice(ca_pem.as_bytes()));
    let config = keelson_webhook::tls_config(&trust, None).map_err(|error| error.to_string())?;
    let dial = async {
        let stream = TcpStream::connect(to).await?;
        TlsConnector::from(config).connect(to.ip().into(), stream).await
    };
    let stream =
        tokio::time::timeout(DIAL_TIMEOUT, dial).await.map_err(|_| "no answer in time".to_owned())?;
    let stream = stream.map_err(|error| error.to_string())?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    shown.map(|certificate| certificate.to_vec()).ok_or_else(|| "it showed none".to_owned())
}

/// Pure: what is shown (verified) against what is asked for.
fn compare(shown: &[u8], wanted: &CertificateRequest) -> Verdict {
    let Some(leaf) = Leaf::from_der(shown).filter(|leaf| leaf.purpose == Purpose::Server) else {
        return Verdict::New("what it serves is no serving certificate".to_owned());
    };
    if leaf.common_name != wanted.common_name || leaf.organizations != wanted.organizations {
        return Verdict::New(format!("what it serves is {}'s", leaf.common_name));
    }
    if let Some(name) = wanted.dns_names.iter().find(|name| !leaf.dns_names.contains(name)) {
        return Verdict::New(format!("what it serves is not for {name}"));
    }
    match wanted.ips.iter().find(|ip| !leaf.ips.contains(ip)) {
        Some(ip) => Verdict::New(format!("what it serves is not for {ip}")),
        None => Verdict::Renewal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_auth::pki::{self, InitConfig, names};
    use rustls::{ServerConfig, server::WebPkiClientVerifier};
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    use std::{path::Path, sync::Arc};
    use time::OffsetDateTime;
    use tokio::net::TcpListener;

    const NODE: &str = "system:node:a";

    fn authority(folder: &Path) -> Authority {
        let init = InitConfig {
            data: folder.to_owned(),
            advertise: vec!["127.0.0.1".parse().expect("an address")],
            port: 6443,
            service_addresses: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
        };
        pki::init(&init, OffsetDateTime::now_utc()).expect("init");
        let file = |name| names::pki_file(folder, name);
        Authority::load(&file(names::CA_CERT), &file(names::CA_KEY), OffsetDateTime::now_utc())
            .expect("the authority")
    }

    fn leaf(name: &str, purpose: Purpose, names: &[&str], ips: &[&str]) -> Leaf {
        Leaf {
            common_name: name.to_owned(),
            organizations: vec!["system:nodes".to_owned()],
            purpose,
            dns_names: names.iter().map(|name| (*name).to_owned()).collect(),
            ips: ips.iter().map(|ip| ip.parse().expect("an address")).collect(),
        }
    }

    fn wanted(names: &[&str]) -> CertificateRequest {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(rcgen::DnType::CommonName, NODE);
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = params.serialize_request(&key).and_then(|request| request.pem()).expect("a request");
        CertificateRequest::parse(pem.as_bytes()).expect("a request")
    }

    #[test]
    fn a_renewal_asks_for_nothing_that_is_not_served() {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = authority(folder.path());
        let served = |name, purpose| {
            let leaf = leaf(name, purpose, &["a", "a.example"], &["192.0.2.1", "2001:db8::1"]);
            let signed = authority.sign(&leaf, OffsetDateTime::now_utc()).expect("a certificate");
            CertificateDer::from_pem_slice(signed.cert_pem.as_bytes()).expect("PEM").to_vec()
        };
        let own = served(NODE, Purpose::Server);
        let rows = [
            (&own, &["a", "a.example", "192.0.2.1", "2001:db8::1"][..], None),
            (&own, &["192.0.2.1"], None),
            (&own, &["a", "b"], Some("what it serves is not for b")),
            (&own, &["a", "192.0.2.2"], Some("what it serves is not for 192.0.2.2")),
            (&served("system:node:b", Purpose::Server), &["a"], Some("what it serves is system:node:b's")),
            (&served(NODE, Purpose::Client), &["a"], Some("what it serves is no serving certificate")),
        ];
        for (shown, names, expected) in rows {
            let expected = expected.map_or(Verdict::Renewal, |why| Verdict::New(why.to_owned()));
            assert_eq!(compare(shown, &wanted(names)), expected, "{names:?}");
        }
    }

    /// Serves handshakes with a certificate for 127.0.0.1, and lets in clients of the authority alone, as a kubelet does.
    async fn kubelet(signer: &Authority, clients: &Authority) -> SocketAddr {
        let leaf = leaf(NODE, Purpose::Server, &["a"], &["127.0.0.1"]);
        let pair = signer.sign(&leaf, OffsetDateTime::now_utc()).expect("a certificate");
        let der = CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).expect("PEM");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(clients.cert_der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(vec![der], key)
            .expect("a pair");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(acceptor.accept(stream));
            }
        });
        address
    }

    #[tokio::test]
    async fn what_a_kubelet_shows_is_seen_without_a_certificate_and_believed_of_the_clusters_ca_alone() {
        let (folder, other) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (own, strange) = (authority(folder.path()), authority(other.path()));
        let seen = shown(own.cert_pem(), kubelet(&own, &own).await).await.expect("a certificate");
        assert_eq!(compare(&seen, &wanted(&["a", "127.0.0.1"])), Verdict::Renewal);
        shown(own.cert_pem(), kubelet(&strange, &own).await).await.expect_err("another authority's");
    }

    #[test]
    fn a_kubelet_is_dialled_as_its_node_says() {
        let rows = [
            (r#"{"status":{}}"#, None),
            (r#"{"status":{"addresses":[{"type":"Hostname","address":"a"}]}}"#, None),
            (
                r#"{"status":{"addresses":[{"type":"InternalIP","address":"2001:db8::1"}]}}"#,
                Some("[2001:db8::1]:10250"),
            ),
            (
                r#"{"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"}],
                    "daemonEndpoints":{"kubeletEndpoint":{"Port":1250}}}}"#,
                Some("192.0.2.1:1250"),
            ),
        ];
        for (text, expected) in rows {
            let node: Located = serde_json::from_str(text).expect("a node");
            assert_eq!(node.kubelet().map(|to| to.to_string()).as_deref(), expected, "{text}");
        }
    }
}

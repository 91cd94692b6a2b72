//! Certificates that change while the server serves, and who is believed over real TLS.

use super::*;
use crate::{
    Certificates,
    nodes::{NodeAddress, NodeClient},
    wire::tls,
};
use hyper::client::conn::http1;
use keelson_auth::pki::{Authority, Leaf, Signed, server_names};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::path::Path;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

/// The files of a folder that `init` made.
fn files(data: &Path) -> Certificates {
    let read = |name| std::fs::read_to_string(names::pki_file(data, name)).unwrap();
    Certificates {
        serving_cert_pem: read(names::APISERVER_CERT),
        serving_key_pem: read(names::APISERVER_KEY),
        client_ca_pem: read(names::CA_CERT),
        front_proxy_ca_pem: read(names::FRONT_PROXY_CA_CERT),
        front_proxy_client_cert_pem: read(names::FRONT_PROXY_CLIENT_CERT),
        front_proxy_client_key_pem: read(names::FRONT_PROXY_CLIENT_KEY),
        kubelet_client_cert_pem: read(names::KUBELET_CLIENT_CERT),
        kubelet_client_key_pem: read(names::KUBELET_CLIENT_KEY),
    }
}

fn authority(data: &Path) -> Authority {
    let file = |name| names::pki_file(data, name);
    Authority::load(&file(names::CA_CERT), &file(names::CA_KEY), OffsetDateTime::now_utc()).unwrap()
}

/// Served on loopback.
pub(super) struct Served {
    pub(super) bed: Bed,
    port: u16,
}

impl Served {
    pub(super) async fn around(bed: Bed) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (api, own) = (bed.server.clone(), files(bed._folder.path()));
        tokio::spawn(async move {
            api.serve(vec![listener], &own.serving_cert_pem, &own.serving_key_pem, &own.client_ca_pem).await
        });
        Self { bed, port }
    }

    /// A certificate of the cluster's authority.
    pub(super) fn signed(&self, name: &str, groups: &[&str]) -> Signed {
        let leaf = Leaf::client(name, groups.iter().copied());
        authority(self.bed._folder.path()).sign(&leaf, OffsetDateTime::now_utc()).unwrap()
    }

    /// A connection, and the certificate that the server showed.
    async fn connect(&self, client: &Signed) -> (http1::SendRequest<Body>, Vec<u8>) {
        let config = rustls::ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(tls::roots("ca", &files(self.bed._folder.path()).client_ca_pem).unwrap())
            .with_client_auth_cert(
                tls::certificates("client", &client.cert_pem).unwrap(),
                tls::private_key("client", &client.key_pem).unwrap(),
            )
            .unwrap();
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        let (sender, connection) = http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        (sender, shown)
    }

    /// One request with these credentials; no certificate where it is absent.
    pub(super) async fn ask(
        &self,
        client: Option<&Signed>,
        token: Option<&str>,
        method: &str,
        uri: &str,
        text: &str,
    ) -> (u16, Value) {
        // Whoever shows no certificate shows one that nobody knows: it is told by his token, or not at all.
        let nobody = rcgen::KeyPair::generate().unwrap();
        let own =
            rcgen::CertificateParams::new(vec!["nobody".to_owned()]).unwrap().self_signed(&nobody).unwrap();
        let stranger = Signed { cert_pem: own.pem(), key_pem: nobody.serialize_pem() };
        let client = client.unwrap_or(&stranger);
        let ca = files(self.bed._folder.path()).client_ca_pem;
        let sender = NodeClient::new(&ca, &client.cert_pem, &client.key_pem).unwrap();
        let address =
            NodeAddress { node: "server".to_owned(), ip: "127.0.0.1".parse().unwrap(), port: self.port };
        let mut sender = sender.connect(&address).await.unwrap();
        let mut request = Request::builder().method(method).uri(uri).header("host", "127.0.0.1");
        let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        request = request.header("content-type", content);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = sender.send_request(request.body(body::full(text.to_owned())).unwrap()).await.unwrap();
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (
            code,
            serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes))),
        )
    }
}

async fn get(sender: &mut http1::SendRequest<Body>, uri: &str) -> u16 {
    let request = Request::get(uri).header("host", "127.0.0.1").body(body::empty()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let code = answer.status().as_u16();
    answer.into_body().collect().await.unwrap();
    code
}

#[tokio::test]
async fn a_new_handshake_shows_the_new_certificate_and_old_connections_go_on() {
    let served = Served::around(Bed::new().await).await;
    let data = served.bed._folder.path();
    let root = served.signed("root", &["system:masters"]);
    let (mut old, first) = served.connect(&root).await;
    assert_eq!(get(&mut old, MAPS).await, 200);
    let before = files(data);
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
    assert_eq!(first, der(&before.serving_cert_pem));

    let init = InitConfig {
        data: data.to_owned(),
        advertise: vec!["127.0.0.1".parse().unwrap()],
        port: 6443,
        service_addresses: Vec::new(),
        cluster_domain: "cluster.local".to_owned(),
    };
    let new = authority(data).sign(&server_names(&init), OffsetDateTime::now_utc()).unwrap();
    // Half a pair changes nothing.
    let half = Certificates { serving_key_pem: new.key_pem.clone(), ..before.clone() };
    assert!(served.bed.server.set_certificates(&half).is_err());
    assert_eq!(served.connect(&root).await.1, first);

    // Another authority is believed beside the first.
    let other = tempfile::tempdir().unwrap();
    pki::init(&InitConfig { data: other.path().to_owned(), ..init }, OffsetDateTime::now_utc()).unwrap();
    let stranger = authority(other.path())
        .sign(&Leaf::client("other-root", ["system:masters"]), OffsetDateTime::now_utc())
        .unwrap();
    let (mut refused, _) = served.connect(&stranger).await;
    assert_eq!(get(&mut refused, MAPS).await, 401);
    let both = Certificates {
        serving_cert_pem: new.cert_pem.clone(),
        serving_key_pem: new.key_pem.clone(),
        client_ca_pem: format!("{}{}", before.client_ca_pem, files(other.path()).client_ca_pem),
        ..before
    };
    served.bed.server.set_certificates(&both).unwrap();
    let (mut later, second) = served.connect(&root).await;
    assert_eq!(second, der(&new.cert_pem));
    assert_eq!((get(&mut later, MAPS).await, get(&mut old, MAPS).await), (200, 200));
    let (mut believed, _) = served.connect(&stranger).await;
    assert_eq!(get(&mut believed, MAPS).await, 200);
    assert_eq!(get(&mut refused, MAPS).await, 401, "as whom it was made");
}

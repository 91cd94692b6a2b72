//! What is renewed or replaced while the server runs. A node renews its certificates without a person: that by which it is known, and,
//! as far as it names nothing new, that which its kubelet serves; with the real kubectl as the node, and a kubelet that is no
//! more than its TLS. The authorities that namespaces get, and the webhook that knows tokens, are followed.

use crate::support::{Backend, Server, missing};
use base64::{Engine, engine::general_purpose::STANDARD};
use keelson_auth::pki::{Authority, Leaf, Purpose, Signed, names};
use keelson_webhook::testing::{TestServer, answer};
use rustls::{
    ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{net::TcpListener, sync::Arc};
use time::OffsetDateTime;

const NODE: &str = "system:node:n1";
const CERTIFICATE: &str = "jsonpath={.status.certificate}";

fn sign(server: &Server, purpose: Purpose) -> Signed {
    let file = |name: &str| server.path("pki").join(name);
    let now = OffsetDateTime::now_utc();
    let authority = Authority::load(&file(names::CA_CERT), &file(names::CA_KEY), now).expect("the authority");
    let mut leaf = Leaf { purpose, ..Leaf::client(NODE, ["system:nodes"]) };
    if purpose == Purpose::Server {
        leaf.dns_names = vec!["n1".to_owned()];
        leaf.ips = vec!["127.0.0.1".parse().expect("an address")];
    }
    authority.sign(&leaf, now).expect("a certificate")
}

/// A request of the node's, and its key.
fn request(name: &str, signer: &str, usage: &str, san: &[&str]) -> (String, rcgen::KeyPair) {
    let san: Vec<String> = san.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(san).expect("names");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(rcgen::DnType::CommonName, NODE);
    let key = rcgen::KeyPair::generate().expect("a key");
    let pem = params.serialize_request(&key).and_then(|request| request.pem()).expect("a request");
    let manifest = format!(
        "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {name}}}\n\
         spec: {{request: {}, signerName: kubernetes.io/{signer}, usages: [digital signature, {usage}]}}\n",
        STANDARD.encode(pem)
    );
    (manifest, key)
}

/// Shakes hands with whoever comes, for as long as the test runs; its port.
fn kubelet(pair: &Signed) -> u16 {
    let der = CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_single_cert(vec![der], key);
    let config = Arc::new(config.expect("a pair"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut connection = ServerConnection::new(config.clone()).expect("a connection");
            let _ = connection.complete_io(&mut stream);
        }
    });
    port
}

#[test]
fn a_nodes_certificates_are_renewed_and_none_gets_a_new_name() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, "apiserver,controllers");
    let own = sign(&server, Purpose::Client);
    let node = server.certified("n1", &own.cert_pem, &own.key_pem);
    let ask = |manifest: &str| server.ok_with(&["--kubeconfig", &node, "create", "-f", "-"], manifest);
    let issued = |name: &str| {
        let csr = format!("csr/{name}");
        server.ok(&["--kubeconfig", &node, "wait", &csr, &format!("--for={CERTIFICATE}"), "--timeout=30s"]);
        let made = server.ok(&["--kubeconfig", &node, "get", &csr, "-o", CERTIFICATE]);
        String::from_utf8(STANDARD.decode(made).expect("base64")).expect("PEM")
    };

    // Nobody has bound anything.
    let (manifest, key) = request("client", "kube-apiserver-client-kubelet", "client auth", &[]);
    ask(&manifest);
    let renewed = server.certified("renewed", &issued("client"), &key.serialize_pem());
    assert!(server.whoami(&renewed).is_ok_and(|who| who.starts_with(NODE) && who.contains("system:nodes")));

    // A kubelet serves `n1` and 127.0.0.1.
    let port = kubelet(&sign(&server, Purpose::Server));
    ask("apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n");
    let status = format!(
        "{{\"status\":{{\"addresses\":[{{\"type\":\"InternalIP\",\"address\":\"127.0.0.1\"}}],\
         \"daemonEndpoints\":{{\"kubeletEndpoint\":{{\"Port\":{port}}}}}}}}}"
    );
    // As an administrator: kubectl reads the status first, which a node may not.
    server.ok(&["patch", "node", "n1", "--subresource=status", "--type=merge", "-p", &status]);
    let serving = |name: &str, san: &[&str]| request(name, "kubelet-serving", "server auth", san).0;
    ask(&serving("more", &["n1", "127.0.0.1", "kubernetes.default.svc"]));
    ask(&serving("same", &["n1", "127.0.0.1"]));
    let made = issued("same");
    let der = CertificateDer::from_pem_slice(made.as_bytes()).expect("PEM");
    let leaf = Leaf::from_der(&der).expect("a server's");
    assert_eq!((leaf.purpose, leaf.dns_names, leaf.ips.len()), (Purpose::Server, vec!["n1".to_owned()], 1));
    server.until("the request for a new name is looked at", |server| {
        server.log().contains("what it serves is not for kubernetes.default.svc")
    });
    assert!(server.ok(&["get", "csr", "more"]).contains("Pending"), "it is a person's to approve");
    server.ok(&["certificate", "approve", "more"]);
    issued("more");
}

#[test]
fn every_namespace_gets_the_authorities_that_are_believed_now() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, "apiserver,controllers");
    let file = server.path("pki").join(names::CA_CERT);
    let first = std::fs::read_to_string(&file).expect("the authority");
    let published = |server: &Server| {
        ["default", "kube-system"].map(|namespace| {
            let form = "jsonpath={.data.ca\\.crt}";
            let got = server.kubectl(&["-n", namespace, "get", "configmap", "kube-root-ca.crt", "-o", form]);
            String::from_utf8_lossy(&got.stdout).trim().to_owned()
        })
    };
    server.until("the first is published", |server| published(server).iter().all(|pem| pem == first.trim()));
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let bundle = format!("{first}{}", params.self_signed(&key).expect("an authority").pem());
    std::fs::write(&file, &bundle).expect("the folder is ours");
    server.until("both are published", |server| published(server).iter().all(|pem| pem == bundle.trim()));
}

#[test]
fn another_webhook_is_asked_about_tokens_once_its_kubeconfig_says_so() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let webhook = |user: &'static str| {
        TestServer::start("127.0.0.1", None, move |_| async move {
            let status = format!("{{\"authenticated\": true, \"user\": {{\"username\": \"{user}\"}}}}");
            answer(200, format!("{{\"kind\": \"TokenReview\", \"status\": {status}}}"))
        })
    };
    let (first, second) = (webhook("mary"), webhook("john"));
    let folder = tempfile::tempdir().expect("a folder");
    let (file, ca) = (folder.path().join("webhook.conf"), folder.path().join("ca.crt"));
    let write = |server: &TestServer| {
        let url = format!("https://{}/", server.address);
        let text = format!(
            "{{current-context: c, clusters: [{{name: w, cluster: {{server: '{url}', certificate-authority: ca.crt}}}}], \
             contexts: [{{name: c, context: {{cluster: w}}}}]}}"
        );
        std::fs::write(&file, text).expect("the folder is ours");
    };
    write(&first);
    std::fs::write(&ca, &first.ca_pem).expect("the folder is ours");
    let flag = format!("--authentication-token-webhook-config-file={}", file.display());
    let server = Server::start_with(Backend::Embedded, "apiserver", &[&flag]);
    let bearer = server.bearer("bearer", "secret");
    assert!(server.whoami(&bearer).is_ok_and(|who| who.starts_with("mary")));
    // The new address is nobody's whom the old authority knows; then the file that the kubeconfig names changes alone.
    write(&second);
    server.until("the first is asked no more", |server| server.whoami(&bearer).is_err());
    std::fs::write(&ca, &second.ca_pem).expect("the folder is ours");
    server.until("the second is asked", |server| {
        server.whoami(&bearer).is_ok_and(|who| who.starts_with("john"))
    });
}

//! Renewal against a scripted API server, with an authority of the test's own and certificates that are about to end.

use super::*;
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{Method, Request as HttpRequest, Response};
use kube::client::Body;
use parking_lot::Mutex;
pub(crate) use place::Pair;
use rcgen::{CertificateSigningRequestParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use time::Duration as Span;

const NODE: &str = "system:node:n1";

/// The test's authority.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "ca");
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A node's, good since `age` ago for `life` in all.
    pub(crate) fn pair(&self, name: &str, names: &[&str], (age, life): (Span, Span)) -> Pair {
        self.pair_of(NODES, name, names, (age, life))
    }

    /// The same of another organisation.
    pub(crate) fn pair_of(
        &self,
        organization: &str,
        name: &str,
        names: &[&str],
        (age, life): (Span, Span),
    ) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, organization);
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = OffsetDateTime::now_utc() - age;
        params.not_after = params.not_before + life;
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Pair { cert_pem: cert.pem(), key_pem: key.serialize_pem() }
    }

    fn sign(&self, request_pem: &str, change: impl FnOnce(&mut rcgen::CertificateParams)) -> String {
        let mut request = CertificateSigningRequestParams::from_pem(request_pem).unwrap();
        request.params.not_before = OffsetDateTime::now_utc() - Span::minutes(5);
        request.params.not_after = OffsetDateTime::now_utc() + Span::days(365);
        change(&mut request.params);
        request.signed_by(&self.issuer).unwrap().pem()
    }
}

/// What becomes of a request, given its PEM.
type Decide = Box<dyn Fn(&str) -> Value + Send + Sync>;

/// An API server that knows one request: pending in lists, decided in the watch.
struct Script {
    decide: Decide,
    made: Mutex<Vec<Value>>,
}

impl Script {
    fn new(decide: impl Fn(&str) -> Value + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { decide: Box::new(decide), made: Mutex::default() })
    }

    fn signing(ca: Arc<Ca>) -> Arc<Self> {
        Self::new(move |pem| certificate(&ca.sign(pem, |_| {})))
    }

    fn client(self: &Arc<Self>) -> kube::Client {
        let script = Arc::clone(self);
        let service = tower::service_fn(move |request: HttpRequest<Body>| {
            let script = Arc::clone(&script);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                let answer = script.answer(&head.method, &head.uri.to_string(), &body);
                Ok::<_, kube::Error>(Response::new(Body::from(answer.to_string().into_bytes())))
            }
        });
        kube::Client::new(service, "default")
    }

    fn answer(&self, method: &Method, uri: &str, body: &[u8]) -> Value {
        assert!(uri.starts_with("/apis/certificates.k8s.io/v1/certificatesigningrequests"), "{uri}");
        if method == Method::POST {
            let mut object: Value = serde_json::from_slice(body).unwrap();
            assert_eq!(object["metadata"]["generateName"], "csr-");
            object["metadata"] = json!({ "name": "csr-1", "uid": "u", "resourceVersion": "1" });
            self.made.lock().push(object.clone());
            return object;
        }
        assert!(uri.contains("fieldSelector=metadata.name%3Dcsr-1"), "{uri}");
        let mut object = self.made.lock().last().cloned().unwrap();
        if !uri.contains("watch=true") {
            return json!({ "kind": "CertificateSigningRequestList", "apiVersion": "certificates.k8s.io/v1",
                           "metadata": { "resourceVersion": "1" }, "items": [object] });
        }
        let pem = BASE64_STANDARD.decode(object["spec"]["request"].as_str().unwrap()).unwrap();
        object["metadata"]["resourceVersion"] = "2".into();
        object["status"] = (self.decide)(std::str::from_utf8(&pem).unwrap());
        json!({ "type": "MODIFIED", "object": object })
    }
}

fn certificate(pem: &str) -> Value {
    json!({ "certificate": BASE64_STANDARD.encode(pem) })
}

pub(crate) fn kubeconfig(pair: &Pair, ca_pem: &str, server: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "k", "cluster": {
            "server": server, "certificate-authority-data": BASE64_STANDARD.encode(ca_pem) } }],
        "users": [{ "name": "u", "user": {
            "client-certificate-data": BASE64_STANDARD.encode(&pair.cert_pem),
            "client-key-data": BASE64_STANDARD.encode(&pair.key_pem) } }],
        "contexts": [{ "name": "c", "context": { "cluster": "k", "user": "u" } }],
    })
    .to_string()
}

/// A third of an hour before its end, of an hour.
const DUE: (Span, Span) = (Span::minutes(59), Span::hours(1));
const FRESH: (Span, Span) = (Span::minutes(1), Span::hours(1));

fn in_kubeconfig(folder: &Path, ca: &Ca, pair: &Pair) -> (PathBuf, Kept) {
    let file = folder.join("kubeconfig");
    std::fs::write(&file, kubeconfig(pair, &ca.pem, "https://127.0.0.1:1")).unwrap();
    let kept = Kept::client(&file, "n1").unwrap().unwrap();
    (file, kept)
}

#[tokio::test]
async fn a_client_certificate_that_is_due_is_replaced_in_its_kubeconfig() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Arc::new(Ca::new()));
    let (file, kept) = in_kubeconfig(folder.path(), &ca, &ca.pair(NODE, &[], DUE));
    let script = Script::signing(Arc::clone(&ca));
    let due = kept.look(&script.client(), OffsetDateTime::now_utc).await.unwrap();
    assert!(due > OffsetDateTime::now_utc() + Span::days(200));

    let made = script.made.lock()[0]["spec"].clone();
    assert_eq!(made["signerName"], "kubernetes.io/kube-apiserver-client-kubelet");
    assert_eq!(made["usages"], json!(["digital signature", "client auth"]));
    let config = crate::client::read(&file).unwrap();
    assert_eq!(
        config.clusters[0].cluster.as_ref().unwrap().server.as_deref(),
        Some("https://127.0.0.1:1"),
        "what else is in the kubeconfig stays"
    );
    let user: Value = serde_json::to_value(config.auth_infos[0].auth_info.as_ref().unwrap()).unwrap();
    let pem =
        |key: &str| String::from_utf8(BASE64_STANDARD.decode(user[key].as_str().unwrap()).unwrap()).unwrap();
    let held = Held::read(&pem("client-certificate-data")).unwrap();
    let key = KeyPair::from_pem(&pem("client-key-data")).unwrap();
    assert_eq!(held.public_key, key.public_key_raw(), "a pair");
    assert_eq!((held.common_name.as_str(), held.organizations), (NODE, vec![NODES.to_owned()]));

    kept.look(&script.client(), OffsetDateTime::now_utc).await.unwrap();
    assert_eq!(script.made.lock().len(), 1, "not due any longer");
}

#[tokio::test]
async fn a_serving_certificate_keeps_its_names() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Arc::new(Ca::new()));
    let [cert, key] = ["kubelet.crt", "kubelet.key"].map(|name| folder.path().join(name));
    let old = ca.pair(NODE, &["n1", "192.0.2.1", "2001:db8::1"], DUE);
    std::fs::write(&cert, &old.cert_pem).unwrap();
    std::fs::write(&key, &old.key_pem).unwrap();
    let kept = Kept::serving(&cert, &key, "n1").unwrap();
    let script = Script::signing(Arc::clone(&ca));
    kept.look(&script.client(), OffsetDateTime::now_utc).await.unwrap();
    let made = script.made.lock()[0]["spec"].clone();
    assert_eq!(made["signerName"], "kubernetes.io/kubelet-serving");
    assert_eq!(made["usages"], json!(["digital signature", "server auth"]));
    let held = Held::read(&std::fs::read_to_string(&cert).unwrap()).unwrap();
    let key = KeyPair::from_pem(&std::fs::read_to_string(&key).unwrap()).unwrap();
    assert_eq!(held.public_key, key.public_key_raw(), "a pair");
    assert_eq!(held.dns_names, ["n1"]);
    assert_eq!(held.ips, ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse::<std::net::IpAddr>().unwrap()));

    let ca = Arc::clone(&ca);
    let fewer = Script::new(move |pem| {
        certificate(
            &ca.sign(pem, |params| params.subject_alt_names.retain(|n| matches!(n, SanType::DnsName(_)))),
        )
    });
    std::fs::write(&cert, &old.cert_pem).unwrap();
    let error = kept.look(&fewer.client(), OffsetDateTime::now_utc).await.unwrap_err();
    assert!(format!("{error:#}").contains("it does not name 192.0.2.1"), "{error:#}");
}

#[tokio::test]
async fn what_is_not_due_or_not_the_nodes_is_not_asked_for() {
    let ca = Arc::new(Ca::new());
    for (name, age, expected) in [(NODE, FRESH, Ok(())), ("jane", DUE, Err("replace it yourself"))] {
        let folder = tempfile::tempdir().unwrap();
        let (_, kept) = in_kubeconfig(folder.path(), &ca, &ca.pair(name, &[], age));
        let script = Script::signing(Arc::clone(&ca));
        match (kept.look(&script.client(), OffsetDateTime::now_utc).await, expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(text)) => assert!(format!("{error:#}").contains(text), "{error:#}"),
            (found, _) => panic!("{name}: {found:?}"),
        }
        assert!(script.made.lock().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn whatever_is_no_good_answer_changes_nothing_and_says_why() {
    let ca = Arc::new(Ca::new());
    let signed = |change: fn(&mut rcgen::CertificateParams)| {
        let ca = Arc::clone(&ca);
        Script::new(move |pem| certificate(&ca.sign(pem, change)))
    };
    let denied = json!({ "conditions": [
        { "type": "Denied", "status": "True", "reason": "Mine", "message": "no such machine" }] });
    let other = ca.pair(NODE, &[], FRESH).cert_pem;
    let rows = [
        (Script::new(move |_| denied.clone()), "the request csr-1 is Denied: no such machine (Mine)"),
        (Script::new(move |_| certificate(&other)), "it is for another key"),
        (signed(|params| params.distinguished_name.push(DnType::CommonName, "n2")), "it is for n2"),
        (signed(|params| params.not_after = OffsetDateTime::now_utc()), "no time to use it"),
    ];
    for (script, expected) in rows {
        let folder = tempfile::tempdir().unwrap();
        let (file, kept) = in_kubeconfig(folder.path(), &ca, &ca.pair(NODE, &[], DUE));
        let before = std::fs::read(&file).unwrap();
        let error = kept.look(&script.client(), OffsetDateTime::now_utc).await.unwrap_err();
        assert!(format!("{error:#}").contains(expected), "{error:#}");
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }
}

#[test]
fn a_pair_in_two_files_is_a_pair_after_a_crash_at_any_step() {
    let ca = Ca::new();
    let (old, new) = (ca.pair(NODE, &[], DUE), ca.pair(NODE, &[], FRESH));
    // What is there at the crash: of the new pair beside, and whether the key has been renamed already.
    let rows = [
        (false, false, false, &old),
        (true, false, false, &old),
        (true, true, false, &new),
        (false, true, true, &new),
    ];
    for (key_beside, cert_beside, key_renamed, expected) in rows {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("crt"), &old.cert_pem).unwrap();
        std::fs::write(at("key"), if key_renamed { &new.key_pem } else { &old.key_pem }).unwrap();
        for (there, name, content) in
            [(key_beside, ".key.next", &new.key_pem), (cert_beside, ".crt.next", &new.cert_pem)]
        {
            if there {
                std::fs::write(at(name), content).unwrap();
            }
        }
        let place = Place::Files { cert: at("crt"), key: at("key") };
        place.recover().unwrap();
        let found = ["crt", "key"].map(|name| std::fs::read_to_string(at(name)).unwrap());
        assert_eq!(found, [expected.cert_pem.clone(), expected.key_pem.clone()]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside");
        place.write(&new).unwrap();
        let found = ["crt", "key"].map(|name| std::fs::read_to_string(at(name)).unwrap());
        assert_eq!(found, [new.cert_pem.clone(), new.key_pem.clone()]);
    }
    let folder = tempfile::tempdir().unwrap();
    let one = folder.path().join("both");
    Place::Files { cert: one.clone(), key: one.clone() }.write(&new).unwrap();
    assert_eq!(std::fs::read_to_string(one).unwrap(), format!("{}{}", new.cert_pem, new.key_pem));
}

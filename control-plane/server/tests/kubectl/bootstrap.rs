//! A machine that is nobody joins: by a bootstrap token it recognises the cluster, asks for a certificate, gets it, and is a
//! node with it. As kubeadm sets a cluster up, and with the real kubectl.

use crate::support::{Backend, Server, missing, text};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    process::Command,
    time::{Duration, Instant},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const TOKEN: &str = "abcdef.0123456789abcdef";
const GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";
const PATIENCE: Duration = Duration::from_secs(30);

fn token_secret(id: &str, expires: OffsetDateTime) -> String {
    let expiration = expires.format(&Rfc3339).expect("a time");
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: bootstrap-token-{id}, namespace: kube-system}}\n\
         type: bootstrap.kubernetes.io/token\nstringData:\n  token-id: {id}\n  token-secret: 0123456789abcdef\n  \
         expiration: '{expiration}'\n  usage-bootstrap-authentication: 'true'\n  usage-bootstrap-signing: 'true'\n  \
         auth-extra-groups: {GROUP}\n"
    )
}

fn node_request(key: &rcgen::KeyPair) -> String {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(rcgen::DnType::CommonName, "system:node:joiner");
    let pem = params.serialize_request(key).expect("a request").pem().expect("PEM");
    format!(
        "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: joiner}}\n\
         spec: {{request: {}, signerName: kubernetes.io/kube-apiserver-client-kubelet,\n  \
         usages: [digital signature, client auth], expirationSeconds: 3600}}\n",
        STANDARD.encode(pem)
    )
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_machine_joins_by_a_bootstrap_token() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, "apiserver,controllers");
    let now = OffsetDateTime::now_utc();
    server.ok_with(&["create", "-f", "-"], &token_secret("abcdef", now + Duration::from_secs(3600)));
    let joiner = server.bearer("joiner", TOKEN);
    let who = server.whoami(&joiner).expect("the token is good");
    assert!(who.starts_with("system:bootstrap:abcdef") && who.contains(GROUP), "{who}");
    let asks = |manifest: &str| server.run_with(&["--kubeconfig", &joiner, "create", "-f", "-"], manifest);

    // What the token may do is for an administrator to say, as `kubeadm init` does.
    let key = rcgen::KeyPair::generate().expect("a key");
    let request = node_request(&key);
    assert!(!asks(&request).status.success(), "nothing is bound to bootstrap tokens by default");
    let group = format!("--group={GROUP}");
    let bind = |name: &str, role: &str| {
        server.ok(&["create", "clusterrolebinding", name, "--clusterrole", role, &group]);
    };
    bind("bootstrap", "system:node-bootstrapper");
    bind("approve", "system:certificates.k8s.io:certificatesigningrequests:nodeclient");
    eventually("the request is made", || asks(&request).status.success());
    let path = "jsonpath={.status.certificate}";
    server.ok(&["--kubeconfig", &joiner, "wait", "csr/joiner", &format!("--for={path}"), "--timeout=30s"]);
    let made = server.ok(&["--kubeconfig", &joiner, "get", "csr", "joiner", "-o", path]);
    let cert = String::from_utf8(STANDARD.decode(made).expect("base64")).expect("PEM");
    let node = server.certified("node", &cert, &key.serialize_pem());
    assert!(server.whoami(&node).is_ok_and(|who| who.starts_with("system:node:joiner")));
    let manifest = "apiVersion: v1\nkind: Node\nmetadata: {name: joiner}\n";
    server.ok_with(&["--kubeconfig", &node, "create", "-f", "-"], manifest);

    server.ok(&["-n", "kube-system", "delete", "secret", "bootstrap-token-abcdef"]);
    eventually("a deleted token is nobody's", || server.whoami(&joiner).is_err());
    assert!(server.whoami(&node).is_ok(), "the certificate is good without the token");
}

#[test]
fn cluster_info_is_signed_by_the_tokens_that_live() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, "apiserver,controllers");
    let info = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cluster-info, namespace: kube-public}\n\
                data: {kubeconfig: 'kind: Config'}\n";
    server.ok_with(&["create", "-f", "-"], info);
    let now = OffsetDateTime::now_utc();
    server.ok_with(&["create", "-f", "-"], &token_secret("abcdef", now + Duration::from_secs(3600)));
    server.ok_with(&["create", "-f", "-"], &token_secret("fedcba", now + Duration::from_secs(5)));
    let signed = || server.ok(&["-n", "kube-public", "get", "cm", "cluster-info", "-o", "jsonpath={.data}"]);
    eventually("both have signed", || {
        let data = signed();
        data.contains("jws-kubeconfig-abcdef") && data.contains("jws-kubeconfig-fedcba")
    });
    eventually("what is over is gone", || {
        let left = server.ok(&["-n", "kube-system", "get", "secrets", "-o", "name"]);
        !left.contains("fedcba") && !signed().contains("jws-kubeconfig-fedcba")
    });
    assert!(signed().contains("jws-kubeconfig-abcdef"));

    // Nobody may read it until an administrator grants that, as `kubeadm init` does; then without credentials.
    let url = server.ok(&["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"]);
    let read = || {
        let path = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
        let answer = Command::new("curl")
            .args(["-s", "--max-time", "10", "--cacert"])
            .arg(server.path("pki/ca.crt"))
            .arg(format!("{url}{path}"))
            .output();
        text(&answer.expect("curl runs").stdout)
    };
    let refused = read();
    assert!(refused.contains("system:anonymous"), "{refused}");
    let role = ["-n", "kube-public", "create", "role", "info", "--verb=get", "--resource=configmaps"];
    server.ok(&[&role[..], &["--resource-name=cluster-info"]].concat());
    server.ok(&[
        "-n",
        "kube-public",
        "create",
        "rolebinding",
        "info",
        "--role=info",
        "--user=system:anonymous",
    ]);
    eventually("it can be read", || read().contains("jws-kubeconfig-abcdef"));
}

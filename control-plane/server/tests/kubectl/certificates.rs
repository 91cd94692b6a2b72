//! CertificateSigningRequests with the real kubectl: asked for, approved or denied, signed by the cluster's authority. And the
//! server's own certificate, which is renewed while kubectl goes on.

use crate::support::{Backend, Server, missing};
use keelson_auth::pki::{Authority, InitConfig, names, server_names};
use std::{
    io::{BufRead, BufReader},
    time::{Duration, Instant},
};
use time::OffsetDateTime;

/// O=dev, CN=jane; a key that nobody has any more.
const JANE: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIWU1IOENBUUF3SFRFTU1Bb0dBMVVFQ2d3RFpHVjJNUTB3Q3dZRFZRUUREQVJxWVc1bE1Ga3dFd1lIS29aSQp6ajBDQVFZSUtvWkl6ajBEQVFjRFFnQUV5cDJrYTdiOXpwdnBWdFZWVjUveW1nV3VVQmdNNkNWdmdTa2hZSU5rCkl3SWY1ZUdqdGJNakVxbkdLcWRPTUMvczF2ZWlCTlROQjRLQ2M4c2swcC8vWTZBQU1Bb0dDQ3FHU000OUJBTUMKQTBrQU1FWUNJUUNWSWttNkZpZjZrSnJVTW8rdjdaRVkvc0JZNTJLcDNraEM0K0F2c3hQeWp3SWhBSVZpYzhUNQpiaXA2SjRRbnVTVHUyQ2ROZzhaKzdnbU12TVhrZUlsdkJXbXYKLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";
/// O=system:nodes, CN=system:node:a.
const NODE: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIcU1JR1JBZ0VBTUM4eEZUQVRCZ05WQkFvTURITjVjM1JsYlRwdWIyUmxjekVXTUJRR0ExVUVBd3dOYzNsegpkR1Z0T201dlpHVTZZVEJaTUJNR0J5cUdTTTQ5QWdFR0NDcUdTTTQ5QXdFSEEwSUFCS25BODNZZUlXdHFLa3lXCnlaVHJpY0h2SnNXdmxEQmNoNUVPY0ZFeVAxcmk0NzlMdERRVVl3TXI1MzBvSnpxdXZTWjd5L0szQjZrK0Fqd0YKZWV3cmsrT2dBREFLQmdncWhrak9QUVFEQWdOSUFEQkZBaUVBbUF1UGh3T3VIVzBwVHVOVjVWM0JOei9xZnZIZgpWeDRUanFwRWlXcmY4OWtDSUdmMGZwb2RMTGFDeko2MTdNL2RQUkxldjc4dG9hRzNzR3VuaVJPVHowbTUKLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";

fn request(name: &str, pem: &str, signer: &str, usages: &str) -> String {
    format!(
        "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {name}}}\n\
         spec: {{request: {pem}, signerName: {signer}, usages: {usages}, expirationSeconds: 3600}}\n"
    )
}

fn await_certificate(server: &Server, name: &str) -> String {
    let path = "jsonpath={.status.certificate}";
    server.ok(&["wait", &format!("csr/{name}"), &format!("--for={path}"), "--timeout=30s"]);
    server.ok(&["get", "csr", name, "-o", path])
}

#[test]
fn what_is_approved_is_signed_and_what_is_denied_is_not() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, "apiserver,controllers");
    let client = "kubernetes.io/kube-apiserver-client";
    server.ok_with(&["create", "-f", "-"], &request("jane", JANE, client, "[client auth]"));
    let table = server.ok(&["get", "csr", "jane"]);
    assert!(table.contains("60m") && table.contains("Pending"), "{table}");
    server.ok(&["certificate", "approve", "jane"]);
    assert!(await_certificate(&server, "jane").starts_with("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS"));
    assert!(server.ok(&["get", "csr", "jane"]).contains("Approved,Issued"));
    assert!(server.ok(&["describe", "csr", "jane"]).contains("jane"));
    assert_eq!(server.ok(&["get", "csr", "--field-selector=spec.signerName=x", "-o", "name"]), "");

    server.ok_with(&["create", "-f", "-"], &request("denied", JANE, client, "[client auth]"));
    server.ok(&["certificate", "deny", "denied"]);
    assert!(server.ok(&["get", "csr", "denied"]).contains("Denied"));
    let said = server.refused(&["certificate", "approve", "denied"]);
    assert!(said.contains("already Denied"), "{said}");

    // A server's certificate is not this signer's to give.
    server.ok_with(&["create", "-f", "-"], &request("wrong", JANE, client, "[server auth]"));
    server.ok(&["certificate", "approve", "wrong"]);
    server.ok(&["wait", "csr/wrong", "--for=condition=Failed", "--timeout=30s"]);

    let usages = "[client auth, digital signature]";
    let node = "kubernetes.io/kube-apiserver-client-kubelet";
    server.ok_with(&["create", "-f", "-"], &request("node", NODE, node, usages));
    await_certificate(&server, "node");
    assert!(server.ok(&["get", "csr", "node", "-o", "yaml"]).contains("AutoApproved"));

    let spoilt = request("bad", "eA==", client, "[client auth]");
    let said = server.refused_with(&["create", "-f", "-"], &spoilt);
    assert!(said.contains("spec.request: Invalid value") && said.contains("PEM block type"), "{said}");
}

#[test]
fn the_serving_certificate_is_renewed_before_it_ends_and_nobody_notices() {
    const LIFE: Duration = Duration::from_secs(24);
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let mut ends = Instant::now();
    let mut server = Server::start_after(Backend::Embedded, "apiserver", &[], |data, _| {
        let file = |name| names::pki_file(data, name);
        let now = OffsetDateTime::now_utc();
        let authority =
            Authority::load(&file(names::CA_CERT), &file(names::CA_KEY), now).expect("init made it");
        let leaf = server_names(&InitConfig {
            data: data.to_owned(),
            advertise: vec!["127.0.0.1".parse().expect("an address")],
            port: 6443,
            service_addresses: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
        });
        let life = LIFE.try_into().expect("a short time");
        let pair = authority.sign_for(&leaf, now, life).expect("it signs");
        std::fs::write(file(names::APISERVER_CERT), &pair.cert_pem).expect("the folder is ours");
        std::fs::write(file(names::APISERVER_KEY), &pair.key_pem).expect("the folder is ours");
        ends = Instant::now() + LIFE;
    });
    let cert = || std::fs::read_to_string(server.path("pki/apiserver.crt")).expect("it is there");
    let first = cert();
    let mut watch = server.spawn(&["get", "configmaps", "-w", "-o", "name"]);
    let mut seen = BufReader::new(watch.stdout.take().expect("it is piped")).lines();
    let mut sees = |name: &str| {
        server.ok(&["create", "configmap", name]);
        let wanted = format!("configmap/{name}");
        assert!(
            seen.by_ref().any(|line| line.is_ok_and(|line| line == wanted)),
            "the watch ended before {name}"
        );
    };
    sees("before");
    // Each of these kubectls makes a connection of its own, the last ones after the first certificate's end.
    while Instant::now() < ends + Duration::from_secs(2) {
        server.ok(&["get", "--raw", "/healthz"]);
        std::thread::sleep(Duration::from_millis(300));
    }
    assert_ne!(cert(), first, "{}", server.log());
    let log = server.log();
    assert!(
        log.contains("certificates were renewed") && log.contains("certificates were read again"),
        "{log}"
    );
    sees("after");
    watch.kill().expect("it ran on");
    watch.wait().expect("it ends");
    server.stop();
}

//! CertificateSigningRequests with the real kubectl: asked for, approved or denied, signed by the cluster's authority.

use crate::support::{Backend, Server, missing};

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

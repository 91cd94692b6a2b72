//! Who comes without credentials, or with such that nobody believes, over a real connection: what is open, and what he is told.

use crate::support::{Backend, Server, missing, text};
use std::process::Command;

#[test]
fn without_credentials_health_and_version_answer_and_nothing_else() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, "apiserver");
    let url = server.ok(&["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"]);
    // The code, then the body.
    let get = |path: &str, header: &str| {
        let answer = Command::new("curl")
            .args(["-s", "--max-time", "10", "-w", "\n%{http_code}", "-H", header, "--cacert"])
            .arg(server.path("pki/ca.crt"))
            .arg(format!("{url}{path}"))
            .output();
        let answer = text(&answer.expect("curl runs").stdout);
        let (body, code) = answer.rsplit_once('\n').expect("curl writes the code");
        (code.to_owned(), body.to_owned())
    };
    let none = "X-Nothing: x";
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(get(path, none), ("200".to_owned(), "ok".to_owned()), "{path}");
    }
    let (code, body) = get("/version", none);
    assert!(code == "200" && body.contains("\"gitVersion\""), "{body}");
    let (code, body) = get("/readyz?verbose", none);
    assert!(code == "200" && body.ends_with("readyz check passed\n"), "{body}");
    // Bound to nobody by default: the user has a name, and may not.
    let (code, body) = get("/livez/ping", none);
    assert!(code == "403" && body.contains("User \\\"system:anonymous\\\" cannot get path"), "{body}");
    for path in ["/api", "/apis", "/metrics", "/openapi/v2", "/api/v1/namespaces", "/"] {
        let (code, body) = get(path, none);
        assert!(code == "401" && body.contains("\"reason\": \"Unauthorized\""), "{path}: {code} {body}");
    }
    for path in ["/healthz", "/version", "/api"] {
        let (code, body) = get(path, "Authorization: Bearer not.a.token");
        assert!(code == "401" && body.contains("\"message\": \"Unauthorized\""), "{path}: {code} {body}");
    }
}

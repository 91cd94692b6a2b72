//! Clients that others wrote, unmodified, against the API server by itself: Helm, kube-rs, the official clients of Python and
//! JavaScript, Prometheus' discovery. `cargo xtask test` installs them (`xtask/src/clients.rs`).

#[path = "clients/helm.rs"]
mod helm;
#[path = "clients/kube_rs.rs"]
mod kube_rs;
#[path = "clients/prometheus.rs"]
mod prometheus;
#[allow(dead_code, reason = "shared with the tests that drive kubectl")]
mod support;

use std::{
    path::{Path, PathBuf},
    process::Command,
};
use support::{Backend, Server, missing, text};

/// Where `cargo xtask` puts the clients.
fn installed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/clients").join(path)
}

/// A file of these tests.
fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(path)
}

/// A server without components, unless something that the test needs is not there: it says so.
fn server(needs: &[&Path]) -> Option<Server> {
    if let Some(absent) = needs.iter().find(|path| !path.exists()) {
        eprintln!("skipped: {} is not there; `cargo xtask doctor --install` brings it", absent.display());
        return None;
    }
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return None;
    }
    Some(Server::start(Backend::Embedded, "apiserver"))
}

/// Runs a client's own script as the administrator.
fn passes(server: &Server, command: &mut Command) {
    let output = command.env("KUBECONFIG", server.path("admin.conf")).output().expect("the client starts");
    assert!(
        output.status.success(),
        "{command:?}\n{}{}\n{}",
        text(&output.stdout),
        text(&output.stderr),
        server.log()
    );
}

#[test]
fn python_reads_writes_pages_watches_and_finds_custom_kinds() {
    let python = installed("python/bin/python");
    let Some(server) = server(&[&python]) else { return };
    passes(&server, Command::new(python).arg(here("python/check.py")));
}

#[test]
fn javascript_reads_writes_watches_and_applies() {
    let folder = installed("javascript");
    let Some(server) = server(&[&folder.join("node_modules")]) else { return };
    // Packages are looked for beside the script.
    let script = folder.join("check.mjs");
    std::fs::copy(here("javascript/check.mjs"), &script).expect("the folder can be written to");
    passes(&server, Command::new("node").arg(script));
}

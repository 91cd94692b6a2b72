//! Scheduler or controllers in a process without an API server, beside one that runs.

use super::{Server, free_port, keelson};
use std::process::{Child, Stdio};

/// Scheduler or controllers by themselves; killed when dropped.
pub(crate) struct Component {
    process: Child,
    port: u16,
}

impl Component {
    /// Where it tells of itself.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Where it answers.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// A component of its own process, as the user of a kubeconfig; its log goes where the server's goes.
    pub(crate) fn component(&self, component: &str, kubeconfig: &str, more: &[&str]) -> Component {
        let port = free_port();
        let log = std::fs::OpenOptions::new().append(true).open(self.path("log")).expect("a log file");
        let process = keelson()
            .args(["serve", "--components", component, "--kubeconfig", kubeconfig, "--data"])
            .arg(self.folder.path())
            .args(["--bind-address", "127.0.0.1", "--secure-port", &port.to_string()])
            .args(more)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("keelson runs");
        Component { process, port }
    }
}

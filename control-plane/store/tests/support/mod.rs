//! An etcd of one's own: started on free loopback ports with its data in a temporary folder, killed when dropped.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// One member, with its data.
pub(crate) struct EtcdProcess {
    data: TempDir,
    client: u16,
    peer: u16,
    child: Option<Child>,
}

impl EtcdProcess {
    /// `None`, with the reason printed, where etcd is not installed.
    pub(crate) fn start() -> Option<Self> {
        if let Err(error) = Command::new("etcd").arg("--version").stdout(Stdio::null()).status() {
            eprintln!("skipped: etcd cannot be run ({error}); Debian's package is etcd-server");
            return None;
        }
        let ports: Vec<_> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let port = |n: usize| ports[n].local_addr().unwrap().port();
        let mut process =
            Self { data: tempfile::tempdir().unwrap(), client: port(0), peer: port(1), child: None };
        drop(ports);
        process.spawn();
        Some(process)
    }

    /// SIGKILL, as in a crash.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again on its data.
    pub(crate) fn spawn(&mut self) {
        let client = self.endpoint();
        let peer = format!("http://127.0.0.1:{}", self.peer);
        let child = Command::new("etcd")
            .args(["--name", "test", "--log-level", "error", "--logger", "zap"])
            .arg("--data-dir")
            .arg(self.data.path().join("etcd"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}")])
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// Where clients connect.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.client)
    }
}

impl Drop for EtcdProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

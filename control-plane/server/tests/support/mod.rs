//! A running API server on loopback, driven with the real kubectl.

pub(crate) mod component;

use std::{
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long anything may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which store the server runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// The embedded engine.
    Embedded,
    /// A real etcd on loopback.
    Etcd,
}

/// A server with its data; killed when dropped.
pub(crate) struct Server {
    folder: TempDir,
    process: Child,
    etcd: Option<Child>,
    port: u16,
    components: String,
    backend_args: Vec<String>,
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .expect("loopback has a free port")
        .local_addr()
        .expect("it is bound")
        .port()
}

fn on_path(name: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {name}")])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// Why a test cannot run here, printed by it.
pub(crate) fn missing(backend: Backend) -> Option<&'static str> {
    if !on_path("kubectl") {
        return Some("kubectl is not installed");
    }
    if backend == Backend::Etcd && !on_path("etcd") {
        return Some("etcd is not installed");
    }
    None
}

impl Server {
    /// `init` and `serve`, until ready.
    pub(crate) fn start(backend: Backend, components: &str) -> Self {
        Self::start_with(backend, components, &[])
    }

    /// With more arguments of `serve`.
    pub(crate) fn start_with(backend: Backend, components: &str, more: &[&str]) -> Self {
        Self::start_after(backend, components, more, |_, _| ())
    }

    /// After something was done with the new data folder and the options that name the store.
    pub(crate) fn start_after(
        backend: Backend,
        components: &str,
        more: &[&str],
        prepare: impl FnOnce(&Path, &[String]),
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let (etcd, mut backend_args) = match backend {
            Backend::Embedded => (None, vec!["--store".to_owned(), "embedded".to_owned()]),
            Backend::Etcd => {
                let (child, url) = start_etcd(folder.path());
                (Some(child), ["--store", "etcd", "--etcd", &url].map(str::to_owned).to_vec())
            }
        };
        backend_args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let init = keelson()
            .args(["init", "--advertise", "127.0.0.1", "--port", &port.to_string(), "--data"])
            .arg(folder.path())
            .output()
            .expect("keelson runs");
        assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        prepare(folder.path(), &backend_args);
        let process = spawn(folder.path(), port, components, &backend_args);
        let server = Self { folder, process, etcd, port, components: components.to_owned(), backend_args };
        server.wait_ready();
        server
    }

    /// Another process on the same etcd, with a folder of its own and this one's keys.
    pub(crate) fn second(&self) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        copy_pki(self.folder.path(), folder.path());
        let port = free_port();
        let server = ["kubeconfig", "--server", &format!("https://127.0.0.1:{port}"), "--data"];
        let admin = ["--user", "kubernetes-admin", "--group", "system:masters", "--out"];
        let made = keelson()
            .args(server)
            .arg(folder.path())
            .args(admin)
            .arg(folder.path().join("admin.conf"))
            .output();
        let made = made.expect("keelson runs");
        assert!(made.status.success(), "{}", text(&made.stderr));
        let process = spawn(folder.path(), port, &self.components, &self.backend_args);
        let components = self.components.clone();
        let second =
            Self { folder, process, etcd: None, port, components, backend_args: self.backend_args.clone() };
        second.wait_ready();
        second
    }

    /// SIGTERM.
    pub(crate) fn signal(&self) {
        let kill = Command::new("kill").arg(self.process.id().to_string()).status();
        assert!(kill.is_ok_and(|status| status.success()), "the server was running");
    }

    /// Waits until something holds.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "{what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// SIGTERM, until it has ended.
    pub(crate) fn stop(&mut self) {
        self.signal();
        assert!(self.process.wait().is_ok_and(|status| status.success()), "{}", self.log());
    }

    /// SIGKILL and start again on the same data.
    pub(crate) fn kill_and_restart(&mut self) {
        self.process.kill().expect("the server was running");
        self.process.wait().expect("the server was running");
        self.process = spawn(self.folder.path(), self.port, &self.components, &self.backend_args);
        self.wait_ready();
    }

    fn wait_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.kubectl(&["get", "--raw", "/readyz"]);
            if output.status.success() {
                return;
            }
            assert!(Instant::now() < deadline, "not ready: {}\n{}", text(&output.stderr), self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The server's log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A path inside the server's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .env("KUBECONFIG", self.path("admin.conf"))
            .env("HOME", self.folder.path())
            .env_remove("KUBERNETES_SERVICE_HOST")
            .args(args);
        command
    }

    /// Runs kubectl as the administrator.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("kubectl runs")
    }

    /// Runs kubectl, which must succeed; its standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.kubectl(args);
        assert!(output.status.success(), "kubectl {args:?}: {}\n{}", text(&output.stderr), self.log());
        text(&output.stdout)
    }

    /// Runs kubectl with a manifest on its standard input, which must succeed; its standard output.
    pub(crate) fn ok_with(&self, args: &[&str], input: &str) -> String {
        let output = self.run_with(args, input);
        assert!(output.status.success(), "kubectl {args:?}: {}\n{}", text(&output.stderr), self.log());
        text(&output.stdout)
    }

    /// Runs kubectl, which must fail; its standard error.
    pub(crate) fn refused(&self, args: &[&str]) -> String {
        let output = self.kubectl(args);
        assert!(!output.status.success(), "kubectl {args:?} was not refused: {}", text(&output.stdout));
        text(&output.stderr)
    }

    /// Runs kubectl with a manifest on its standard input, which must fail; its standard error.
    pub(crate) fn refused_with(&self, args: &[&str], input: &str) -> String {
        let output = self.run_with(args, input);
        assert!(!output.status.success(), "kubectl {args:?} was not refused: {}", text(&output.stdout));
        text(&output.stderr)
    }

    /// Runs kubectl with something on its standard input.
    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        child
            .stdin
            .take()
            .expect("it is piped")
            .write_all(input.as_bytes())
            .expect("kubectl reads its input");
        child.wait_with_output().expect("kubectl ends")
    }

    /// Starts kubectl and leaves it running with its standard output piped.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("kubectl runs")
    }

    /// A kubeconfig of whoever bears the token: nothing but it and the cluster's authority.
    pub(crate) fn bearer(&self, name: &str, token: &str) -> String {
        let out = self.path(&format!("{name}.conf"));
        let config = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{}', certificate-authority: {}}}}}]\n\
             users: [{{name: u, user: {{token: '{token}'}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n",
            self.port,
            self.path("pki/ca.crt").display()
        );
        std::fs::write(&out, config).expect("the folder is ours");
        out.display().to_string()
    }

    /// A kubeconfig of whoever has the certificate and its key, both PEM.
    pub(crate) fn certified(&self, name: &str, cert_pem: &str, key_pem: &str) -> String {
        let (cert, key) = (self.path(&format!("{name}.crt")), self.path(&format!("{name}.key")));
        std::fs::write(&cert, cert_pem).expect("the folder is ours");
        std::fs::write(&key, key_pem).expect("the folder is ours");
        let out = self.bearer(name, "x");
        let config = std::fs::read_to_string(&out).expect("it was written");
        let user = format!("client-certificate: {}, client-key: {}", cert.display(), key.display());
        std::fs::write(&out, config.replace("token: 'x'", &user)).expect("the folder is ours");
        out
    }

    /// `kubectl auth whoami` with a kubeconfig: user name and groups, or what it was told instead.
    pub(crate) fn whoami(&self, kubeconfig: &str) -> Result<String, String> {
        let form = "jsonpath={.status.userInfo.username} {.status.userInfo.groups}";
        let output = self.kubectl(&["--kubeconfig", kubeconfig, "auth", "whoami", "-o", form]);
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// A kubeconfig of another user.
    pub(crate) fn user(&self, name: &str) -> String {
        let out = self.path(&format!("{name}.conf"));
        let output = keelson()
            .args([
                "kubeconfig",
                "--user",
                name,
                "--server",
                &format!("https://127.0.0.1:{}", self.port),
                "--data",
            ])
            .arg(self.folder.path())
            .arg("--out")
            .arg(&out)
            .output()
            .expect("keelson runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
        out.display().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in [Some(&mut self.process), self.etcd.as_mut()].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Bytes as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The keys of one data folder for another.
fn copy_pki(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from.join("pki")).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "the keys are copied");
}

/// The program.
pub(crate) fn keelson() -> Command {
    Command::new(env!("CARGO_BIN_EXE_keelson"))
}

fn spawn(folder: &Path, port: u16, components: &str, backend: &[String]) -> Child {
    let log =
        std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log file");
    keelson()
        .args(["serve", "--bind", &format!("127.0.0.1:{port}"), "--advertise", "127.0.0.1"])
        .args(["--components", components])
        .arg("--data")
        .arg(folder)
        .args(backend)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("keelson runs")
}

fn start_etcd(folder: &Path) -> (Child, String) {
    let client = format!("http://127.0.0.1:{}", free_port());
    let peer = format!("http://127.0.0.1:{}", free_port());
    let child = Command::new("etcd")
        .args(["--name", "one", "--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("one={peer}"), "--data-dir"])
        .arg(folder.join("etcd"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd runs");
    (child, client)
}

//! A server of its own for a measurement: keys, data and, if it needs one, its etcd in a temporary folder; all of it ends with it.

use super::{NAMESPACE, Store, http::Endpoint};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    core::v1::{Namespace, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use kube::{
    Api, Client, Config,
    api::PostParams,
    client::ConfigExt,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A server that is not ready within this has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);
/// Who asks: somebody with a role, not the administrator, whom nothing is asked of.
const USER: &str = "keelson-bench";
/// The end of the log that an error quotes.
const LOG_BYTES: usize = 2048;

/// The processes.
pub(super) struct Server {
    folder: TempDir,
    process: Process,
    _etcd: Option<Process>,
    port: u16,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts one and waits until it is ready, with a namespace in which pods may be made.
    pub(super) async fn start(store: Store) -> Result<Server> {
        let folder = TempDir::new().context("a temporary folder")?;
        let (port, data) = (free_port()?, folder.path());
        run(keelson()?
            .args(["init", "--advertise", "127.0.0.1", "--port", &port.to_string(), "--data"])
            .arg(data))?;
        let mut command = keelson()?;
        command.args(["serve", "--bind", &format!("127.0.0.1:{port}"), "--advertise", "127.0.0.1", "--data"]);
        command.arg(data).args(["--components", "apiserver"]);
        let etcd = match store {
            Store::Embedded => {
                command.args(["--store", "embedded"]);
                None
            }
            Store::Etcd => {
                let (etcd, url) = start_etcd(data)?;
                command.args(["--store", "etcd", "--etcd", &url]);
                Some(etcd)
            }
        };
        let log = File::create(data.join("log")).context("a log file")?;
        let process = command.stdout(Stdio::null()).stderr(log).spawn().context("starting keelson")?;
        let mut server = Server { folder, process: Process(process), _etcd: etcd, port };
        server.until_ready().await?;
        server.make_ground().await?;
        Ok(server)
    }

    async fn until_ready(&mut self) -> Result<()> {
        let client = client(&self.path("admin.conf")).await?;
        let start = Instant::now();
        loop {
            let request = ::http::Request::get("/readyz").body(Vec::new())?;
            match client.request_text(request).await {
                Ok(_) => return Ok(()),
                Err(error) => {
                    let ended = self.process.0.try_wait()?;
                    ensure!(ended.is_none(), "the server ended: {}", self.log_end());
                    ensure!(start.elapsed() < PATIENCE, "not ready: {error}; {}", self.log_end());
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The namespace with the account that admission asks for, and the rights of who measures.
    async fn make_ground(&self) -> Result<()> {
        let client = client(&self.path("admin.conf")).await?;
        let params = PostParams::default();
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
        Api::all(client.clone()).create(&params, &namespace).await?;
        let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "default"}}))?;
        Api::namespaced(client.clone(), NAMESPACE).create(&params, &account).await?;
        let role: ClusterRole = serde_json::from_value(json!({
            "metadata": {"name": USER},
            "rules": [{"apiGroups": [""], "resources": ["pods", "pods/status"], "verbs": ["*"]}],
        }))?;
        Api::all(client.clone()).create(&params, &role).await?;
        let binding: ClusterRoleBinding = serde_json::from_value(json!({
            "metadata": {"name": USER},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": USER},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
        }))?;
        Api::all(client).create(&params, &binding).await?;
        Ok(())
    }

    /// Where the server is, for the user of a certificate of his own; once he may list pods.
    pub(super) async fn endpoint(&self) -> Result<Endpoint> {
        let file = self.path("bench.conf");
        let url = format!("https://127.0.0.1:{}", self.port);
        run(keelson()?
            .args(["kubeconfig", "--user", USER, "--server", &url, "--data"])
            .arg(self.folder.path())
            .arg("--out")
            .arg(&file))?;
        let mut tls = config(&file).await?.rustls_client_config().context("the kubeconfig's TLS")?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let endpoint =
            Endpoint { address: SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)), tls: Arc::new(tls) };
        let start = Instant::now();
        let list = super::http::request("GET", &super::objects::collection(""), "");
        // Authorization follows the roles by a watch.
        while let Err(error) = endpoint.connect().await?.ask(&list, 200).await {
            ensure!(start.elapsed() < PATIENCE, "{USER} may not list pods: {error}");
            tokio::time::sleep(PAUSE).await;
        }
        Ok(endpoint)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The end of what the server has logged.
    pub(super) fn log_end(&self) -> String {
        let log = fs::read(self.path("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_BYTES)..]).into_owned()
    }

    /// VmRSS (proc_pid_status(5)).
    pub(super) fn resident_kib(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// VmHWM: the most it ever was.
    pub(super) fn resident_peak_kib(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process.0.id()))?;
        let value =
            text.lines().find_map(|line| line.strip_prefix(name)).context("a line of /proc/PID/status")?;
        Ok(value.trim().trim_end_matches(" kB").parse()?)
    }

    /// Seconds of CPU so far, to the hundredth that the kernel keeps (fields 14 and 15 of proc_pid_stat(5)).
    pub(super) fn cpu_s(&self) -> Result<f64> {
        /// USER_HZ, which is 100 on every architecture that we run on.
        const TICKS: f64 = 100.0;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.0.id()))?;
        let (_, rest) = stat.rsplit_once(") ").context("a name in /proc/PID/stat")?;
        let ticks: u64 =
            rest.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or(0)).sum();
        Ok(ticks as f64 / TICKS)
    }
}

/// The binary that lies beside this one.
fn keelson() -> Result<Command> {
    let own = std::env::current_exe().context("finding keelson beside this program")?;
    let program = own.with_file_name("keelson");
    ensure!(program.exists(), "{} is not there; build it as `cargo xtask bench api` does", program.display());
    Ok(Command::new(program))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

async fn config(kubeconfig: &Path) -> Result<Config> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).context("reading a kubeconfig")?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

async fn client(kubeconfig: &Path) -> Result<Client> {
    Ok(Client::try_from(config(kubeconfig).await?)?)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The server waits for it.
fn start_etcd(folder: &Path) -> Result<(Process, String)> {
    let client = format!("http://127.0.0.1:{}", free_port()?);
    let peer = format!("http://127.0.0.1:{}", free_port()?);
    let child = Command::new("etcd")
        .args(["--name", "one", "--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("one={peer}"), "--data-dir"])
        .arg(folder.join("etcd"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting etcd (Debian: etcd-server)")?;
    Ok((Process(child), client))
}

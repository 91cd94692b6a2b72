//! An image registry of one test: Debian's docker-registry on the cluster's wire, over plain HTTP, filled by its HTTP API
//! (<https://github.com/opencontainers/distribution-spec/blob/v1.0.1/spec.md>). It goes when its value goes.

use crate::{PATIENCE, cluster::RUN, eventually, oci::Image};
use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::json;
use std::{
    fs::{self, File},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// The machine's own address on the wire of a cluster of several nodes.
const ADDRESS: &str = "172.30.0.1";

/// The only user of a registry with password.
pub const USER: &str = "reader";
/// Its password.
pub const PASSWORD: &str = "correct horse";
/// The same as bcrypt, the one form that the registry reads.
const HTPASSWD: &str = "reader:$2b$04$a0OYkmrPxU7oWAJETOb6tOk.8ztbmey0g/.5HlslajBf7CXgJMC5e\n";

/// A registry that runs.
pub struct Registry {
    /// `host:port`, as images and pull secrets name it.
    pub address: String,
    private: bool,
    process: Child,
    /// Which the nodes' containerd reads.
    hosts: PathBuf,
    _folder: TempDir,
}

impl Registry {
    /// One from which everybody may pull.
    pub fn open() -> Result<Registry> {
        Registry::start(false)
    }

    /// One that answers [`USER`] alone.
    pub fn with_password() -> Result<Registry> {
        Registry::start(true)
    }

    fn start(private: bool) -> Result<Registry> {
        // Free now; should another process be quicker, the registry ends and its log says so.
        let address = TcpListener::bind((ADDRESS, 0)).and_then(|socket| socket.local_addr());
        let address = address.with_context(|| format!("{ADDRESS} is not this machine's"))?.to_string();
        let folder = tempfile::tempdir()?;
        let mut config = json!({
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": folder.path().join("data")}},
            "http": {"addr": address},
        });
        if private {
            let users = folder.path().join("htpasswd");
            fs::write(&users, HTPASSWD)?;
            config["auth"] = json!({"htpasswd": {"realm": "test", "path": users}});
        }
        // JSON is YAML.
        fs::write(folder.path().join("config.yml"), config.to_string())?;
        let log = folder.path().join("log");
        let out = File::create(&log)?;
        // Also when the test is killed, the registry does not outlive it.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(folder.path().join("config.yml"));
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let process =
            command.spawn().context("starting docker-registry; `cargo xtask doctor` installs it")?;
        let hosts = Path::new(RUN).join("certs.d").join(&address);
        let registry = Registry { address, private, process, hosts, _folder: folder };
        fs::create_dir_all(&registry.hosts)?;
        // The only place to ask: without a server, what it has not is asked of the same address over HTTPS.
        let url = format!("http://{}", registry.address);
        let plain = format!(
            "server = \"{url}\"
[host.\"{url}\"]
  capabilities = [\"pull\", \"resolve\"]
"
        );
        fs::write(registry.hosts.join("hosts.toml"), plain)?;
        eventually(PATIENCE, "the registry listens", || {
            TcpStream::connect(&registry.address).with_context(|| {
                format!("its log: {}", fs::read_to_string(&log).unwrap_or_else(|e| e.to_string()))
            })
        })?;
        Ok(registry)
    }

    /// An image of this registry, by its path with tag or digest.
    pub fn image(&self, path: &str) -> String {
        format!("{}/{path}", self.address)
    }

    /// Puts an image that no node has under `repository:tag`; answers the digest.
    pub fn push(&self, repository: &str, tag: &str) -> Result<String> {
        let image = Image::pause()?;
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        tokio
            .block_on(self.upload(&image, repository, tag))
            .with_context(|| format!("pushing {repository}:{tag}"))?;
        Ok(image.digest())
    }

    async fn upload(&self, image: &Image, repository: &str, tag: &str) -> Result<()> {
        for (digest, content) in &image.blobs {
            let begin = format!("http://{}/v2/{repository}/blobs/uploads/", self.address);
            let place = self.send(Method::POST, &begin, "", Bytes::new()).await?;
            let place = place.context("an upload without a place")?;
            let separator = if place.contains('?') { '&' } else { '?' };
            let end = format!("{place}{separator}digest={digest}");
            self.send(Method::PUT, &end, "application/octet-stream", content.clone()).await?;
        }
        let manifest = format!("http://{}/v2/{repository}/manifests/{tag}", self.address);
        self.send(Method::PUT, &manifest, &image.media_type, image.manifest.clone()).await?;
        Ok(())
    }

    /// One request, which has to succeed; answers where its Location points.
    async fn send(&self, method: Method, uri: &str, media_type: &str, body: Bytes) -> Result<Option<String>> {
        let mut request = Request::builder().method(method).uri(uri).header(header::CONTENT_TYPE, media_type);
        if self.private {
            let credentials = STANDARD.encode(format!("{USER}:{PASSWORD}"));
            request = request.header(header::AUTHORIZATION, format!("Basic {credentials}"));
        }
        let client = Client::builder(TokioExecutor::new()).build_http();
        let answer = client.request(request.body(Full::new(body))?).await?;
        let (head, body) = answer.into_parts();
        let text = body.collect().await?.to_bytes();
        ensure!(head.status.is_success(), "{uri}: {}: {}", head.status, String::from_utf8_lossy(&text));
        let place = head.headers.get(header::LOCATION).map(|place| place.to_str()).transpose()?;
        Ok(place.map(str::to_string))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait().map(drop));
        if let Err(error) = ended.and_then(|()| fs::remove_dir_all(&self.hosts)) {
            eprintln!("something of the registry at {} stays: {error}", self.address);
        }
    }
}

//! A webhook that a kubeconfig file names: where it is, whom to trust, and what to show of ourselves. So are the webhooks of
//! authentication and authorization configured.
//! <https://kubernetes.io/docs/reference/access-authn-authz/webhook/#configuration-file-format>

use crate::{
    CallError, Host, Identity, Limits, Peer, Resolve, Scheme, TlsError, Transport, Trust,
    client::{read, request},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Uri, header};
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Why a kubeconfig names no webhook.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not the shape of a kubeconfig, or a field that is not supported.
    #[error("it is no kubeconfig that can be used: {0}")]
    Shape(String),
    /// What it names is not in it.
    #[error("it has no {what} {name:?}")]
    Missing {
        /// cluster, user or context
        what: &'static str,
        /// By which name.
        name: String,
    },
    /// Not an https URL.
    #[error("server {0:?} is not an https URL")]
    Server(String),
    /// Not base64.
    #[error("{0} is not base64")]
    Base64(&'static str),
    /// The client certificate.
    #[error("the client certificate cannot be used")]
    Identity(#[source] TlsError),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    current_context: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: User,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: ContextOf,
}

#[derive(Deserialize)]
struct ContextOf {
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
}

/// Ways of naming oneself that are not here (exec, auth-provider, impersonation) are refused as unknown fields.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    username: Option<String>,
    password: Option<String>,
}

/// A webhook, with connections of its own.
pub struct Remote {
    transport: Transport,
    peer: Peer,
    url: String,
    authorization: Option<HeaderValue>,
    /// Read for each call: its keeper replaces it.
    token_file: Option<PathBuf>,
}

/// The kubeconfig, and the certificates and keys that its current context names: what [`Remote::load`] reads once. The kubeconfig alone
/// where it cannot be used.
pub fn kubeconfig_files(path: &Path) -> Vec<PathBuf> {
    let mut files = vec![path.to_owned()];
    let parsed = text(path).ok().and_then(|text| serde_saphyr::from_str::<File>(&text).ok());
    if let Some((cluster, user)) = parsed.and_then(|file| chosen(file).ok()) {
        let folder = path.parent().unwrap_or(Path::new("."));
        let named = [cluster.certificate_authority, user.client_certificate, user.client_key];
        files.extend(named.into_iter().flatten().map(|file| folder.join(file)));
    }
    files
}

impl Remote {
    /// Reads a kubeconfig. Paths in it are relative to its folder.
    pub fn load(path: &Path, resolve: Arc<dyn Resolve>) -> Result<Self, KubeconfigError> {
        let text = text(path)?;
        let file: File =
            serde_saphyr::from_str(&text).map_err(|error| KubeconfigError::Shape(error.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let (cluster, user) = chosen(file)?;
        let uri: Uri = cluster.server.parse().map_err(|_| KubeconfigError::Server(cluster.server.clone()))?;
        let name = uri.host().filter(|_| uri.scheme_str() == Some("https"));
        let name = name.ok_or_else(|| KubeconfigError::Server(cluster.server.clone()))?.to_owned();
        let host = Host::Name { name, port: uri.port_u16().unwrap_or(443) };
        let identity = user.identity(folder)?;
        let peer =
            Peer { scheme: Scheme::Https(cluster.trust(folder)?), host, identified: identity.is_some() };
        Ok(Self {
            transport: Transport::new(resolve, identity),
            peer,
            url: cluster.server,
            authorization: user.authorization()?,
            token_file: user.token_file.map(|file| folder.join(file)),
        })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Posts `review` and answers with the body of a 2xx.
    pub async fn post(&self, review: Bytes, limits: Limits) -> Result<Bytes, CallError> {
        let exchange = async {
            let mut request = request(&self.url, "kube-apiserver", review)?;
            if let Some(value) = self.authorization() {
                request.headers_mut().insert(header::AUTHORIZATION, value);
            }
            let answer = self.transport.send(&self.peer, request).await;
            let answer = answer.map_err(|source| CallError::Transport { url: self.url.clone(), source })?;
            read(&self.url, answer, limits.answer_bytes_max).await
        };
        match tokio::time::timeout(limits.timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::Timeout { url: self.url.clone() }),
        }
    }

    fn authorization(&self) -> Option<HeaderValue> {
        let Some(file) = &self.token_file else { return self.authorization.clone() };
        match std::fs::read_to_string(file) {
            Ok(token) => bearer(token.trim()),
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "no token to show a webhook");
                self.authorization.clone()
            }
        }
    }
}

fn chosen(mut file: File) -> Result<(Cluster, User), KubeconfigError> {
    let missing = |what, name: &str| KubeconfigError::Missing { what, name: name.to_owned() };
    let wanted = std::mem::take(&mut file.current_context);
    let context = file.contexts.into_iter().find(|one| one.name == wanted);
    let context = context.ok_or_else(|| missing("context", &wanted))?.context;
    let cluster = file.clusters.into_iter().find(|one| one.name == context.cluster);
    let cluster = cluster.ok_or_else(|| missing("cluster", &context.cluster))?.cluster;
    let user = file.users.into_iter().find(|one| one.name == context.user);
    match user {
        Some(user) => Ok((cluster, user.user)),
        None if context.user.is_empty() => Ok((cluster, User::default())),
        None => Err(missing("user", &context.user)),
    }
}

fn text(path: &Path) -> Result<String, KubeconfigError> {
    std::fs::read_to_string(path).map_err(|source| KubeconfigError::File { path: path.to_owned(), source })
}

/// Data counts before a file.
fn given(
    data: Option<&String>,
    file: Option<&PathBuf>,
    folder: &Path,
    what: &'static str,
) -> Result<Option<String>, KubeconfigError> {
    match (data, file) {
        (Some(data), _) => {
            let bytes = STANDARD.decode(data.trim()).map_err(|_| KubeconfigError::Base64(what))?;
            String::from_utf8(bytes).map(Some).map_err(|_| KubeconfigError::Base64(what))
        }
        (None, Some(file)) => text(&folder.join(file)).map(Some),
        (None, None) => Ok(None),
    }
}

impl Cluster {
    fn trust(&self, folder: &Path) -> Result<Trust, KubeconfigError> {
        let (data, file) = (self.certificate_authority_data.as_ref(), self.certificate_authority.as_ref());
        let bundle = given(data, file, folder, "certificate-authority-data")?;
        Ok(match bundle {
            Some(pem) => Trust::Bundle(Bytes::from(pem)),
            None if self.insecure_skip_tls_verify => Trust::Anybody,
            None => Trust::System,
        })
    }
}

impl User {
    fn identity(&self, folder: &Path) -> Result<Option<Identity>, KubeconfigError> {
        let (data, file) = (self.client_certificate_data.as_ref(), self.client_certificate.as_ref());
        let cert = given(data, file, folder, "client-certificate-data")?;
        let (data, file) = (self.client_key_data.as_ref(), self.client_key.as_ref());
        match (cert, given(data, file, folder, "client-key-data")?) {
            (Some(cert), Some(key)) => {
                Identity::from_pem(&cert, &key).map(Some).map_err(KubeconfigError::Identity)
            }
            (None, None) => Ok(None),
            _ => Err(KubeconfigError::Shape(
                "a client certificate needs its key, and a key its certificate".into(),
            )),
        }
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, KubeconfigError> {
        let made = match (&self.token, &self.username) {
            (Some(token), _) => bearer(token),
            (None, Some(name)) => {
                let password = self.password.as_deref().unwrap_or_default();
                sensitive(&format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))))
            }
            (None, None) => return Ok(None),
        };
        made.map(Some).ok_or_else(|| KubeconfigError::Shape("its token is no text of a header".into()))
    }
}

fn bearer(token: &str) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {token}"))
}

/// Not to be shown by whatever prints headers.
fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_current_context_are_named() {
        let folder = std::env::temp_dir().join(format!("keelson-kubeconfig-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("w.conf");
        let at = |name: &str| folder.join(name);
        let users = "users: [{name: u, user: {client-certificate: /abs/u.crt, client-key: u.key}}, {name: v, user: {token: t}}], \
            clusters: [{name: w, cluster: {server: 'https://w', certificate-authority: ca.crt}}]";
        let of = |user: &str| {
            let contexts = format!("contexts: [{{name: c, context: {{cluster: w, user: {user}}}}}]");
            std::fs::write(&file, format!("{{current-context: c, {users}, {contexts}}}"))
                .expect("it is ours");
            kubeconfig_files(&file)
        };
        assert_eq!(of("u"), [file.clone(), at("ca.crt"), "/abs/u.crt".into(), at("u.key")]);
        assert_eq!(of("v"), [file.clone(), at("ca.crt")]);
        assert_eq!(of("nobody").len(), 1, "it cannot be used");
        std::fs::remove_dir_all(&folder).expect("it is ours");
    }
}

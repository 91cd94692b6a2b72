//! `clientConfig` of webhook configurations and of CRD conversion: a URL or a Service, and whom to trust.

use crate::{Host, Peer, Scheme, Trust};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::Uri;
use serde_json::Value;

/// The port of a Service reference that names none.
const SERVICE_PORT: u16 = 443;

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A URL, always https.
    Url(Uri),
    /// A Service of this cluster.
    Service(ServiceReference),
}

/// `admissionregistration.k8s.io` and `apiextensions.k8s.io` ServiceReference.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceReference {
    /// Namespace of the Service.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The path of the request, "" is the root.
    pub path: String,
    /// The Service's port, 443 unless given.
    pub port: u16,
}

/// A `clientConfig`, read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientConfig {
    /// Where.
    pub target: Target,
    /// Whose certificates are believed.
    pub trust: Trust,
}

/// Why a `clientConfig` names no webhook. Validation refuses such objects; this is for the ones that came before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Neither or both of them.
    #[error("exactly one of url or service is required")]
    Target,
    /// Not a URL with the scheme https and a host.
    #[error("url {url:?} is not usable: {why}")]
    Url {
        /// The text.
        url: String,
        /// Why not.
        why: String,
    },
    /// A Service without name or namespace, or with an impossible port.
    #[error("service.{0} is not usable")]
    Service(&'static str),
    /// Not base64.
    #[error("caBundle is not base64: {0}")]
    Bundle(String),
}

impl ClientConfig {
    /// Reads `{url | service: {namespace, name, path, port}, caBundle}`.
    pub fn parse(config: &Value) -> Result<Self, ConfigError> {
        let target = match (config["url"].as_str(), &config["service"]) {
            (Some(url), Value::Null) => Target::Url(url_of(url)?),
            (None, service @ Value::Object(_)) => Target::Service(ServiceReference::parse(service)?),
            _ => return Err(ConfigError::Target),
        };
        Ok(Self { target, trust: bundle(&config["caBundle"])? })
    }

    /// The URL that is asked, without query.
    pub fn url(&self) -> String {
        match &self.target {
            Target::Url(url) => url.to_string(),
            Target::Service(service) => {
                let slash = if service.path.starts_with('/') { "" } else { "/" };
                format!("https://{}:{}{slash}{}", service.host(), service.port, service.path)
            }
        }
    }

    pub(crate) fn peer(&self) -> Peer {
        let host = match &self.target {
            Target::Url(url) => {
                let name = url.host().unwrap_or_default().to_owned();
                Host::Name { name, port: url.port_u16().unwrap_or(SERVICE_PORT) }
            }
            Target::Service(service) => service.as_host(),
        };
        Peer { scheme: Scheme::Https(self.trust.clone()), host, identified: false }
    }
}

impl ServiceReference {
    /// Reads `{namespace, name, path, port}`.
    pub fn parse(service: &Value) -> Result<Self, ConfigError> {
        let text = |key: &'static str| match service[key].as_str() {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(ConfigError::Service(key)),
        };
        let port = match &service["port"] {
            Value::Null => SERVICE_PORT,
            port => port
                .as_u64()
                .and_then(|port| u16::try_from(port).ok())
                .filter(|port| *port > 0)
                .ok_or(ConfigError::Service("port"))?,
        };
        Ok(Self {
            namespace: text("namespace")?,
            name: text("name")?,
            path: service["path"].as_str().unwrap_or_default().to_owned(),
            port,
        })
    }

    /// The name that its certificate must have: `<name>.<namespace>.svc`.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }

    /// The Service as the other end of a connection.
    pub fn as_host(&self) -> Host {
        Host::Service { namespace: self.namespace.clone(), name: self.name.clone(), port: self.port }
    }
}

fn url_of(text: &str) -> Result<Uri, ConfigError> {
    let refused = |why: &str| ConfigError::Url { url: text.to_owned(), why: why.to_owned() };
    let url: Uri = text.parse().map_err(|error: http::uri::InvalidUri| refused(&error.to_string()))?;
    if url.scheme() != Some(&http::uri::Scheme::HTTPS) {
        return Err(refused("its scheme must be https"));
    }
    if url.host().unwrap_or_default().is_empty() {
        return Err(refused("it has no host"));
    }
    Ok(url)
}

fn bundle(value: &Value) -> Result<Trust, ConfigError> {
    let Some(text) = value.as_str().filter(|text| !text.is_empty()) else { return Ok(Trust::System) };
    let pem = STANDARD.decode(text).map_err(|error| ConfigError::Bundle(error.to_string()))?;
    Ok(Trust::Bundle(Bytes::from(pem)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_client_config_is_a_url_or_a_service() {
        let rows = [
            (json!({"url": "https://a.example:8443/x"}), Ok("https://a.example:8443/x")),
            (json!({"service": {"namespace": "n", "name": "s"}}), Ok("https://s.n.svc:443/")),
            (
                json!({"service": {"namespace": "n", "name": "s", "path": "/v/1", "port": 8443}}),
                Ok("https://s.n.svc:8443/v/1"),
            ),
            (json!({}), Err(ConfigError::Target)),
            (
                json!({"url": "https://a", "service": {"namespace": "n", "name": "s"}}),
                Err(ConfigError::Target),
            ),
            (json!({"service": {"namespace": "n"}}), Err(ConfigError::Service("name"))),
            (
                json!({"service": {"namespace": "n", "name": "s", "port": 70000}}),
                Err(ConfigError::Service("port")),
            ),
        ];
        for (config, wanted) in rows {
            let got = ClientConfig::parse(&config).map(|config| config.url());
            assert_eq!(got, wanted.map(str::to_owned), "{config}");
        }
        for url in ["http://a", "a", "https://"] {
            let refused = ClientConfig::parse(&json!({"url": url}));
            assert!(matches!(refused, Err(ConfigError::Url { .. })), "{url}: {refused:?}");
        }
        let refused = ClientConfig::parse(&json!({"url": "https://a", "caBundle": "!"}));
        assert!(matches!(refused, Err(ConfigError::Bundle(_))));
    }
}

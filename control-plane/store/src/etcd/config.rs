//! How etcd is reached, and how long it may take.

use crate::contract::StoreError;
use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use std::time::Duration;

/// Between attempts to reach an etcd that was never or is no longer there.
pub(super) const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);
/// What that delay grows to.
pub(super) const RETRY_DELAY_MAX: Duration = Duration::from_secs(2);

/// A dead connection is noticed within the two together, so that a watch moves to another member.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How members over `https://` are trusted, and who we are to them.
#[derive(Clone, Default)]
pub struct EtcdTls {
    /// PEM certificates of the authorities that members' certificates come from. Without any, none is trusted.
    pub ca_pem: String,
    /// PEM of our certificate and of its key, where members ask for one.
    pub identity: Option<(String, String)>,
}

impl std::fmt::Debug for EtcdTls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("EtcdTls").field("identity", &self.identity.is_some()).finish_non_exhaustive()
    }
}

/// How to use an etcd cluster.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// `http://HOST:PORT` or `https://HOST:PORT` of each member.
    pub endpoints: Vec<String>,
    /// For members over `https://`.
    pub tls: Option<EtcdTls>,
    /// The keys of this store. Every key of a transaction must begin with it.
    pub prefix: String,
    /// For one call. etcd itself gives up after seven seconds.
    pub request_timeout: Duration,
    /// How long [`super::Etcd::connect`] waits for a cluster that does not answer yet.
    pub connect_patience: Duration,
    /// Forget the past of the whole cluster that is older than this; `None` where somebody else compacts it. Several
    /// that do it do no harm.
    pub compact_after: Option<Duration>,
}

impl EtcdConfig {
    /// The usual settings: upstream's `/registry/` and compaction interval of five minutes.
    pub fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            tls: None,
            prefix: "/registry/".to_owned(),
            request_timeout: Duration::from_secs(8),
            connect_patience: Duration::from_secs(30),
            compact_after: Some(Duration::from_secs(300)),
        }
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        let invalid = |problem: String| Err(StoreError::Invalid(problem));
        if self.endpoints.is_empty() {
            return invalid(
                "no etcd endpoint is given: name at least one, like http://127.0.0.1:2379".to_owned(),
            );
        }
        for endpoint in &self.endpoints {
            let is_tls = endpoint.starts_with("https://");
            if is_tls && self.tls.is_none() {
                return invalid(format!("{endpoint} needs the authority of its certificate: --etcd-cafile"));
            }
            if !is_tls && self.tls.is_some() {
                return invalid(format!("certificates for etcd are given, but {endpoint} is not https://"));
            }
            if !is_tls && !endpoint.starts_with("http://") {
                return invalid(format!(
                    "an etcd endpoint reads http://HOST:PORT or https://HOST:PORT, not {endpoint:?}"
                ));
            }
        }
        if self.prefix.is_empty() {
            return invalid(
                "the prefix of the keys in etcd is empty: the usual one is /registry/".to_owned(),
            );
        }
        Ok(())
    }

    /// A member without a leader refuses instead of answering from the past or holding a watch that never moves.
    pub(super) fn options(&self) -> ConnectOptions {
        let options = match &self.tls {
            Some(tls) => {
                let trust = TlsOptions::new().ca_certificate(Certificate::from_pem(&tls.ca_pem));
                ConnectOptions::new().with_tls(match &tls.identity {
                    Some((certificate, key)) => trust.identity(Identity::from_pem(certificate, key)),
                    None => trust,
                })
            }
            None => ConnectOptions::new(),
        };
        options
            .with_connect_timeout(self.request_timeout)
            .with_keep_alive(KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT)
            .with_require_leader(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_with_what_would() {
        let table: [(&[&str], &str); 4] = [
            (&[], "name at least one"),
            (&["https://a:2379"], "needs the authority of its certificate: --etcd-cafile"),
            (&["http://a:2379", "b:2379"], "or https://HOST:PORT, not \"b:2379\""),
            (&["http://a:2379"], ""),
        ];
        for (endpoints, expected) in table {
            let checked = EtcdConfig::new(endpoints.iter().map(|e| (*e).to_owned()).collect()).check();
            match checked {
                Ok(()) => assert_eq!(expected, ""),
                Err(error) => {
                    assert!(!expected.is_empty() && error.to_string().contains(expected), "{error}")
                }
            }
        }
    }
}

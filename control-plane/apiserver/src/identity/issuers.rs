//! The issuers of an AuthenticationConfiguration, with the keys that each publishes now.
//!
//! ```text
//!   token ─▶ whose is it? ─▶ its keys ─┬─ known, and young ──────────────▶ judged by `keelson_auth::authn::jwt`
//!                                      ├─ known, but old ─▶ judged; fetched anew beside it
//!                                      └─ none, or not the token's ─▶ fetched, at most once in FETCH_PAUSE; then judged
//! ```
//! Whoever sends tokens of keys that do not exist makes an issuer no more work than one fetch in that time. An issuer that
//! is down costs a request [`FETCH_TIMEOUT`] at most, and others of the time nothing: what it published before stays good.

use super::bearer::Proven;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use keelson_auth::authn::jwt::{JwtIssuer, KeySet, Parts};
use keelson_webhook::{Host, Peer, Scheme, Transport, Trust};
use serde::Deserialize;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use time::OffsetDateTime;
use tokio::sync::Mutex;

/// For discovery document and keys together.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two fetches, however many tokens ask for one.
const FETCH_PAUSE: Duration = Duration::from_secs(1);
/// Keys older than this are fetched anew, so that one that was withdrawn is not believed for ever.
const REFRESH_AFTER: Duration = Duration::from_secs(300);
/// Of a discovery document, of a key set.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// All configured issuers.
pub(super) struct Issuers(Vec<Arc<Issuer>>);

struct Issuer {
    rules: JwtIssuer,
    trust: Trust,
    calls: Arc<Transport>,
    keys: ArcSwapOption<Fetched>,
    /// Held by whoever fetches; when that was last.
    fetching: Mutex<Option<Instant>>,
}

struct Fetched {
    keys: KeySet,
    at: Instant,
}

/// What is read of a discovery document.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Issuers {
    /// Begins to fetch the keys of all.
    pub(super) fn start(rules: Vec<JwtIssuer>, calls: &Arc<Transport>) -> Self {
        let issuers = rules.into_iter().map(|rules| {
            let trust = match &*rules.certificate_authority {
                "" => Trust::System,
                pem => Trust::Bundle(Bytes::copy_from_slice(pem.as_bytes())),
            };
            let keys = ArcSwapOption::empty();
            let issuer =
                Arc::new(Issuer { rules, trust, calls: calls.clone(), keys, fetching: Mutex::new(None) });
            let first = issuer.clone();
            tokio::spawn(async move {
                if let Err(why) = first.fetch().await {
                    tracing::warn!(
                        issuer = first.rules.url,
                        why,
                        "the keys of an issuer could not be fetched yet"
                    );
                }
            });
            issuer
        });
        Self(issuers.collect())
    }

    /// None where the token is of none of them.
    pub(super) async fn prove(
        &self,
        token: &str,
        audiences: &[String],
        now: OffsetDateTime,
    ) -> Option<Result<Proven, String>> {
        if self.0.is_empty() {
            return None;
        }
        let parts = Parts::of(token).ok()?;
        let issuer = self.0.iter().find(|issuer| issuer.rules.url == parts.issuer())?;
        Some(
            issuer
                .prove(&parts, now)
                .await
                .map(|user| Proven { user: Arc::new(user), audiences: audiences.to_vec() }),
        )
    }
}

impl Issuer {
    async fn prove(
        self: &Arc<Self>,
        parts: &Parts<'_>,
        now: OffsetDateTime,
    ) -> Result<keelson_auth::UserInfo, String> {
        let known = self.keys.load_full();
        let fetched = match known.filter(|known| known.keys.has(parts.key_id.as_deref())) {
            Some(known) => {
                if known.at.elapsed() > REFRESH_AFTER {
                    self.refresh();
                }
                known
            }
            None => self.fetch().await?,
        };
        self.rules.user(parts, &fetched.keys, now).map_err(|error| error.to_string())
    }

    fn refresh(self: &Arc<Self>) {
        let issuer = self.clone();
        tokio::spawn(async move {
            if let Err(why) = issuer.fetch().await {
                tracing::warn!(
                    issuer = issuer.rules.url,
                    why,
                    "the keys of an issuer could not be fetched anew; the old ones count"
                );
            }
        });
    }

    /// The keys as they are published now, or were within [`FETCH_PAUSE`].
    async fn fetch(&self) -> Result<Arc<Fetched>, String> {
        let not_yet = |why: &str| {
            format!("oidc: authenticator for issuer {:?} is not initialized: {why}", self.rules.url)
        };
        let asked = Instant::now();
        let work = async {
            let mut last = self.fetching.lock().await;
            // Whoever waited for another's fetch has what he wanted.
            if let Some(at) = *last
                && (at > asked || at.elapsed() < FETCH_PAUSE)
            {
                return self.keys.load_full().ok_or_else(|| not_yet("its keys could not be fetched"));
            }
            let made = self.download().await;
            *last = Some(Instant::now());
            let fetched = Arc::new(Fetched { keys: made.map_err(|why| not_yet(&why))?, at: Instant::now() });
            tracing::debug!(
                issuer = self.rules.url,
                keys = fetched.keys.len(),
                "the keys of an issuer were fetched"
            );
            self.keys.store(Some(fetched.clone()));
            Ok(fetched)
        };
        match tokio::time::timeout(FETCH_TIMEOUT, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(not_yet("it does not answer in time")),
        }
    }

    async fn download(&self) -> Result<KeySet, String> {
        let url = match &self.rules.discovery_url {
            Some(url) => url.clone(),
            None => format!("{}/.well-known/openid-configuration", self.rules.url.trim_end_matches('/')),
        };
        let document = self.get(&url).await?;
        let found: Discovery = serde_json::from_slice(&document)
            .map_err(|error| format!("{url} is no discovery document: {error}"))?;
        if found.issuer != self.rules.url {
            let (wanted, got) = (&self.rules.url, &found.issuer);
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {wanted:?} got {got:?}"
            ));
        }
        let keys = self.get(&found.jwks_uri).await?;
        let keys =
            KeySet::parse(&keys).map_err(|error| format!("{} is no key set: {error}", found.jwks_uri))?;
        if keys.is_empty() {
            return Err(format!("{} has no key that can be used", found.jwks_uri));
        }
        Ok(keys)
    }

    /// GET over TLS, from wherever the issuer says that it is.
    async fn get(&self, url: &str) -> Result<Bytes, String> {
        const AGENT: HeaderValue = HeaderValue::from_static("kube-apiserver");
        let uri: Uri = url.parse().map_err(|error| format!("{url:?} is no URL: {error}"))?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https"));
        let name = host.ok_or_else(|| format!("{url:?} is no https URL"))?.to_owned();
        let host = Host::Name { name, port: uri.port_u16().unwrap_or(443) };
        let peer = Peer { scheme: Scheme::Https(self.trust.clone()), host, identified: false };
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = Request::get(&uri).header(header::USER_AGENT, AGENT).body(body);
        let request = request.map_err(|error| format!("{url:?}: {error}"))?;
        let answer =
            self.calls.send(&peer, request).await.map_err(|error| format!("Get {url:?}: {error}"))?;
        if answer.status() != http::StatusCode::OK {
            return Err(format!("Get {url:?}: {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), DOCUMENT_BYTES_MAX).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| format!("Get {url:?}: {error}"))
    }
}

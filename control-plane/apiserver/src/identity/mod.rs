//! Who is asking: client certificate, bearer token, in-process component, or nobody; and on whose behalf.

mod bearer;
mod impersonate;
mod issuers;
mod lookup;
mod settings;
mod token_cache;
mod webhook;

use crate::{
    aggregation,
    audit::Line,
    pipeline::text,
    request::{info::RequestInfo, query::Query},
    server::{ApiServer, SetupError},
    wire::peer::Peer,
};
use arc_swap::{ArcSwap, ArcSwapOption};
use bearer::Disbelieved;
use bytes::Bytes;
use http::{HeaderMap, header};
use keelson_auth::{
    UserInfo,
    authn::token::{self, Issuer, Verifier},
};
use keelson_registry::status::Status;
use keelson_webhook::Transport;
use settings::Settings;
use std::sync::Arc;
use time::OffsetDateTime;
use webhook::TokenReviews;

pub(crate) use impersonate::Impersonated;
pub(crate) use token_cache::TokenCache;
pub use webhook::TokenWebhook;
pub(crate) use webhook::reviewed_user;

/// Common names of front proxies that are believed (kubeadm's `--requestheader-allowed-names`).
pub const FRONT_PROXIES: [&str; 1] = ["front-proxy-client"];

/// Where a request came from. In-process callers exist only through [`crate::in_process_client`].
#[derive(Clone)]
pub(crate) enum Caller {
    /// Over a socket.
    Peer(Arc<Peer>),
    /// A component of this process, with its identity.
    InProcess(Arc<UserInfo>),
}

/// The keys and documents of ServiceAccount tokens.
pub(crate) struct Identity {
    pub(crate) verifier: Verifier,
    pub(crate) issuer: Issuer,
    /// Whom a token must be for to be believed here.
    pub(crate) api_audiences: Vec<String>,
    settings: ArcSwap<Settings>,
    webhook: ArcSwapOption<TokenReviews>,
    cache: TokenCache,
    impersonators: impersonate::LastModes,
    jwks: Bytes,
    openid_configuration: Bytes,
}

impl Identity {
    /// `issuer` is the issuer's URL, the only audience where there is no other; `server_url` where clients reach this server; keys are PEM. `calls`: by which other
    /// issuers are asked. `webhook` is asked about tokens that are nobody else's.
    pub(crate) fn new(
        (issuer, api_audiences): (&str, &[String]),
        server_url: &str,
        key_pem: &str,
        public_pem: &str,
        calls: &Arc<Transport>,
        webhook: Option<TokenWebhook>,
    ) -> Result<Self, SetupError> {
        Ok(Self {
            verifier: Verifier::new(issuer, public_pem)?,
            issuer: Issuer::new(issuer, key_pem, public_pem)?,
            api_audiences: match api_audiences {
                [] => vec![issuer.to_owned()],
                given => given.to_vec(),
            },
            webhook: ArcSwapOption::from_pointee(webhook.map(TokenReviews::new)),
            settings: ArcSwap::from_pointee(Settings::none(calls)),
            cache: TokenCache::default(),
            impersonators: impersonate::LastModes::default(),
            jwks: Bytes::from(token::jwks(public_pem)?.to_string()),
            openid_configuration: Bytes::from(token::openid_configuration(issuer, server_url).to_string()),
        })
    }

    /// `/openid/v1/jwks`.
    pub(crate) fn jwks(&self) -> Bytes {
        self.jwks.clone()
    }

    /// `/.well-known/openid-configuration`.
    pub(crate) fn openid_configuration(&self) -> Bytes {
        self.openid_configuration.clone()
    }
}

impl ApiServer {
    /// Asks another webhook about tokens from the next request on; what the one before said is forgotten.
    pub fn set_token_webhook(&self, webhook: TokenWebhook) {
        let identity = &self.inner.identity;
        identity.webhook.store(Some(Arc::new(TokenReviews::new(webhook))));
        identity.cache.clear();
    }

    /// Who asks.
    pub(crate) async fn identify(
        &self,
        caller: &Caller,
        info: &RequestInfo,
        headers: &HeaderMap,
    ) -> Result<Arc<UserInfo>, Status> {
        match caller {
            Caller::InProcess(user) => Ok(user.clone()),
            Caller::Peer(peer) => self.authenticate(peer, info, headers).await,
        }
    }

    /// Whom the request of `user` acts as, where that is another.
    pub(crate) async fn impersonated(
        &self,
        caller: &Caller,
        user: &UserInfo,
        line: &Line<'_>,
        query: &Query,
    ) -> Result<Option<Impersonated>, Status> {
        match caller {
            // Apart on the heap: few requests ask for it, and all would carry its future.
            Caller::Peer(_) if impersonate::is_asked(line.headers) => {
                Box::pin(impersonate::apply(self, user, line.headers, line.info, query)).await
            }
            _ => Ok(None),
        }
    }

    async fn authenticate(
        &self,
        peer: &Peer,
        info: &RequestInfo,
        headers: &HeaderMap,
    ) -> Result<Arc<UserInfo>, Status> {
        if let Some(proxy) = peer.certificate.front_proxy()
            && FRONT_PROXIES.contains(&proxy)
            && let Some(user) = aggregation::remote_user(headers)
        {
            return Ok(Arc::new(user));
        }
        let mut refused: Option<String> = None;
        match peer.certificate.user() {
            Some(Ok(user)) => return Ok(user.clone()),
            Some(Err(why)) => refused = Some(why),
            None => {}
        }
        if let Some(bearer) = bearer(headers) {
            match self.token_user(bearer).await {
                Ok(user) => return Ok(user),
                Err(error) => refused = Some(error.to_string()),
            }
        }
        if let Some(why) = refused {
            tracing::debug!(address = %peer.address, path = info.path, why, "authentication failed");
            return Err(Status::unauthorized("Unauthorized"));
        }
        match self.inner.identity.settings.load().is_open(&info.path) {
            true => Ok(Arc::new(UserInfo::anonymous())),
            false => Err(Status::unauthorized("Unauthorized")),
        }
    }

    /// Whoever a token proves; successes are remembered for a short time.
    async fn token_user(&self, bearer: &str) -> Result<Arc<UserInfo>, Disbelieved> {
        let identity = &self.inner.identity;
        if let Some(user) = identity.cache.get(bearer) {
            return Ok(user);
        }
        let now = OffsetDateTime::now_utc();
        let user = identity.prove(&self.inner.registry, bearer, &[], now).await?.user;
        identity.cache.put(bearer, user.clone());
        Ok(user)
    }
}

/// The token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text(headers, &header::AUTHORIZATION)?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

//! Who is asking: client certificate, ServiceAccount token, in-process component, or nobody; and on whose behalf.

mod impersonate;
mod lookup;
mod token_cache;

pub(crate) use lookup::RegistryLookup;

use crate::{
    aggregation,
    pipeline::text,
    request::info::RequestInfo,
    server::{ApiServer, SetupError},
    wire::peer::Peer,
};
use bytes::Bytes;
use http::{HeaderMap, header};
use keelson_auth::{
    UserInfo,
    authn::token::{self, Issuer, TokenError, Verifier},
};
use keelson_registry::status::Status;
use std::sync::Arc;
use time::OffsetDateTime;
use token_cache::TokenCache;

/// Paths that are open to requests without credentials, as far as RBAC lets `system:unauthenticated` have them.
const ANONYMOUS_PATHS: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];

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
    cache: TokenCache,
    jwks: Bytes,
    openid_configuration: Bytes,
}

impl Identity {
    /// `issuer` is the issuer's URL, `server_url` where clients reach this server; keys are PEM.
    pub(crate) fn new(
        issuer: &str,
        server_url: &str,
        key_pem: &str,
        public_pem: &str,
    ) -> Result<Self, SetupError> {
        Ok(Self {
            verifier: Verifier::new(issuer, public_pem)?,
            issuer: Issuer::new(issuer, key_pem, public_pem)?,
            cache: TokenCache::default(),
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

    /// The user that the request of `user` acts as.
    pub(crate) fn impersonated(
        &self,
        caller: &Caller,
        user: Arc<UserInfo>,
        headers: &HeaderMap,
    ) -> Result<Arc<UserInfo>, Status> {
        match caller {
            Caller::InProcess(_) => Ok(user),
            Caller::Peer(_) => impersonate::apply(self, user, headers),
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
        let path = info.path.trim_end_matches('/');
        if ANONYMOUS_PATHS
            .iter()
            .any(|open| path == *open || path.strip_prefix(open).is_some_and(|r| r.starts_with('/')))
        {
            return Ok(Arc::new(UserInfo::anonymous()));
        }
        Err(Status::unauthorized("Unauthorized"))
    }

    /// The ServiceAccount that a token proves; successes are remembered for a short time.
    async fn token_user(&self, bearer: &str) -> Result<Arc<UserInfo>, TokenError> {
        let identity = &self.inner.identity;
        if let Some(user) = identity.cache.get(bearer) {
            return Ok(user);
        }
        let now = OffsetDateTime::now_utc();
        let opened = identity.verifier.open(bearer, &[], now)?;
        let lookup = RegistryLookup(&self.inner.registry);
        let user = Arc::new(opened.confirm(now, &lookup).await?);
        identity.cache.put(bearer, user.clone());
        Ok(user)
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text(headers, &header::AUTHORIZATION)?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

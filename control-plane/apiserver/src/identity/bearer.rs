//! Whose bearer token it is: each sort of token is tried in turn, the first that believes it decides.
//!
//! The order is upstream's: ServiceAccount, bootstrap, other issuers, webhook. A sort whose form or issuer the token has not says so without
//! further looking; all their reasons go into the log and into a TokenReview, never to the bearer.

use super::{Identity, lookup::RegistryLookup};
use keelson_auth::{
    UserInfo,
    authn::{
        bootstrap::{self, TokenSecret},
        token::TokenError,
    },
};
use keelson_registry::{
    Registry,
    status::{Reason, Status},
};
use std::{fmt, sync::Arc};
use time::OffsetDateTime;

/// A token that was believed.
#[derive(Clone, Debug)]
pub(crate) struct Proven {
    /// Whose it is.
    pub(crate) user: Arc<UserInfo>,
    /// Those of the audiences asked about that it is for.
    pub(crate) audiences: Vec<String>,
}

/// Why nobody believed a token. Empty where it is of no sort that is known here.
#[derive(Debug, Default)]
pub(crate) struct Disbelieved(Vec<String>);

impl Disbelieved {
    fn note(&mut self, why: impl fmt::Display) {
        self.0.push(why.to_string());
    }
}

impl fmt::Display for Disbelieved {
    /// Upstream's form of several errors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[invalid bearer token")?;
        self.0.iter().try_for_each(|why| write!(f, ", {why}"))?;
        f.write_str("]")
    }
}

impl Identity {
    /// Who bears the token. `audiences`: who asks; empty means this server.
    pub(crate) async fn prove(
        &self,
        registry: &Registry,
        token: &str,
        audiences: &[String],
        now: OffsetDateTime,
    ) -> Result<Proven, Disbelieved> {
        let audiences = if audiences.is_empty() { &self.api_audiences[..] } else { audiences };
        let mut refused = Disbelieved::default();
        match self.service_account(registry, token, audiences, now).await {
            Ok(proven) => return Ok(proven),
            Err(why) => refused.note(why),
        }
        let own = self.own_audiences(audiences);
        if !own.is_empty()
            && let Some(proven) = self.implicit(registry, token, own, now, &mut refused).await
        {
            return Ok(proven);
        }
        if let Some(webhook) = self.webhook.load_full() {
            match webhook.prove(token, audiences, &self.api_audiences).await {
                None => {}
                Some(Ok(proven)) => return Ok(proven),
                Some(Err(why)) => refused.note(why),
            }
        }
        Err(refused)
    }

    /// Tokens that do not say for whom they are, in the words of this cluster: they are for this server.
    async fn implicit(
        &self,
        registry: &Registry,
        token: &str,
        own: Vec<String>,
        now: OffsetDateTime,
        refused: &mut Disbelieved,
    ) -> Option<Proven> {
        match bootstrap_user(registry, token, now).await {
            Ok(None) => {}
            Ok(Some(user)) => return Some(Proven { user: Arc::new(user), audiences: own }),
            Err(why) => refused.note(why),
        }
        match self.settings.load_full().issuers.prove(token, &own, now).await {
            None => {}
            Some(Ok(proven)) => return Some(proven),
            Some(Err(why)) => refused.note(why),
        }
        None
    }

    async fn service_account(
        &self,
        registry: &Registry,
        token: &str,
        audiences: &[String],
        now: OffsetDateTime,
    ) -> Result<Proven, TokenError> {
        let opened = self.verifier.open(token, audiences, now)?;
        let user = Arc::new(opened.confirm(now, &RegistryLookup(registry)).await?);
        Ok(Proven { user, audiences: opened.audiences })
    }

    fn own_audiences(&self, asked: &[String]) -> Vec<String> {
        asked.iter().filter(|audience| self.api_audiences.contains(audience)).cloned().collect()
    }
}

/// None where it is no bootstrap token, or nobody made it.
async fn bootstrap_user(
    registry: &Registry,
    token: &str,
    now: OffsetDateTime,
) -> Result<Option<UserInfo>, String> {
    let Some(token) = bootstrap::Token::parse(token) else { return Ok(None) };
    let secret = match secret(registry, &token.secret_name()).await {
        Err(status) if status.reason == Reason::NotFound => return Ok(None),
        Err(status) => return Err(format!("bootstrap token {}: {}", token.id, status.message)),
        Ok(secret) => secret,
    };
    let user = secret.user(token, now);
    user.map(Some).map_err(|why| format!("bootstrap token {}: {why}", token.id))
}

async fn secret(registry: &Registry, name: &str) -> Result<TokenSecret, Status> {
    let kind = registry.table().by_resource("", "v1", "secrets").cloned();
    let kind = kind.ok_or_else(|| Status::internal("secrets are not served"))?;
    let entry = registry.get(&kind, Some(bootstrap::NAMESPACE), name, None).await?;
    Ok(TokenSecret::read(&entry.to_value()))
}

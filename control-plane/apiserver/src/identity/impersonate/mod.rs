//! `Impersonate-*` headers: acting as somebody else, where that is granted.
//!
//! ```text
//! headers --wanted--> the modes that apply to whom is wanted, the one that served the same asker last time first
//!   constrained: may he do this request while impersonating, and may he impersonate each part of that user?
//!   legacy:      may he `impersonate` each part of that user?
//! the first mode that allows decides who the user is; when none does, the first refusal is the answer
//! ```
//! Source of the rules: "User impersonation" of the authentication page, and KEP-5284 (constrained impersonation, on by default
//! since 1.36). Upstream remembers what was allowed for ten seconds; here each request asks the authorizers, of which
//! webhooks remember for themselves.

mod check;
mod mode;
mod wanted;

use super::ApiServer;
use crate::{
    authorization::{self, Selectors},
    request::{info::RequestInfo, query::Query},
};
use check::Asker;
use http::HeaderMap;
use keelson_auth::{UserInfo, authz::Attributes};
use keelson_registry::status::Status;
use mode::MODES;
use quick_cache::sync::Cache;
use std::{sync::Arc, time::Instant};

/// Askers whose last mode is remembered, as many as upstream's.
const ASKERS_MAX: usize = 10_000;

/// Whom a request acts as.
#[derive(Clone)]
pub(crate) struct Impersonated {
    pub(crate) user: Arc<UserInfo>,
    /// The verb by which that was allowed; None in the legacy mode.
    pub(crate) constraint: Option<&'static str>,
}

/// By which mode each asker was last allowed to impersonate: a place in [`MODES`] by user name.
pub(super) struct LastModes(Cache<String, usize>);

impl Default for LastModes {
    fn default() -> Self {
        Self(Cache::new(ASKERS_MAX))
    }
}

impl LastModes {
    /// All modes, the last one of this asker first.
    fn order(&self, asker: &str) -> impl Iterator<Item = usize> + use<> {
        let first = self.0.get(asker);
        first.into_iter().chain((0..MODES.len()).filter(move |place| Some(*place) != first))
    }

    fn note(&self, asker: &str, place: usize) {
        if self.0.get(asker) != Some(place) {
            self.0.insert(asker.to_owned(), place);
        }
    }
}

/// Whether a request may ask to act as somebody else.
pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(wanted::PREFIX))
}

/// Whom the request acts as; None when the headers ask for nothing.
pub(super) async fn apply(
    server: &ApiServer,
    real: &UserInfo,
    headers: &HeaderMap,
    info: &RequestInfo,
    query: &Query,
) -> Result<Option<Impersonated>, Status> {
    let Some(wanted) = wanted::read(headers)? else { return Ok(None) };
    let metrics = &server.inner.metrics.impersonations;
    let began = Instant::now();
    let selectors = Selectors::of_verb(&info.verb, query);
    let request = authorization::attributes(real, &info.verb, info, &selectors);
    match allowed(server, &wanted, &request).await {
        Ok((place, user)) => {
            let mode = &MODES[place];
            metrics.attempt(Some(mode.name), began.elapsed());
            Ok(Some(Impersonated { user: Arc::new(user), constraint: mode.constraint() }))
        }
        Err(status) => {
            metrics.attempt(None, began.elapsed());
            Err(status)
        }
    }
}

/// The mode that allows it, and who that makes the user.
async fn allowed(
    server: &ApiServer,
    wanted: &UserInfo,
    request: &Attributes<'_>,
) -> Result<(usize, UserInfo), Status> {
    let (last, real) = (&server.inner.identity.impersonators, request.user);
    let mut refusal = None;
    for place in last.order(&real.name) {
        let mode = &MODES[place];
        if !mode.applies(wanted, real) {
            continue;
        }
        match (Asker { server, mode }).user(wanted, request).await {
            Ok(user) => {
                last.note(&real.name, place);
                return Ok((place, user));
            }
            Err(status) => refusal = refusal.or(Some(status)),
        }
    }
    // The legacy mode applies to everybody, so there is a refusal.
    Err(refusal.unwrap_or_else(|| Status::internal("no way of impersonating applies")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_that_served_last_is_tried_first_and_once() {
        let last = LastModes::default();
        assert_eq!(last.order("bob").collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        last.note("bob", 3);
        assert_eq!(last.order("bob").collect::<Vec<_>>(), [3, 0, 1, 2, 4]);
        assert_eq!(last.order("ann").collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }
}

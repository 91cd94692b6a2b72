//! What of authentication can change while the server runs: issuers, and who may come without credentials.

use super::issuers::Issuers;
use crate::server::ApiServer;
use keelson_auth::authn::jwt::{AnonymousPaths, Authenticators};
use std::sync::Arc;

/// Paths that are open to requests without credentials where no configuration says otherwise, as far as RBAC lets
/// `system:unauthenticated` have them, and what is below them. The last is what a machine that joins reads first; no
/// default role grants it.
const ANONYMOUS_PATHS: [&str; 5] =
    ["/healthz", "/livez", "/readyz", "/version", "/api/v1/namespaces/kube-public/configmaps/cluster-info"];

/// One configuration; replaced whole.
pub(super) struct Settings {
    pub(super) issuers: Issuers,
    anonymous: Option<AnonymousPaths>,
}

impl Settings {
    /// Without issuers.
    pub(super) fn none(calls: &Arc<keelson_webhook::Transport>) -> Self {
        Self { issuers: Issuers::start(Vec::new(), calls), anonymous: None }
    }

    /// May a request without credentials have this path, if RBAC lets it?
    pub(super) fn is_open(&self, path: &str) -> bool {
        match &self.anonymous {
            None => ANONYMOUS_PATHS.iter().any(|open| {
                path.strip_prefix(open).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }),
            Some(AnonymousPaths::None) => false,
            Some(AnonymousPaths::All) => true,
            // To the letter, as upstream.
            Some(AnonymousPaths::Only(paths)) => paths.iter().any(|open| open == path),
        }
    }
}

impl ApiServer {
    /// Takes a configuration over, from the next request on; what tokens were believed is forgotten.
    pub fn set_authenticators(&self, config: Authenticators) {
        let issuers = Issuers::start(config.issuers, &self.inner.calls);
        let identity = &self.inner.identity;
        identity.settings.store(Arc::new(Settings { issuers, anonymous: config.anonymous }));
        identity.cache.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Bed;

    #[tokio::test]
    async fn paths_are_open_as_configured() {
        let bed = Bed::new().await;
        let info = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
        let only = AnonymousPaths::Only(vec!["/livez".to_owned()]);
        let rows = [
            (None, vec!["/livez", "/livez/ping", "/version", info], vec!["/livezz", "/metrics", "/api"]),
            (Some(AnonymousPaths::None), vec![], vec!["/livez", info]),
            (Some(AnonymousPaths::All), vec!["/metrics", "/api"], vec![]),
            (Some(only), vec!["/livez"], vec!["/livez/ping", "/readyz"]),
        ];
        for (anonymous, open, closed) in rows {
            let settings = Settings { anonymous, ..Settings::none(&bed.server.inner.calls) };
            assert!(open.iter().all(|path| settings.is_open(path)), "{open:?}");
            assert!(!closed.iter().any(|path| settings.is_open(path)), "{closed:?}");
        }
    }
}

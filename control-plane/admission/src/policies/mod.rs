//! MutatingAdmissionPolicy and ValidatingAdmissionPolicy: the user's expressions about writes, evaluated in place.
//!
//! ```text
//! policies + bindings (compiled once a change) ──> matching ──> params, namespace ──> expressions ──> verdict or patch
//!       mutating: one after the other, each sees what the one before it left; those that wish it are asked once more
//!       validating: all of them, the first denial is told
//! ```
//! Rules: <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/> and
//! mutating-admission-policy beside it. As long as nobody has made a policy a request costs two loads of a revision.
//!
//! Not as upstream: what mutations change is recorded for no manager. What of a policy's expressions does not fit the kinds that
//! it names is told in its status by the API server (`apiserver/src/type_checking`).

mod clerk;
mod compiled;
mod evaluation;
mod match_conditions;
mod metrics;
mod mutation;
mod params;
mod request;
mod validation;

use std::sync::{Arc, Weak};

use keelson_auth::Authorizer;
use keelson_registry::{Registry, Status};

use compiled::Policies as Set;

pub(crate) use compiled::FailurePolicy;
pub(crate) use match_conditions::MatchConditions;
pub(crate) use mutation::Round;

/// Both plugins over a registry's caches. Held weakly: the registry holds the chain.
pub(crate) struct Policies {
    registry: Weak<Registry>,
    authorizer: Arc<Authorizer>,
    mutating: Set,
    validating: Set,
}

impl Policies {
    pub(crate) fn new(registry: &Arc<Registry>, authorizer: Arc<Authorizer>) -> Self {
        Self {
            registry: Arc::downgrade(registry),
            authorizer,
            mutating: Set::new("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"),
            validating: Set::new("validatingadmissionpolicies", "validatingadmissionpolicybindings"),
        }
    }

    fn registry(&self) -> Result<Arc<Registry>, Status> {
        self.registry.upgrade().ok_or_else(|| Status::unavailable("the server is shutting down"))
    }
}

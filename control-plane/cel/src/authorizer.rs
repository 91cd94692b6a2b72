//! `authorizer` in expressions: the seam to whoever decides, and the checks that an expression builds.
//! <https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-authorizer-library>

use std::fmt;

use crate::types::Library;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Namespace and name of the ServiceAccount that is meant instead of the request's user.
    pub service_account: Option<(String, String)>,
    /// The verb, the HTTP method in lower case for a path.
    pub verb: String,
    /// The path, where it is not about a resource.
    pub path: Option<String>,
    /// API group.
    pub group: String,
    /// Plural.
    pub resource: String,
    /// Subresource, or "".
    pub subresource: String,
    /// Namespace, or "".
    pub namespace: String,
    /// Name, or "".
    pub name: String,
    /// Field selector as in a query, or "".
    pub field_selector: String,
    /// Label selector as in a query, or "".
    pub label_selector: String,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong while deciding, "" for nothing.
    pub error: String,
}

/// Decides. Given with the variable `authorizer`.
pub trait Authorize: Send + Sync {
    /// Must not block: who has to wait for an answer gives any, and evaluates once more when it has one.
    fn authorize(&self, question: &Question) -> Decision;
}

/// What an expression holds on its way to a decision.
#[derive(Clone)]
pub struct Check<'a> {
    pub(crate) by: &'a dyn Authorize,
    pub(crate) question: Question,
    pub(crate) state: State,
}

/// How far the way is.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Authorizer,
    Path,
    Group,
    Resource,
    Decided(Decision),
}

impl<'a> Check<'a> {
    /// The variable `authorizer`.
    pub fn new(by: &'a dyn Authorize) -> Self {
        Self { by, question: Question::default(), state: State::Authorizer }
    }

    /// The variable `authorizer.requestResource`: a check of the resource that the request names.
    pub fn of_resource(by: &'a dyn Authorize, question: Question) -> Self {
        Self { by, question, state: State::Resource }
    }

    pub(crate) fn library(&self) -> Library {
        match self.state {
            State::Authorizer => Library::Authorizer,
            State::Path => Library::PathCheck,
            State::Group => Library::GroupCheck,
            State::Resource => Library::ResourceCheck,
            State::Decided(_) => Library::Decision,
        }
    }
}

impl fmt::Debug for Check<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.state, self.question)
    }
}

//! The one error type of the control plane: metav1 Status, with a constructor per reason and upstream's wording.
//!
//! Rules: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/> and the API conventions'
//! "HTTP status codes". Not here: HTTP headers and content types (the API server's).

mod constructors;

pub use constructors::OPTIMISTIC_LOCK;

use serde_json::{Map, Value, json};
use std::{borrow::Cow, fmt};

/// metav1 StatusReason, as far as the server gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the API's own")]
pub enum Reason {
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    Expired,
    ServiceUnavailable,
    Unknown,
}

impl Reason {
    /// The text in the answer; empty for [`Reason::Unknown`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Gone => "Gone",
            Self::Invalid => "Invalid",
            Self::Timeout => "Timeout",
            Self::TooManyRequests => "TooManyRequests",
            Self::BadRequest => "BadRequest",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::InternalError => "InternalError",
            Self::Expired => "Expired",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::Unknown => "",
        }
    }
}

/// metav1 StatusCause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusCause {
    /// metav1 CauseType, e.g. `FieldValueInvalid`.
    pub reason: String,
    /// What is wrong, without the field.
    pub message: String,
    /// The field's path, e.g. `spec.containers[0].name`.
    pub field: String,
}

/// metav1 StatusDetails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Name of the object, where one is concerned.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Its kind or resource, as the reason has it.
    pub kind: String,
    /// Its uid.
    pub uid: String,
    /// One per field that is wrong.
    pub causes: Vec<StatusCause>,
    /// When to come back, in seconds; 0 is absent.
    pub retry_after_s: u32,
}

/// A failure as the API tells it. Display is the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<Details>>,
    /// metadata.continue: the inconsistent continuation that a 410 to a LIST offers.
    pub continue_token: Option<String>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

/// A resource within its group, as messages name it: `pods`, `deployments.apps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupResource {
    /// API group, "" for the core group.
    pub group: Cow<'static, str>,
    /// Plural name, where a subresource is meant with `/sub`.
    pub resource: Cow<'static, str>,
}

impl GroupResource {
    /// Names `resource` in `group`.
    pub fn new(group: impl Into<Cow<'static, str>>, resource: impl Into<Cow<'static, str>>) -> Self {
        Self { group: group.into(), resource: resource.into() }
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        qualified(f, &self.resource, &self.group)
    }
}

/// A kind within its group, as messages name it: `Pod`, `Deployment.apps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupKind {
    /// API group, "" for the core group.
    pub group: Cow<'static, str>,
    /// Kind.
    pub kind: Cow<'static, str>,
}

impl GroupKind {
    /// Names `kind` in `group`.
    pub fn new(group: impl Into<Cow<'static, str>>, kind: impl Into<Cow<'static, str>>) -> Self {
        Self { group: group.into(), kind: kind.into() }
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        qualified(f, &self.kind, &self.group)
    }
}

fn qualified(f: &mut fmt::Formatter<'_>, name: &str, group: &str) -> fmt::Result {
    if group.is_empty() { f.write_str(name) } else { write!(f, "{name}.{group}") }
}

impl Status {
    /// metav1 Status as the body of an answer.
    pub fn to_json(&self) -> Value {
        let mut metadata = Map::new();
        if let Some(token) = &self.continue_token {
            metadata.insert("continue".to_owned(), json!(token));
        }
        let mut body = json!({
            "apiVersion": "v1", "kind": "Status", "metadata": metadata, "status": "Failure",
            "message": self.message, "reason": self.reason.as_str(), "code": self.code,
        });
        if self.reason == Reason::Unknown
            && let Some(map) = body.as_object_mut()
        {
            map.remove("reason");
        }
        if let Some(details) = &self.details {
            body["details"] = details.to_json();
        }
        body
    }
}

impl Details {
    fn to_json(&self) -> Value {
        let mut out = Map::new();
        for (key, text) in
            [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)]
        {
            if !text.is_empty() {
                out.insert(key.to_owned(), json!(text));
            }
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter().map(StatusCause::to_json).collect();
            out.insert("causes".to_owned(), Value::Array(causes));
        }
        if self.retry_after_s > 0 {
            out.insert("retryAfterSeconds".to_owned(), json!(self.retry_after_s));
        }
        Value::Object(out)
    }
}

impl StatusCause {
    fn to_json(&self) -> Value {
        let mut out = Map::new();
        for (key, text) in [("reason", &self.reason), ("message", &self.message), ("field", &self.field)] {
            if !text.is_empty() {
                out.insert(key.to_owned(), json!(text));
            }
        }
        Value::Object(out)
    }
}

/// metav1 Status for a success that returns no object, e.g. of a binding (201) or a finished deletion (200).
pub fn success(code: u16, details: Option<Details>) -> Value {
    let mut body =
        json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success", "code": code});
    if let Some(details) = details {
        body["details"] = details.to_json();
        // Upstream writes the code only where it is not 200.
        if code == 200
            && let Some(map) = body.as_object_mut()
        {
            map.remove("code");
        }
    }
    body
}

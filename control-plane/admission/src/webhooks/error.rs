//! What can come of asking a webhook, besides a yes. Texts are upstream's: users search for them.

use keelson_registry::{Reason, Status};
use keelson_webhook::CallError;
use serde_json::Value;

/// Why a webhook's answer is not one.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// The configuration names nobody.
    #[error("could not get REST client: {0}")]
    Configuration(String),
    /// No answer.
    #[error("failed to call webhook: {0}")]
    Call(#[from] CallError),
    /// An answer that breaks the rules of AdmissionReview.
    #[error("received invalid webhook response: {0}")]
    Invalid(String),
    /// A patch of another form than a JSON patch.
    #[error("unsupported patch type {0:?}")]
    PatchType(String),
}

/// What asking came to.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The webhook could not be asked: its failurePolicy decides.
    Unanswered(Unanswered),
    /// It said no, or broke what it was given: nothing softens that.
    Final(Status),
}

impl From<Unanswered> for Refusal {
    fn from(why: Unanswered) -> Self {
        Self::Unanswered(why)
    }
}

impl Refusal {
    /// The status that the client sees.
    pub(super) fn into_status(self, webhook: &str) -> Status {
        match self {
            Self::Final(status) => status,
            Self::Unanswered(why) => Status::internal(format!("failed calling webhook {webhook:?}: {why}")),
        }
    }
}

/// The status of a denial: code, reason and message are the webhook's as far as they make a failure.
pub(super) fn denied(webhook: &str, result: &Value) -> Status {
    let text = |key: &str| result[key].as_str().unwrap_or_default();
    let by = format!("admission webhook {webhook:?} denied the request");
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{by} without explanation"),
        ("", reason) => format!("{by}: {reason}"),
        (message, _) => format!("{by}: {message}"),
    };
    let code = result["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    let code = code.filter(|code| (400..600).contains(code)).unwrap_or(400);
    Status::new(code, reason(text("reason")), message)
}

/// The reasons that the server itself gives; of others only the message tells.
fn reason(text: &str) -> Reason {
    const KNOWN: [Reason; 16] = [
        Reason::Unauthorized,
        Reason::Forbidden,
        Reason::NotFound,
        Reason::AlreadyExists,
        Reason::Conflict,
        Reason::Gone,
        Reason::Invalid,
        Reason::Timeout,
        Reason::TooManyRequests,
        Reason::BadRequest,
        Reason::MethodNotAllowed,
        Reason::NotAcceptable,
        Reason::RequestEntityTooLarge,
        Reason::InternalError,
        Reason::Expired,
        Reason::ServiceUnavailable,
    ];
    KNOWN.into_iter().find(|known| known.as_str() == text).unwrap_or(Reason::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_denial_says_who_and_why() {
        let by = r#"admission webhook "a.b.c" denied the request"#;
        let rows = [
            (json!(null), 400, "", format!("{by} without explanation")),
            (json!({"code": 200, "message": "no"}), 400, "", format!("{by}: no")),
            (json!({"code": 403, "reason": "Forbidden"}), 403, "Forbidden", format!("{by}: Forbidden")),
            (json!({"code": 422, "reason": "Odd", "message": "m"}), 422, "", format!("{by}: m")),
        ];
        for (result, code, reason, message) in rows {
            let status = denied("a.b.c", &result);
            assert_eq!((status.code, status.reason.as_str(), status.message), (code, reason, message));
        }
    }
}

//! How a call to the API fails. Refusals (the server answered) and failures (no answer) are different causes: only a
//! refusal says something about the object.

use std::{error::Error, time::Duration};

/// What we were doing, and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("{verb} {path}")]
pub struct ApiError {
    pub(super) verb: &'static str,
    pub(super) path: String,
    #[source]
    pub(super) cause: Cause,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The server answered with a Status.
    #[error("{message} ({code} {reason})")]
    Refused {
        /// HTTP status code.
        code: u16,
        /// metav1 StatusReason.
        reason: String,
        /// The server's words.
        message: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// No answer: the connection failed.
    #[error("no answer from the API server")]
    Transport(#[source] Box<kube::Error>),
    /// No answer in time.
    #[error("no answer from the API server within {0:?}")]
    TimedOut(Duration),
    /// The answer is not what the API promises.
    #[error("an answer that is not of the expected form")]
    Decode(#[source] serde_json::Error),
}

impl ApiError {
    /// Why.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// The server's status code, if it answered.
    pub fn code(&self) -> Option<u16> {
        match &self.cause {
            Cause::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    fn has_reason(&self, wanted: &str) -> bool {
        matches!(&self.cause, Cause::Refused { reason, .. } if reason == wanted)
    }

    /// The object does not exist (the server said so).
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Someone was faster: the precondition on uid or resourceVersion does not hold.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409) && !self.is_already_exists()
    }

    /// The name is taken.
    pub fn is_already_exists(&self) -> bool {
        self.has_reason("AlreadyExists")
    }

    /// The revision is no longer in the server's history.
    pub fn is_expired(&self) -> bool {
        self.code() == Some(410)
    }

    /// The object is not acceptable as it is; trying again cannot help.
    pub fn is_invalid(&self) -> bool {
        self.code() == Some(422)
    }

    /// Authorization or admission said no.
    pub fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }

    /// The namespace is being deleted: creating in it is pointless.
    pub fn is_namespace_terminating(&self) -> bool {
        matches!(&self.cause, Cause::Refused { message, .. } if message.contains("because it is being terminated"))
    }

    /// How long the server asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.cause {
            Cause::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The server's message, or our own words if it did not answer.
    pub fn message(&self) -> String {
        match &self.cause {
            Cause::Refused { message, .. } => message.clone(),
            _ => chain(self),
        }
    }
}

/// An error with all its sources, joined with ": ".
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(e) = source {
        text.push_str(": ");
        text.push_str(&e.to_string());
        source = e.source();
    }
    text
}

pub(super) fn cause_of(error: kube::Error) -> Cause {
    match error {
        kube::Error::SerdeError(e) => Cause::Decode(e),
        other => Cause::Transport(Box::new(other)),
    }
}

/// An answer of 400 or more: a Status, or whatever somebody on the way has written instead.
pub(super) fn refused(code: u16, body: &[u8]) -> Cause {
    match serde_json::from_slice::<kube::core::Status>(body) {
        Ok(status) => Cause::Refused {
            code,
            reason: status.reason,
            message: status.message,
            retry_after: status
                .details
                .map(|d| d.retry_after_seconds)
                .filter(|&s| s > 0)
                .map(|s| Duration::from_secs(s.into())),
        },
        Err(_) => Cause::Refused {
            code,
            reason: String::new(),
            message: String::from_utf8_lossy(body).trim().to_owned(),
            retry_after: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_whoever_wrote_it() {
        let status =
            br#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"slow down",
            "reason":"TooManyRequests","details":{"retryAfterSeconds":3},"code":429}"#;
        let of = |code, body| ApiError { verb: "GET", path: "/".into(), cause: refused(code, body) };
        let busy = of(429, status);
        assert_eq!((busy.code(), busy.message()), (Some(429), "slow down".to_owned()));
        assert_eq!(busy.retry_after(), Some(Duration::from_secs(3)));
        assert!(busy.has_reason("TooManyRequests"));
        let proxy = of(502, b"Bad gateway\n");
        assert_eq!((proxy.code(), proxy.message()), (Some(502), "Bad gateway".to_owned()));
    }
}

//! What can go wrong in a call to the runtime. Says what we were doing and whose fault it is; whether
//! to try again is the caller's to decide.

use tonic::Code;

/// Whose fault a failed call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The sandbox, container or image does not exist.
    NotFound,
    /// The runtime did not answer: not running, or the connection broke.
    Unavailable,
    /// It took longer than allowed.
    Timeout,
    /// The runtime refused or failed; its message says why.
    Runtime,
}

/// A failed call. `Display` is the runtime's own message, as Kubernetes shows it to users.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct RuntimeError {
    /// The call, such as `RunPodSandbox`.
    pub call: &'static str,
    /// Whose fault it is.
    pub fault: Fault,
    /// The runtime's message.
    pub message: String,
}

impl RuntimeError {
    /// A failure that this side found.
    pub fn new(call: &'static str, fault: Fault, message: impl Into<String>) -> Self {
        Self { call, fault, message: message.into() }
    }

    /// Reads a gRPC status. containerd reports a missing object as NOT_FOUND and a timeout of an
    /// ExecSync as DEADLINE_EXCEEDED or, in 1.6, as UNKNOWN with a Go context error in the text.
    pub(crate) fn from_status(call: &'static str, status: &tonic::Status) -> Self {
        let message = status.message();
        let fault = match status.code() {
            Code::NotFound => Fault::NotFound,
            Code::Unavailable | Code::Cancelled => Fault::Unavailable,
            Code::DeadlineExceeded => Fault::Timeout,
            Code::Unknown if message.contains("deadline exceeded") || message.contains("timed out") => {
                Fault::Timeout
            }
            _ => Fault::Runtime,
        };
        let code = format!("rpc error: code = {:?} desc = ", status.code());
        Self { call, fault, message: format!("{code}{message}") }
    }

    /// True where the object asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        self.fault == Fault::NotFound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_go_context_error_counts_as_timeout() {
        let status = tonic::Status::unknown(
            "failed to exec in container: timeout 1s exceeded: context deadline exceeded",
        );
        assert_eq!(RuntimeError::from_status("ExecSync", &status).fault, Fault::Timeout);
    }

    #[test]
    fn the_message_is_shown_as_kubernetes_shows_it() {
        let status = tonic::Status::not_found("no such container");
        let error = RuntimeError::from_status("ContainerStatus", &status);
        assert!(error.is_not_found());
        assert_eq!(error.to_string(), "rpc error: code = NotFound desc = no such container");
    }
}

//! A constructor per reason, in upstream's words.

use super::{Details, GroupKind, GroupResource, Reason, Status, StatusCause};
use keelson_schema::FieldError;
use std::{fmt, time::Duration};

/// The text of an update refused because the object has moved on.
pub const OPTIMISTIC_LOCK: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

impl Status {
    /// A status without details.
    pub fn new(code: u16, reason: Reason, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, continue_token: None }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        self.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            ..Details::default()
        }));
        self
    }

    /// 404: no such object.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::new(404, Reason::NotFound, format!("{resource} \"{name}\" not found")).about(
            &resource.group,
            &resource.resource,
            name,
        )
    }

    /// 404: no such path.
    pub fn no_such_path() -> Self {
        Self::new(404, Reason::NotFound, "the server could not find the requested resource").about("", "", "")
    }

    /// 409: the name is taken.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::new(409, Reason::AlreadyExists, format!("{resource} \"{name}\" already exists")).about(
            &resource.group,
            &resource.resource,
            name,
        )
    }

    /// 409: the write does not fit the current state, for the reason given.
    pub fn conflict(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::new(409, Reason::Conflict, message).about(&resource.group, &resource.resource, name)
    }

    /// 409 that names the optimistic lock.
    pub fn modified(resource: &GroupResource, name: &str) -> Self {
        Self::conflict(resource, name, OPTIMISTIC_LOCK)
    }

    /// 422: fields are wrong.
    pub fn invalid(kind: &GroupKind, name: &str, errors: Vec<FieldError>) -> Self {
        let texts = aggregate(&errors);
        let mut status = Self::new(422, Reason::Invalid, format!("{kind} \"{name}\" is invalid: {texts}"))
            .about(&kind.group, &kind.kind, name);
        if let Some(details) = &mut status.details {
            details.causes = errors.iter().map(cause).collect();
        }
        status
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, Reason::BadRequest, message)
    }

    /// 403 on an object, for the reason given. An empty name reads as upstream's: the resource alone.
    pub fn forbidden(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = match (resource.resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{resource} is forbidden: {why}"),
            (false, false) => format!("{resource} \"{name}\" is forbidden: {why}"),
        };
        Self::new(403, Reason::Forbidden, message).about(&resource.group, &resource.resource, name)
    }

    /// 401.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        let message: String = message.into();
        let message = if message.is_empty() { "not authorized".to_owned() } else { message };
        Self::new(401, Reason::Unauthorized, message)
    }

    /// 410: the revision asked for is no longer kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, Reason::Expired, message)
    }

    /// 410 in upstream's words for a revision that the ring no longer reaches.
    pub fn too_old(requested: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {requested} ({oldest})"))
    }

    /// 504 for a revision that has not been reached in time; the client may come back at once.
    pub fn too_large_resource_version(requested: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {requested}, current: {current}");
        let mut status = Self::new(504, Reason::Timeout, message);
        status.details = Some(Box::new(Details {
            retry_after_s: 1,
            causes: vec![StatusCause {
                reason: "ResourceVersionTooLarge".to_owned(),
                message: "Too large resource version".to_owned(),
                field: String::new(),
            }],
            ..Details::default()
        }));
        status
    }

    /// 405: the resource has no such verb.
    pub fn method_not_allowed(resource: &GroupResource, verb: &str) -> Self {
        let message = format!("{verb} is not supported on resources of kind \"{resource}\"");
        Self::new(405, Reason::MethodNotAllowed, message).about(&resource.group, &resource.resource, "")
    }

    /// 406: none of the accepted forms can be given.
    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(406, Reason::NotAcceptable, message)
    }

    /// 413.
    pub fn too_large(message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self::new(413, Reason::RequestEntityTooLarge, format!("Request entity is too large: {message}"))
    }

    /// 415: the body's form is not one that is read here.
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, Reason::UnsupportedMediaType, message)
    }

    /// 429 with the time to wait.
    pub fn too_many_requests(message: impl Into<String>, retry_after: Duration) -> Self {
        let mut status = Self::new(429, Reason::TooManyRequests, message);
        let retry_after_s = u32::try_from(retry_after.as_secs()).unwrap_or(u32::MAX).max(1);
        status.details = Some(Box::new(Details { retry_after_s, ..Details::default() }));
        status
    }

    /// 500 in upstream's words.
    pub fn internal(error: impl fmt::Display) -> Self {
        let message = format!("Internal error occurred: {error}");
        let mut status = Self::new(500, Reason::InternalError, message);
        status.details = Some(Box::new(Details {
            causes: vec![StatusCause {
                reason: String::new(),
                message: error.to_string(),
                field: String::new(),
            }],
            ..Details::default()
        }));
        status
    }

    /// 503: the store or a part that the answer needs cannot be reached.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, Reason::ServiceUnavailable, message)
    }
}

/// Upstream's text of several errors: one alone as it is, more in brackets, each text once.
fn aggregate(errors: &[FieldError]) -> String {
    let mut texts: Vec<String> = Vec::with_capacity(errors.len());
    for error in errors {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match texts.len() {
        1 => texts.remove(0),
        _ => format!("[{}]", texts.join(", ")),
    }
}

fn cause(error: &FieldError) -> StatusCause {
    let reason = error.cause.reason().to_owned();
    StatusCause { reason, message: error.detail.clone(), field: error.field.clone() }
}

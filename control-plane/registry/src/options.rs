//! Options of requests as the registry takes them, with upstream's rules about which go together.
//!
//! Values come as the client's text: the registry parses selectors and revisions, so that every caller gets one wording.

use crate::status::{GroupKind, Status};
use keelson_schema::{FieldError, Path};
use keelson_store::Revision;

/// How a resourceVersion is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    /// Any state at least that new.
    NotOlderThan,
    /// Exactly that state.
    Exact,
}

/// metav1 ListOptions of a LIST.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Label selector, "" selects all.
    pub label_selector: String,
    /// Field selector, "" selects all.
    pub field_selector: String,
    /// At most so many items; 0 is all.
    pub limit: u64,
    /// The token of the previous part.
    pub continue_token: String,
    /// resourceVersion as sent; "" is the newest state, "0" any.
    pub resource_version: String,
    /// resourceVersionMatch as sent, "" when absent.
    pub resource_version_match: String,
}

/// metav1 ListOptions of a WATCH.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchOptions {
    /// Label selector, "" selects all.
    pub label_selector: String,
    /// Field selector, "" selects all.
    pub field_selector: String,
    /// resourceVersion as sent; "" and "0" begin with what exists.
    pub resource_version: String,
    /// resourceVersionMatch as sent, "" when absent.
    pub resource_version_match: String,
    /// Bookmarks wanted.
    pub allow_bookmarks: bool,
    /// sendInitialEvents, where sent.
    pub send_initial_events: Option<bool>,
}

/// metav1 DeletionPropagation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the API's own")]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// metav1 Preconditions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// The object's uid must be this.
    pub uid: Option<String>,
    /// The object's resourceVersion must be this.
    pub resource_version: Option<String>,
}

/// metav1 DeleteOptions; dryRun is the context's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Grace in seconds; absent is the object's own.
    pub grace_period_s: Option<i64>,
    /// What happens to dependents; absent is the kind's own.
    pub propagation: Option<Propagation>,
    /// The older spelling of [`Propagation::Orphan`] and [`Propagation::Background`].
    pub orphan_dependents: Option<bool>,
    /// What must hold.
    pub preconditions: Preconditions,
}

/// Form of a patch body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902, `application/json-patch+json`.
    Json,
    /// RFC 7386, `application/merge-patch+json`.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
    /// Server-side apply, `application/apply-patch+yaml`.
    Apply {
        /// Whether fields are taken that others own with other values.
        force: bool,
    },
}

/// The text "" is absent, "0" is any state.
pub(crate) fn parse_revision(text: &str) -> Result<Revision, Status> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        let error = FieldError::invalid(
            &"resourceVersion".into(),
            text,
            "strconv.ParseUint: parsing: invalid syntax",
        );
        Status::bad_request(error.to_string())
    })
}

fn parse_match(text: &str, errors: &mut Vec<FieldError>) -> Option<VersionMatch> {
    match text {
        "" => None,
        "NotOlderThan" => Some(VersionMatch::NotOlderThan),
        "Exact" => Some(VersionMatch::Exact),
        other => {
            let known = ["Exact", "NotOlderThan", ""];
            errors.push(FieldError::not_supported(&"resourceVersionMatch".into(), other, &known));
            None
        }
    }
}

fn refuse(errors: Vec<FieldError>) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&GroupKind::new("meta.k8s.io", "ListOptions"), "", errors))
}

impl ListOptions {
    /// Checks which options go together and reads resourceVersionMatch.
    pub(crate) fn version_match(&self) -> Result<Option<VersionMatch>, Status> {
        let mut errors = Vec::new();
        let field = &Path::new("resourceVersionMatch");
        let matched = parse_match(&self.resource_version_match, &mut errors);
        if !self.resource_version_match.is_empty() {
            if self.resource_version.is_empty() {
                let detail = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                errors.push(FieldError::forbidden(field, detail));
            }
            if !self.continue_token.is_empty() {
                let detail = "resourceVersionMatch is forbidden when continue is provided";
                errors.push(FieldError::forbidden(field, detail));
            }
            if matched == Some(VersionMatch::Exact) && self.resource_version == "0" {
                let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                errors.push(FieldError::forbidden(field, detail));
            }
        }
        refuse(errors)?;
        Ok(matched)
    }
}

impl WatchOptions {
    /// Checks which options go together.
    pub(crate) fn check(&self) -> Result<(), Status> {
        let mut errors = Vec::new();
        let field = &Path::new("resourceVersionMatch");
        let matched = parse_match(&self.resource_version_match, &mut errors);
        if self.send_initial_events.is_some() {
            if self.resource_version_match.is_empty() {
                let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                errors.push(FieldError::forbidden(field, detail));
            }
            if matched == Some(VersionMatch::Exact) {
                errors.push(FieldError::not_supported(field, "Exact", &["NotOlderThan"]));
            }
        } else if !self.resource_version_match.is_empty() {
            let detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden(field, detail));
        }
        refuse(errors)
    }
}

impl DeleteOptions {
    /// Upstream's ValidateDeleteOptions.
    pub(crate) fn check(&self) -> Result<(), Status> {
        let mut errors = Vec::new();
        if self.propagation.is_some() && self.orphan_dependents.is_some() {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid(&"propagationPolicy".into(), "", detail));
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(Status::invalid(&GroupKind::new("meta.k8s.io", "DeleteOptions"), "", errors))
    }

    /// What is asked for, in either spelling.
    pub(crate) fn propagation(&self) -> Option<Propagation> {
        self.propagation.or(match self.orphan_dependents {
            Some(true) => Some(Propagation::Orphan),
            Some(false) => Some(Propagation::Background),
            None => None,
        })
    }
}

//! Options of the verbs, from the query string (and for DELETE from the body) to the registry's types.
//!
//! Unknown keys are ignored, as upstream does. A key that Kubernetes has and Keelson has not is refused by its name.

use super::query::Query;
use keelson_registry::FieldValidation;
use keelson_registry::{
    options::{DeleteOptions, ListOptions, PatchType, Preconditions, Propagation, WatchOptions},
    status::{GroupKind, Status},
};
use keelson_schema::{FieldError, Path};
use serde_json::Value;
use std::time::Duration;

/// Characters of a field manager, as upstream's `FieldManagerMaxLength`.
const FIELD_MANAGER_BYTES_MAX: usize = 128;
/// A watch without timeoutSeconds ends after this, up to twice that: upstream's `--min-request-timeout` is 1800 s.
const WATCH_TIMEOUT_MIN: Duration = Duration::from_secs(1800);

/// dryRun, fieldManager and fieldValidation of a write.
#[derive(Clone, Debug)]
pub(crate) struct WriteOptions {
    /// Do everything but store.
    pub(crate) dry_run: bool,
    /// Who writes, in managedFields.
    pub(crate) field_manager: String,
    /// What happens to unknown and duplicate fields.
    pub(crate) field_validation: FieldValidation,
}

fn meta_invalid(kind: &'static str, errors: Vec<FieldError>) -> Result<(), Status> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Status::invalid(&GroupKind::new("meta.k8s.io", kind), "", errors))
    }
}

/// `["All"]` or nothing.
fn dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut Vec<FieldError>) -> bool {
    let mut dry = false;
    for value in values.filter(|v| !v.is_empty()) {
        if value == "All" {
            dry = true;
        } else {
            errors.push(FieldError::not_supported(&Path::new("dryRun"), value, &["All"]));
        }
    }
    dry
}

impl WriteOptions {
    /// Reads the options of a create, update or patch.
    pub(crate) fn parse(query: &Query, verb: WriteVerb, user_agent: &str) -> Result<Self, Status> {
        let mut errors = Vec::new();
        let given = query.non_empty("fieldManager");
        match verb {
            WriteVerb::Apply if given.is_none() => {
                let path = Path::new("fieldManager");
                errors.push(FieldError::required(&path, "is required for apply patch"));
            }
            WriteVerb::Patch if query.first("force").is_some() => {
                let path = Path::new("force");
                errors.push(FieldError::forbidden(&path, "may not be specified for non-apply patch"));
            }
            _ => {}
        }
        if let Some(manager) = given {
            check_field_manager(manager, &mut errors);
        }
        let field_manager = given.map_or_else(|| manager_of(user_agent), str::to_owned);
        let dry_run = dry_run(query.all("dryRun"), &mut errors);
        let field_validation = match query.non_empty("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                errors.push(FieldError::not_supported(
                    &Path::new("fieldValidation"),
                    other,
                    &["", "Ignore", "Strict", "Warn"],
                ));
                FieldValidation::Warn
            }
        };
        meta_invalid(verb.options(), errors)?;
        Ok(Self { dry_run, field_manager, field_validation })
    }
}

/// What a write does with its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteVerb {
    /// Makes an object of it.
    Create,
    /// Puts it in the place of what is there.
    Update,
    /// Changes what is there by it.
    Patch,
    /// Applies it.
    Apply,
}

impl WriteVerb {
    /// The kind of the options, as messages name it.
    fn options(self) -> &'static str {
        match self {
            Self::Create => "CreateOptions",
            Self::Update => "UpdateOptions",
            Self::Patch | Self::Apply => "PatchOptions",
        }
    }
}

/// The name of a client that gives none: the beginning of its user agent, as far as it can be printed.
fn manager_of(user_agent: &str) -> String {
    let name = user_agent.split('/').next().unwrap_or_default();
    let mut manager = String::new();
    for c in name.chars().filter(|c| !c.is_control()) {
        if manager.len() + c.len_utf8() > FIELD_MANAGER_BYTES_MAX {
            break;
        }
        manager.push(c);
    }
    manager
}

fn check_field_manager(manager: &str, errors: &mut Vec<FieldError>) {
    if manager.len() > FIELD_MANAGER_BYTES_MAX {
        errors.push(FieldError::too_long(&Path::new("fieldManager"), FIELD_MANAGER_BYTES_MAX));
    }
    if let Some(c) = manager.chars().find(|c| c.is_control()) {
        errors.push(FieldError::invalid(
            &Path::new("fieldManager"),
            manager,
            format!("should not contain the unprintable character {:#x}", u32::from(c)),
        ));
    }
}

/// Go's text for a number that is none.
fn integer<T: std::str::FromStr>(query: &Query, key: &str) -> Result<Option<T>, Status> {
    let Some(text) = query.non_empty(key) else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))
}

/// List options that exist upstream and not here.
fn refuse_unbuilt_list_options(query: &Query) -> Result<(), Status> {
    for key in ["shardSelector"] {
        if query.non_empty(key).is_some() {
            return Err(Status::bad_request(format!(
                "the list option {key:?} is not supported by this server"
            )));
        }
    }
    Ok(())
}

fn selector(query: &Query, key: &str) -> String {
    query.first(key).unwrap_or_default().to_owned()
}

/// Reads the options of a LIST (also of a deletecollection).
pub(crate) fn list(query: &Query) -> Result<ListOptions, Status> {
    refuse_unbuilt_list_options(query)?;
    if query.first("sendInitialEvents").is_some() {
        let error =
            FieldError::forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list");
        meta_invalid("ListOptions", vec![error])?;
    }
    let limit = integer::<i64>(query, "limit")?.unwrap_or(0);
    // It bounds watches alone, and has to be a number all the same.
    integer::<i64>(query, "timeoutSeconds")?;
    Ok(ListOptions {
        label_selector: selector(query, "labelSelector"),
        field_selector: selector(query, "fieldSelector"),
        limit: u64::try_from(limit).unwrap_or(0),
        continue_token: selector(query, "continue"),
        resource_version: selector(query, "resourceVersion"),
        resource_version_match: selector(query, "resourceVersionMatch"),
    })
}

/// Options of a WATCH and how long it may last.
pub(crate) fn watch(query: &Query) -> Result<(WatchOptions, Duration), Status> {
    refuse_unbuilt_list_options(query)?;
    let timeout = match integer::<i64>(query, "timeoutSeconds")? {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds.unsigned_abs()),
        _ => WATCH_TIMEOUT_MIN.mul_f64(1.0 + rand::random::<f64>()),
    };
    let options = WatchOptions {
        label_selector: selector(query, "labelSelector"),
        field_selector: selector(query, "fieldSelector"),
        resource_version: selector(query, "resourceVersion"),
        resource_version_match: selector(query, "resourceVersionMatch"),
        allow_bookmarks: query.flag("allowWatchBookmarks"),
        send_initial_events: query.optional_flag("sendInitialEvents"),
    };
    Ok((options, timeout))
}

fn propagation(text: &str, errors: &mut Vec<FieldError>) -> Option<Propagation> {
    match text {
        "" => None,
        "Orphan" => Some(Propagation::Orphan),
        "Background" => Some(Propagation::Background),
        "Foreground" => Some(Propagation::Foreground),
        other => {
            let known = ["Background", "Foreground", "Orphan", "nil"];
            errors.push(FieldError::not_supported(&Path::new("propagationPolicy"), other, &known));
            None
        }
    }
}

/// Options of a DELETE: those of the body when there is one, else those of the query. The flag is dryRun.
pub(crate) fn delete(query: &Query, body: Option<&Value>) -> Result<(DeleteOptions, bool), Status> {
    let mut errors = Vec::new();
    let (options, dry) = match body {
        Some(body) => delete_from_body(body, &mut errors)?,
        None => delete_from_query(query, &mut errors)?,
    };
    meta_invalid("DeleteOptions", errors)?;
    Ok((options, dry))
}

fn delete_from_query(query: &Query, errors: &mut Vec<FieldError>) -> Result<(DeleteOptions, bool), Status> {
    refuse_unsafe_deletion(query.flag(UNSAFE_DELETION))?;
    let options = DeleteOptions {
        grace_period_s: integer(query, "gracePeriodSeconds")?,
        propagation: propagation(query.first("propagationPolicy").unwrap_or_default(), errors),
        orphan_dependents: query.optional_flag("orphanDependents"),
        preconditions: Preconditions::default(),
    };
    Ok((options, dry_run(query.all("dryRun"), errors)))
}

/// Deletes an object that cannot be read; there are none here that the server could serve at all.
const UNSAFE_DELETION: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";

fn refuse_unsafe_deletion(asked: bool) -> Result<(), Status> {
    if asked {
        return Err(Status::bad_request(format!(
            "the delete option {UNSAFE_DELETION:?} is not supported by this server"
        )));
    }
    Ok(())
}

/// The body has been decoded by the schema: its types are right.
fn delete_from_body(body: &Value, errors: &mut Vec<FieldError>) -> Result<(DeleteOptions, bool), Status> {
    refuse_unsafe_deletion(body[UNSAFE_DELETION] == true)?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let conditions = &body["preconditions"];
    let options = DeleteOptions {
        grace_period_s: body["gracePeriodSeconds"].as_i64(),
        propagation: propagation(body["propagationPolicy"].as_str().unwrap_or_default(), errors),
        orphan_dependents: body["orphanDependents"].as_bool(),
        preconditions: Preconditions {
            uid: text(&conditions["uid"]),
            resource_version: text(&conditions["resourceVersion"]),
        },
    };
    let dry = dry_run(body["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str), errors);
    Ok((options, dry))
}

/// Media types of patches, as the 415 lists them.
pub(crate) const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// The form of a patch body, by its media type.
pub(crate) fn patch_type(content_type: Option<&str>, query: &Query) -> Result<PatchType, Status> {
    let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match media {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
        "application/apply-patch+yaml" => Ok(PatchType::Apply { force: query.flag("force") }),
        "application/apply-patch+cbor" => Err(Status::unsupported_media_type(format!(
            "CBOR ({media}) is not supported by this server; it accepts: {}",
            PATCH_TYPES.join(", ")
        ))),
        other => Err(Status::unsupported_media_type(format!(
            "the body of the request was in an unknown format - accepted media types include: {} (got {other:?})",
            PATCH_TYPES.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused<T>(result: Result<T, Status>) -> (u16, String) {
        match result {
            Ok(_) => panic!("the option was accepted"),
            Err(status) => (status.code, status.message),
        }
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        let none = Query::default();
        let rows = [
            (refused(list(&Query::parse("shardSelector=x"))), 400, "shardSelector"),
            (refused(list(&Query::parse("sendInitialEvents=true"))), 422, "sendInitialEvents"),
            (refused(list(&Query::parse("limit=x"))), 400, "parsing \"x\""),
            (
                refused(delete(&Query::parse("ignoreStoreReadErrorWithClusterBreakingPotential=1"), None)),
                400,
                "ignoreStoreReadError",
            ),
            (refused(delete(&Query::parse("propagationPolicy=Never"), None)), 422, "propagationPolicy"),
            (
                refused(WriteOptions::parse(&Query::parse("dryRun=Some"), WriteVerb::Create, "")),
                422,
                "dryRun",
            ),
            (
                refused(WriteOptions::parse(&Query::parse("fieldValidation=Maybe"), WriteVerb::Create, "")),
                422,
                "fieldValidation",
            ),
            (refused(WriteOptions::parse(&Query::parse("force=true"), WriteVerb::Patch, "")), 422, "force"),
            (
                refused(WriteOptions::parse(&Query::parse("force=true"), WriteVerb::Apply, "kubectl/1")),
                422,
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
            ),
            (refused(patch_type(Some("application/apply-patch+cbor"), &none)), 415, "CBOR"),
            (refused(patch_type(Some("application/json"), &none)), 415, "application/merge-patch+json"),
        ];
        for ((code, text), want_code, want_text) in rows {
            assert!(code == want_code && text.contains(want_text), "{want_text}: {code} {text}");
        }
    }

    #[test]
    fn a_writer_is_who_he_says_or_his_program() {
        let manager = |query: &str, agent: &str| {
            let options = WriteOptions::parse(&Query::parse(query), WriteVerb::Update, agent);
            options.expect("good options").field_manager
        };
        assert_eq!(manager("fieldManager=me", "kubectl/v1.36.0 (linux/amd64)"), "me");
        assert_eq!(manager("", "kubectl/v1.36.0 (linux/amd64)"), "kubectl");
        assert_eq!(manager("", "a\u{7}b"), "ab");
        assert_eq!(manager("", &"x".repeat(200)).len(), FIELD_MANAGER_BYTES_MAX);
        assert_eq!(manager("", ""), "");
    }

    #[test]
    fn the_body_of_a_delete_wins_over_the_query() {
        let body = json!({"kind": "DeleteOptions", "gracePeriodSeconds": 0, "propagationPolicy": "Orphan", "dryRun": ["All"], "preconditions": {"uid": "u"}});
        let (options, dry) = delete(&Query::parse("gracePeriodSeconds=9"), Some(&body)).unwrap();
        assert!(dry);
        assert_eq!(options.grace_period_s, Some(0));
        assert_eq!(options.propagation, Some(Propagation::Orphan));
        assert_eq!(options.preconditions.uid.as_deref(), Some("u"));
        let (options, dry) = delete(&Query::parse("gracePeriodSeconds=9"), None).unwrap();
        assert_eq!((options.grace_period_s, dry), (Some(9), false));
    }

    #[test]
    fn a_watch_has_an_end() {
        assert_eq!(list(&Query::parse("timeoutSeconds=x")).unwrap_err().code, 400);
        assert_eq!(watch(&Query::parse("timeoutSeconds=7")).unwrap().1, Duration::from_secs(7));
        let (options, timeout) =
            watch(&Query::parse("sendInitialEvents=true&allowWatchBookmarks=true")).unwrap();
        assert!(timeout >= WATCH_TIMEOUT_MIN && timeout <= WATCH_TIMEOUT_MIN * 2);
        assert_eq!((options.send_initial_events, options.allow_bookmarks), (Some(true), true));
    }
}

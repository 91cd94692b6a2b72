//! Kinds that are questions: created, answered, never stored. Access reviews, token reviews, token requests.

mod access;
mod identity;
mod selectors;
mod token_request;

pub(crate) use token_request::token_request;

use crate::{
    pipeline::text,
    request::{
        body,
        options::{WriteOptions, WriteVerb},
    },
    resources::{Call, decode},
    response::Answer,
    wire::Body,
};
use http::{Request, StatusCode, header, request::Parts};
use keelson_auth::UserInfo;
use keelson_registry::{context::Context, kind::Kind, status::Status};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A decoded question with what is needed to answer it.
struct Question {
    object: Value,
    head: Parts,
    context: Context,
}

async fn read(call: &Call<'_>, kind: &Kind, request: Request<Body>) -> Result<Question, Status> {
    let (head, bytes) = request.into_parts();
    let agent = text(&head.headers, &header::USER_AGENT).unwrap_or_default();
    let options = WriteOptions::parse(call.query, WriteVerb::Create, agent)?;
    let context = Context {
        dry_run: options.dry_run,
        field_manager: options.field_manager,
        field_validation: options.field_validation,
        ..call.context()
    };
    let bytes = body::read(bytes).await?;
    let wanted = decode::BodyKind::of(kind, call.subresource());
    let content_type = text(&head.headers, &header::CONTENT_TYPE);
    let object = decode::decode(&context, content_type, &bytes, &wanted)?;
    Ok(Question { object, head, context })
}

fn answer(call: &Call<'_>, kind: &Kind, head: &Parts, object: &Value) -> Result<Answer, Status> {
    let accepted = call.accepted(kind, &head.headers, &[])?;
    Answer::object(StatusCode::CREATED, object, accepted)
}

/// POST of a kind without storage.
pub(crate) async fn create(
    call: &Call<'_>,
    kind: &Arc<Kind>,
    request: Request<Body>,
) -> Result<Answer, Status> {
    let Question { mut object, head, .. } = read(call, kind, request).await?;
    let status = match (&*kind.group, &*kind.kind) {
        ("authorization.k8s.io", "SubjectAccessReview") => access::subject(call, kind, &object).await?,
        ("authorization.k8s.io", "LocalSubjectAccessReview") => access::local(call, kind, &object).await?,
        ("authorization.k8s.io", "SelfSubjectAccessReview") => access::own(call, kind, &object).await?,
        ("authorization.k8s.io", "SelfSubjectRulesReview") => access::rules(call, &object)?,
        ("authentication.k8s.io", "SelfSubjectReview") => {
            object["metadata"]["creationTimestamp"] = json!(time_text(call.now)?);
            json!({ "userInfo": user_json(&call.user) })
        }
        ("authentication.k8s.io", "TokenReview") => identity::token(call, &object).await?,
        _ => return Err(Status::internal(format!("{} has no handler", kind.kind))),
    };
    object["status"] = status;
    answer(call, kind, &head, &object)
}

/// metav1 Time.
fn time_text(time: OffsetDateTime) -> Result<String, Status> {
    let whole = time.replace_nanosecond(0).map_err(Status::internal)?;
    whole.format(&Rfc3339).map_err(Status::internal)
}

/// `authentication.k8s.io/v1` UserInfo.
fn user_json(user: &UserInfo) -> Value {
    let mut out = json!({ "username": user.name, "groups": user.groups });
    if !user.uid.is_empty() {
        out["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        out["extra"] = json!(user.extra);
    }
    out
}

/// A list of texts in an object.
fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// The `extra` map of a user in an object, keys in lower case as upstream's.
fn extra(value: &Value) -> BTreeMap<String, Vec<String>> {
    let entries = value.as_object().into_iter().flatten();
    entries.map(|(key, values)| (key.to_ascii_lowercase(), texts(values))).collect()
}

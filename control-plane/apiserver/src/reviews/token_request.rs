//! `serviceaccounts/token`: a token for a ServiceAccount, bound to a pod, secret or node.
//!
//! Source of the rules: upstream's `pkg/registry/core/serviceaccount/storage/token.go` and its validation.

use super::{Question, answer, read, texts, time_text};
use crate::{resources::Call, response::Answer, wire::Body};
use http::Request;
use keelson_auth::authn::token::{
    Binding, DEFAULT_EXPIRATION_SECONDS, ObjectRef, TokenRequest, validate_expiration_seconds,
};
use keelson_registry::{
    admit::{Attributes, Operation},
    entry::Entry,
    kind::Kind,
    status::{GroupKind, GroupResource, Status},
};
use keelson_schema::{FieldError, Path};
use serde_json::{Value, json};
use std::sync::Arc;

/// POST on `serviceaccounts/NAME/token`.
pub(crate) async fn token_request(
    call: &Call<'_>,
    kind: &Arc<Kind>,
    request: Request<Body>,
) -> Result<Answer, Status> {
    let Question { mut object, head, context } = read(call, kind, request).await?;
    let (namespace, name) = (call.info.namespace.as_str(), call.info.name.as_str());
    check_metadata(&object, namespace, name)?;
    let account = call.inner().registry.get(kind, Some(namespace), name, None).await?;
    if object["spec"]["expirationSeconds"].is_null() {
        object["spec"]["expirationSeconds"] = json!(DEFAULT_EXPIRATION_SECONDS);
    }
    let attributes = Attributes {
        user: &context.user,
        kind,
        subresource: "token",
        namespace,
        name,
        operation: Operation::Create,
        dry_run: context.dry_run,
        old: None,
        options: keelson_registry::Options {
            field_manager: &context.field_manager,
            field_validation: Some(context.field_validation),
            deletion: None,
        },
        warnings: &context.warnings,
        annotations: &context.annotations,
        now: context.now,
    };
    let admission = &call.inner().admission;
    admission.mutate(&attributes, Some(&mut object)).await?;
    let expiration_seconds = expiration(&object)?;
    admission.validate(&attributes, Some(&object)).await?;
    let binding = binding(call, &object["spec"]["boundObjectRef"], namespace, name).await?;
    let mut audiences = texts(&object["spec"]["audiences"]);
    if audiences.is_empty() {
        audiences.clone_from(&call.inner().identity.api_audiences);
    }
    let issued = call
        .inner()
        .identity
        .issuer
        .issue(
            &TokenRequest {
                namespace: namespace.to_owned(),
                service_account: reference(&account),
                binding,
                audiences: audiences.clone(),
                expiration_seconds,
            },
            context.now,
        )
        .map_err(Status::internal)?;
    object["spec"]["audiences"] = json!(audiences);
    object["metadata"] =
        json!({ "name": name, "namespace": namespace, "creationTimestamp": time_text(context.now)? });
    object["status"] = json!({ "token": issued.token, "expirationTimestamp": time_text(issued.expires)? });
    answer(call, kind, &head, &object)
}

fn check_metadata(object: &Value, namespace: &str, name: &str) -> Result<(), Status> {
    for (key, wanted, text) in [
        ("name", name, "must match the service account name"),
        ("namespace", namespace, "must match the service account namespace"),
    ] {
        let given = object["metadata"][key].as_str().unwrap_or_default();
        if !given.is_empty() && given != wanted {
            return Err(invalid(FieldError::invalid(&Path::new("metadata").child(key), given, text)));
        }
    }
    Ok(())
}

fn invalid(error: FieldError) -> Status {
    Status::invalid(&GroupKind::new("authentication.k8s.io", "TokenRequest"), "", vec![error])
}

fn expiration(object: &Value) -> Result<i64, Status> {
    let seconds = object["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_EXPIRATION_SECONDS);
    validate_expiration_seconds(seconds).map_err(|detail| {
        invalid(FieldError::invalid(&Path::new("spec").child("expirationSeconds"), seconds, detail))
    })?;
    Ok(seconds)
}

fn reference(entry: &Entry) -> ObjectRef {
    ObjectRef { name: entry.head.name().to_owned(), uid: entry.head.uid.to_string() }
}

/// Finds what the token shall be bound to and checks that it is what the request means.
async fn binding(call: &Call<'_>, wanted: &Value, namespace: &str, account: &str) -> Result<Binding, Status> {
    if wanted.is_null() {
        return Ok(Binding::None);
    }
    let text = |key: &str| wanted[key].as_str().unwrap_or_default();
    let (kind, name) = (text("kind"), text("name"));
    let plural = match (text("apiVersion"), kind) {
        ("v1", "Pod") => "pods",
        ("v1", "Secret") => "secrets",
        ("v1", "Node") => "nodes",
        (version, _) => {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to object type {version}, Kind={kind}"
            )));
        }
    };
    let entry = find(call, plural, namespace, name).await?;
    let uid = text("uid");
    if !uid.is_empty() && uid != &*entry.head.uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict(&GroupResource::new("", kind.to_owned()), name, why));
    }
    match plural {
        "secrets" => Ok(Binding::Secret(reference(&entry))),
        "nodes" => Ok(Binding::Node(reference(&entry))),
        _ => pod_binding(call, &entry, account).await,
    }
}

async fn pod_binding(call: &Call<'_>, entry: &Entry, account: &str) -> Result<Binding, Status> {
    let pod = entry.to_value();
    if pod["spec"]["serviceAccountName"].as_str() != Some(account) {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        )));
    }
    let node = match pod["spec"]["nodeName"].as_str().filter(|name| !name.is_empty()) {
        None => None,
        Some(name) => Some(match find(call, "nodes", "", name).await {
            Ok(node) => reference(&node),
            Err(status) if status.code == 404 => ObjectRef { name: name.to_owned(), uid: String::new() },
            Err(status) => return Err(status),
        }),
    };
    Ok(Binding::Pod { pod: reference(entry), node })
}

async fn find(call: &Call<'_>, plural: &str, namespace: &str, name: &str) -> Result<Arc<Entry>, Status> {
    let registry = &call.inner().registry;
    let kind = registry
        .table()
        .by_resource("", "v1", plural)
        .cloned()
        .ok_or_else(|| Status::internal(format!("{plural} are not served")))?;
    let namespace = kind.namespaced.then_some(namespace);
    registry.get(&kind, namespace, name, None).await
}

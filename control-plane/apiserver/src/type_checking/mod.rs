//! What of a ValidatingAdmissionPolicy's expressions does not fit the types of the kinds that it names, written into its
//! status, as upstream's controller validatingadmissionpolicy-status-controller does.
//!
//! ```text
//! watch of policies ──generation not observed──> check (pure, over the kind table) ──> apply of the status, over the API
//! ```
//! It is here and not among the controllers because kinds and their schemas are at hand here. Every API server does it; whoever comes
//! second changes nothing. As upstream a policy is not looked at again when a kind that it names appears or changes, but
//! with its own next change.

mod check;

use crate::{
    in_process_client,
    server::{ApiServer, Inner},
};
use futures::StreamExt;
use http::{Request, header::CONTENT_TYPE};
use keelson_auth::{
    UserInfo,
    user::{service_account_groups, service_account_user},
};
use keelson_registry::{WatchEvent, WatchOptions, kind::Kind, meta, status::Status};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

const GROUP: &str = "admissionregistration.k8s.io";
const PLURAL: &str = "validatingadmissionpolicies";
/// Who owns what is written, and the account that the role is bound to: upstream's name.
const MANAGER: &str = "validatingadmissionpolicy-status-controller";
/// Before a lost watch, or a write that failed, is begun again.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until the server shuts down.
pub(crate) async fn keep(server: ApiServer) {
    let Some(kind) = server.inner.table().by_resource(GROUP, "v1", PLURAL).cloned() else { return };
    let account = service_account_user("kube-system", MANAGER);
    let user = UserInfo::authenticated(account, service_account_groups("kube-system"));
    let client = in_process_client(&server, user, "kube-apiserver");
    let work = async {
        loop {
            if let Err(status) = follow(&server.inner, &kind, &client).await {
                tracing::warn!(%status, "following admission policies to check their types; starting over");
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    tokio::select! {
        () = server.inner.shutdown.cancelled() => {}
        () = work => {}
    }
}

/// Why a policy was not checked.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the check ended in a panic")]
    Check,
    #[error("the status cannot be written: {0}")]
    Write(kube::Error),
}

/// Until the watch ends, or a while after a policy failed: then all are looked at again. One that fails does not hold up others.
async fn follow(inner: &Inner, kind: &Arc<Kind>, client: &kube::Client) -> Result<(), Status> {
    let everything = WatchOptions { resource_version: "0".to_owned(), ..WatchOptions::default() };
    let mut events = inner.registry.watch(kind, None, &everything).await?;
    let mut failed = false;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = tokio::time::sleep(RETRY), if failed => return Ok(()),
        };
        match event {
            Some(WatchEvent::Added(entry, _) | WatchEvent::Modified(entry, _)) => {
                if let Err(error) = settle(inner, entry.to_value(), client).await {
                    tracing::warn!(policy = entry.head.name(), %error, "checking the types of an admission policy");
                    failed = true;
                }
            }
            Some(WatchEvent::Error(status)) => return Err(status),
            Some(WatchEvent::Deleted(..) | WatchEvent::Bookmark { .. }) => {}
            None => return Ok(()),
        }
    }
}

async fn settle(inner: &Inner, policy: Value, client: &kube::Client) -> Result<(), Failure> {
    let observed = meta::number(&policy, &["status", "observedGeneration"]).unwrap_or_default();
    if meta::generation(&policy) <= observed {
        return Ok(());
    }
    let name = meta::field(&policy, "name").to_owned();
    // The table is at least as new as the policy: both come from the store in its order.
    let table = inner.table();
    let checked = tokio::task::spawn_blocking(move || check::status(&policy, &table)).await;
    let status = checked.map_err(|_| Failure::Check)?;
    match apply(client, &name, &status).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        Err(error) => Err(Failure::Write(error)),
    }
}

async fn apply(client: &kube::Client, name: &str, status: &Value) -> Result<Value, kube::Error> {
    let body = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name}, "status": status,
    });
    let uri = format!("/apis/{GROUP}/v1/{PLURAL}/{name}/status?fieldManager={MANAGER}&force=true");
    let request = Request::patch(uri)
        .header(CONTENT_TYPE, "application/apply-patch+yaml")
        .body(body.to_string().into_bytes())
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}

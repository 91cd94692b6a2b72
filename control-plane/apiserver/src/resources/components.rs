//! ComponentStatus: how scheduler, controllers and store are, asked when somebody asks. Nothing of it is stored.
//!
//! What runs in this process is as its task is; what runs elsewhere shows its life by the Lease that it renews
//! (`keelson_harness::leader`), as there is no other thing of it that every API server sees. The store is read.
//! Source: the API reference's ComponentStatus, which upstream has deprecated since 1.19.

use super::{
    Call, form,
    stream::ListMeta,
    table::{self, Frame, IncludeObject},
};
use crate::{request::accept::Form, response::Answer};
use bytes::BytesMut;
use http::{HeaderMap, StatusCode};
use keelson_registry::{kind::Kind, status::Status};
use keelson_semantics::timestamp;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use time::OffsetDateTime;
use tokio::task::AbortHandle;

/// How long the store may take to answer.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// The components by their Leases' names, and what ComponentStatus calls them, in its order.
const COMPONENTS: [(&str, &str); 2] =
    [("kube-controller-manager", "controller-manager"), ("kube-scheduler", "scheduler")];
const STORE: &str = "etcd-0";

/// The components that run in this process, by the names of their Leases, and their tasks.
pub(crate) type Running = Vec<(&'static str, AbortHandle)>;

/// GET and LIST.
pub(crate) async fn read(call: &Call<'_>, kind: &Arc<Kind>, headers: &HeaderMap) -> Result<Answer, Status> {
    for option in ["labelSelector", "fieldSelector"] {
        if call.query.non_empty(option).is_some() {
            return Err(Status::bad_request(format!("{option} of componentstatuses is not supported")));
        }
    }
    let is_list = call.info.name.is_empty();
    let partial = if is_list { Form::MetadataList } else { Form::Metadata };
    let accepted = call.accepted(kind, headers, &[Form::Table, partial])?;
    let objects = statuses(call).await;
    let objects: Vec<Value> = match is_list {
        true => objects,
        false => {
            let named = objects.into_iter().find(|object| object["metadata"]["name"] == call.info.name);
            vec![named.ok_or_else(|| Status::not_found(&kind.group_resource(), &call.info.name))?]
        }
    };
    if accepted.form == Form::Table {
        let include = IncludeObject::parse(call.query)?;
        let frame = Frame { include, version: accepted.meta, with_columns: true };
        let bytes = table::of_values(kind, &ListMeta::default(), &objects, frame, call.now)?;
        return form::rendered(StatusCode::OK, bytes, accepted);
    }
    let mut shown = Vec::with_capacity(objects.len());
    for object in objects {
        if accepted.form == partial {
            let mut out = BytesMut::new();
            form::write_metadata_of(object.to_string().as_bytes(), accepted.meta, &mut out)?;
            shown.push(serde_json::from_slice(&out).map_err(Status::internal)?);
        } else {
            shown.push(object);
        }
    }
    if !is_list {
        return Answer::object(StatusCode::OK, &shown[0], accepted);
    }
    let (api_version, list) = match accepted.form {
        form if form == partial => (accepted.meta.api_version().to_owned(), "PartialObjectMetadataList"),
        _ => (kind.api_version(), &*kind.list_kind),
    };
    let list = json!({"kind": list, "apiVersion": api_version, "metadata": {}, "items": shown});
    Answer::object(StatusCode::OK, &list, accepted)
}

async fn statuses(call: &Call<'_>) -> Vec<Value> {
    let mut all = Vec::with_capacity(COMPONENTS.len() + 1);
    for (lease, name) in COMPONENTS {
        let running = call.inner().components.get().and_then(|running| {
            running.iter().find(|(known, _)| *known == lease).map(|(_, task)| task.is_finished())
        });
        let health = match running {
            Some(false) => Ok(()),
            Some(true) => Err("its task in this process has ended".to_owned()),
            None => elsewhere(call, lease).await,
        };
        all.push(component(name, health));
    }
    // In the order of their names: the store is between both.
    all.insert(1, component(STORE, store(call).await));
    all
}

fn component(name: &str, health: Result<(), String>) -> Value {
    let condition = match health {
        Ok(()) => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Err(error) => json!({"type": "Healthy", "status": "False", "error": error}),
    };
    json!({
        "kind": "ComponentStatus",
        "apiVersion": "v1",
        "metadata": {"name": name, "creationTimestamp": null},
        "conditions": [condition],
    })
}

/// By the Lease of a component that runs in another process.
async fn elsewhere(call: &Call<'_>, name: &str) -> Result<(), String> {
    let inner = call.inner();
    let table = inner.table();
    let leases = table.by_resource("coordination.k8s.io", "v1", "leases").ok_or("leases are not served")?;
    let read = inner.registry.get(leases, Some("kube-system"), name, Some("0"));
    match read.await {
        Ok(lease) => is_renewed(&lease.to_value()["spec"], call.now),
        Err(status) if status.code == 404 => {
            Err(format!("it does not run in this process, and there is no Lease kube-system/{name}"))
        }
        Err(status) => Err(status.message),
    }
}

fn is_renewed(spec: &Value, now: OffsetDateTime) -> Result<(), String> {
    let at = spec["renewTime"].as_str().unwrap_or_default();
    let renewed = timestamp::parse(at).map_err(|_| "its Lease was never renewed".to_owned())?;
    let lasting = Duration::from_secs(spec["leaseDurationSeconds"].as_u64().unwrap_or_default());
    if spec["holderIdentity"].as_str().unwrap_or_default().is_empty() {
        return Err(format!("its Lease was given up at {at}"));
    }
    if renewed + lasting < now {
        return Err(format!("its Lease was last renewed at {at}"));
    }
    Ok(())
}

/// A read that the store must answer for; what it is of does not matter, nor whether that is there.
async fn store(call: &Call<'_>) -> Result<(), String> {
    let inner = call.inner();
    let table = inner.table();
    let kind = table.by_resource("", "v1", "namespaces").ok_or("namespaces are not served")?;
    match tokio::time::timeout(STORE_TIMEOUT, inner.registry.get(kind, None, "kube-system", None)).await {
        Ok(Err(status)) if status.code != 404 => Err(status.message),
        Ok(_) => Ok(()),
        Err(_) => Err(format!("it has not answered within {} s", STORE_TIMEOUT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_lease_shows_life_while_it_is_renewed() {
        let lease = |holder: &str, at: &str| json!({"holderIdentity": holder, "renewTime": at, "leaseDurationSeconds": 15});
        let now = datetime!(2026-01-01 00:00:20 UTC);
        let rows = [
            (lease("a", "2026-01-01T00:00:10.000000Z"), ""),
            (
                lease("a", "2026-01-01T00:00:04.000000Z"),
                "its Lease was last renewed at 2026-01-01T00:00:04.000000Z",
            ),
            (
                lease("", "2026-01-01T00:00:19.000000Z"),
                "its Lease was given up at 2026-01-01T00:00:19.000000Z",
            ),
            (json!({"holderIdentity": "a"}), "its Lease was never renewed"),
        ];
        for (spec, expected) in rows {
            assert_eq!(is_renewed(&spec, now).err().unwrap_or_default(), expected);
        }
    }
}

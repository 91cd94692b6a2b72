//! What flow control is told of a request: who asks, for what, and how many seats it takes. Who goes on is keelson-flow's to say.
//!
//! Streams of pods and nodes are not subject to it, as upstream. A watch holds its seat until its first events are at hand, a list
//! until it is written or, where it is large, until its first piece is: what follows is copied from the cache as fast as
//! the client reads, and a slow one shall not hold up others.

use crate::{
    request::{info::RequestInfo, query::Query},
    server::{ApiServer, Inner},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use keelson_auth::UserInfo;
use keelson_flow::{Asked, Class, FlowSchema, Gate, Malformed, Passed, PriorityLevel, Target, builtin};
use keelson_registry::status::Status;
use serde_json::Value;
use std::{
    sync::{Arc, OnceLock, atomic::Ordering::Relaxed},
    time::Duration,
};

/// Seats of one list at most, as upstream's `MaximumListSeatsLimit`.
const LIST_SEATS_MAX: u32 = 10;
/// Objects that a list shows for each of its seats, as upstream's `ObjectsPerSeat`.
const OBJECTS_PER_SEAT: u64 = 100;
/// The part of a request's time that it may wait for its turn, as upstream's.
const WAIT_PART: u32 = 4;

const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// A gate of so many seats, with the configuration that clusters start with.
pub(crate) fn gate(seats: u32, request_timeout: Duration) -> Result<Arc<Gate>, Malformed> {
    // No objects of the API yet, so that the uids are this process's own.
    let named = |mut object: Value| {
        object["metadata"]["uid"] = uuid::Uuid::new_v4().to_string().into();
        object
    };
    let read_schema = |object: Value| FlowSchema::read(&named(object));
    let read_level = |object: Value| PriorityLevel::read(&named(object));
    let schemas = builtin::flow_schemas().into_iter().map(read_schema).collect::<Result<_, _>>()?;
    let levels = builtin::priority_levels().into_iter().map(read_level).collect::<Result<_, _>>()?;
    Ok(Gate::new(seats, request_timeout / WAIT_PART, schemas, levels))
}

impl ApiServer {
    /// Waits for the request's turn; `class` gets its flow as soon as that is known. None where flow control does not apply.
    pub(crate) async fn pass(
        &self,
        user: &UserInfo,
        info: &RequestInfo,
        query: &Query,
        class: &OnceLock<Class>,
    ) -> Result<Option<Passed>, Status> {
        if info.is_long_running() && info.verb != "watch" {
            return Ok(None);
        }
        let target = match info.is_resource {
            false => Target::Path(&info.path),
            true => Target::Resource {
                group: &info.group,
                resource: &info.resource,
                subresource: &info.subresource,
                namespace: &info.namespace,
            },
        };
        let asked = Asked { user: &user.name, groups: &user.groups, verb: &info.verb, target };
        let wanted = width(info, query, || stored(&self.inner, info));
        match self.inner.gate.pass(&asked, |most| wanted.min(most)).await {
            Ok(passed) => {
                let _ = class.set(passed.class.clone());
                Ok(Some(passed))
            }
            Err(refused) => {
                if let Some(of) = refused.class {
                    let _ = class.set(of);
                }
                self.inner.metrics.rejected.fetch_add(1, Relaxed);
                Err(too_many())
            }
        }
    }
}

/// The 429 of a server that has enough to do.
pub(crate) fn too_many() -> Status {
    Status::too_many_requests("Too many requests, please try again later.", Duration::from_secs(1))
}

/// Names the flow in the answer.
pub(crate) fn name(class: &Class, headers: &mut HeaderMap) {
    for (header, uid) in [(SCHEMA_UID, &class.schema.uid), (LEVEL_UID, &class.level.uid)] {
        if let Ok(uid) = HeaderValue::from_str(uid) {
            headers.insert(header, uid);
        }
    }
}

/// Objects of the kind that is asked about.
fn stored(inner: &Inner, info: &RequestInfo) -> u64 {
    let table = inner.table();
    let kind = table.by_resource(&info.group, &info.version, &info.resource);
    kind.map_or(0, |kind| inner.registry.cached_count(kind))
}

/// Seats of a request: one, but for lists of many objects.
fn width(info: &RequestInfo, query: &Query, stored: impl FnOnce() -> u64) -> u32 {
    let lists = match info.verb.as_str() {
        "list" => true,
        "watch" => query.flag("sendInitialEvents"),
        _ => false,
    };
    if !lists || !info.name.is_empty() {
        return 1;
    }
    let limit = query.non_empty("limit").and_then(|text| text.parse().ok()).filter(|limit| *limit > 0);
    let objects = stored().min(limit.unwrap_or(u64::MAX));
    u32::try_from(objects.div_ceil(OBJECTS_PER_SEAT)).unwrap_or(u32::MAX).clamp(1, LIST_SEATS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    #[test]
    fn lists_are_as_wide_as_what_they_show() {
        let rows = [
            ("GET", "/api/v1/pods", 1),
            ("GET", "/api/v1/pods?x=450", 5),
            ("GET", "/api/v1/pods?x=450&limit=150", 2),
            ("GET", "/api/v1/pods?x=450&limit=0", 5),
            ("GET", "/api/v1/pods?x=450&fieldSelector=metadata.name%3Da", 1),
            ("GET", "/api/v1/pods?x=100000", 10),
            ("GET", "/api/v1/pods?x=450&watch=1", 1),
            ("GET", "/api/v1/pods?x=450&watch=1&sendInitialEvents=true", 5),
            ("GET", "/api/v1/namespaces/n/pods/p?x=450", 1),
            ("DELETE", "/api/v1/namespaces/n/pods?x=450", 1),
        ];
        for (method, uri, seats) in rows {
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            let query = Query::parse(query);
            let info = RequestInfo::parse(&method.parse::<Method>().unwrap(), path, &query).unwrap();
            let stored = || query.first("x").map_or(0, |text| text.parse().unwrap());
            assert_eq!(width(&info, &query, stored), seats, "{method} {uri}");
        }
    }
}

//! What flow control is told of a request: who asks, for what, and how many seats it takes. Who goes on is keelson-flow's to say.
//!
//! Streams of pods and nodes are not subject to it, as upstream. A watch holds its seat until its first events are at hand, a list
//! until it is written or, where it is large, until its first piece is: what follows is copied from the cache as fast as
//! the client reads, and a slow one shall not hold up others.

mod keep;

pub(crate) use keep::keep;

use crate::{
    request::{info::RequestInfo, query::Query},
    server::{ApiServer, Inner},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use keelson_auth::UserInfo;
use keelson_flow::{
    Asked, Class, Details, FlowSchema, Gate, Malformed, Passed, PriorityLevel, Target, builtin,
};
use keelson_registry::{meta, status::Status};
use serde_json::Value;
use std::{
    collections::HashSet,
    sync::{Arc, OnceLock},
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

/// API group of the objects that configure it.
const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// A gate of so many seats, with what is built in until there are objects.
pub(crate) fn gate(seats: u32, request_timeout: Duration) -> Arc<Gate> {
    let schemas = read([].iter(), "FlowSchema", FlowSchema::read);
    let levels = read([].iter(), "PriorityLevelConfiguration", PriorityLevel::read);
    Gate::new(seats, request_timeout / WAIT_PART, schemas, levels)
}

/// What objects of a kind say, and of the built-in ones those that are missing: all where there are none, else those that
/// nobody may be without. What cannot be read is as if it were not there.
fn read<'a, T>(
    objects: impl ExactSizeIterator<Item = &'a Value>,
    kind: &str,
    read: impl Fn(&Value) -> Result<T, Malformed>,
) -> Vec<T> {
    let is_empty = objects.len() == 0;
    let builtin = match kind {
        "FlowSchema" => builtin::flow_schemas(),
        _ => builtin::priority_levels(),
    };
    let one = |object: &'a Value| match read(object) {
        Ok(one) => Some((meta::field(object, "name"), one)),
        Err(error) => {
            tracing::error!(%error, "an object of flow control is passed over");
            None
        }
    };
    let (names, mut all): (HashSet<&str>, Vec<T>) = objects.filter_map(one).unzip();
    let missing = builtin.iter().filter(|object| {
        let name = meta::field(object, "name");
        is_empty || (builtin::MANDATORY.contains(&name) && !names.contains(name))
    });
    all.extend(missing.filter_map(|object| read(object).ok()));
    all
}

impl ApiServer {
    /// Waits for the request's turn, which has `limit` for all that it does; `class` gets its flow as soon as that is known. None
    /// where flow control does not apply.
    pub(crate) async fn pass(
        &self,
        user: &UserInfo,
        info: &RequestInfo,
        query: &Query,
        class: &OnceLock<Class>,
        limit: Duration,
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
        let details = || details(user, info);
        match self.inner.gate.pass(&asked, limit / WAIT_PART, |most| wanted.min(most), details).await {
            Ok(passed) => {
                let _ = class.set(passed.class.clone());
                Ok(Some(passed))
            }
            Err(refused) => {
                if let Some(of) = refused.class {
                    let _ = class.set(of);
                }
                Err(too_many())
            }
        }
    }
}

/// The 429 of a server that has enough to do.
pub(crate) fn too_many() -> Status {
    Status::too_many_requests("Too many requests, please try again later.", Duration::from_secs(1))
}

fn details(user: &UserInfo, info: &RequestInfo) -> Details {
    let api_version = match info.group.as_str() {
        "" => info.version.clone(),
        group => format!("{group}/{}", info.version),
    };
    Details {
        user: user.name.clone(),
        verb: info.verb.clone(),
        path: info.path.clone(),
        namespace: info.namespace.clone(),
        name: info.name.clone(),
        api_version,
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
    }
}

/// Names the flow in the answer, by what the API calls it.
pub(crate) fn name(class: &Class, headers: &mut HeaderMap) {
    for (header, uid) in [(SCHEMA_UID, &class.schema.uid), (LEVEL_UID, &class.level.uid)] {
        if let Ok(uid) = HeaderValue::from_str(uid)
            && !uid.is_empty()
        {
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

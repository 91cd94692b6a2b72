//! What aggregated servers serve, among what we serve: `/apis`, `/apis/GROUP`, and the index of OpenAPI v3.

use super::{
    check, headers,
    routes::{Found, Remote},
};
use crate::{
    discovery::{aggregated_answer, etag},
    proxy::{Forward, To, forward},
    request::accept::{Accepted, Form},
    response::Answer,
    server::ApiServer,
    wire::body,
};
use bytes::Bytes;
use http::{Request, StatusCode};
use keelson_registry::{meta, status::Status};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// Answers a path of discovery. `own` is our own document, in JSON, where we have one. None: there is nothing to add.
pub(crate) fn answer(
    server: &ApiServer,
    path: &str,
    accepted: Accepted,
    known: Option<&str>,
    own: impl FnOnce(Accepted) -> Option<Result<Answer, Status>>,
) -> Option<Result<Answer, Status>> {
    let remotes = server.inner.aggregation.remotes(&server.inner.registry);
    let group = path.strip_prefix("/apis/");
    let concerned =
        path == "/apis" || group.is_some_and(|group| remotes.iter().any(|one| one.group == group));
    if remotes.is_empty() || !concerned {
        return None;
    }
    let json = Accepted { encoding: Accepted::JSON.encoding, ..accepted };
    let mut document = match own(json) {
        None => json!({}),
        Some(Err(status)) => return Some(Err(status)),
        Some(Ok(Answer::Whole { bytes, .. })) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Some(Ok(streaming)) => return Some(Ok(streaming)),
    };
    if accepted.form == Form::Discovery && path == "/apis" {
        add_aggregated(&mut document, &remotes, &server.inner.aggregation.found());
        let bytes = Bytes::from(document.to_string());
        return Some(Ok(aggregated_answer(&bytes, &etag(&bytes), known)));
    }
    match group {
        Some(group) => {
            let own = std::mem::take(&mut document);
            document = with_versions(own, group, &remotes);
            document["kind"] = json!("APIGroup");
            document["apiVersion"] = json!("v1");
        }
        None => add_groups(&mut document, &remotes),
    }
    Some(Answer::object(StatusCode::OK, &document, accepted))
}

/// Groups in order of priority, each once.
fn groups(remotes: &[Arc<Remote>]) -> Vec<&str> {
    let mut sorted: Vec<&Arc<Remote>> = remotes.iter().collect();
    sorted.sort_by(|a, b| b.group_priority.cmp(&a.group_priority).then_with(|| a.group.cmp(&b.group)));
    let mut names: Vec<&str> = Vec::new();
    for remote in sorted {
        if !names.contains(&remote.group.as_str()) {
            names.push(&remote.group);
        }
    }
    names
}

/// Versions of a group in order of priority.
fn versions<'a>(group: &str, remotes: &'a [Arc<Remote>]) -> Vec<&'a Arc<Remote>> {
    let mut own: Vec<&Arc<Remote>> = remotes.iter().filter(|remote| remote.group == group).collect();
    own.sort_by_key(|remote| std::cmp::Reverse(remote.version_priority));
    own
}

/// The APIGroup with the versions that others serve behind our own.
fn with_versions(own: Value, group: &str, remotes: &[Arc<Remote>]) -> Value {
    let mut all = meta::items(&own, &["versions"]).to_vec();
    for remote in versions(group, remotes).into_iter().filter(|remote| remote.available) {
        let version =
            json!({"groupVersion": format!("{group}/{}", remote.version), "version": remote.version});
        if !all.contains(&version) {
            all.push(version);
        }
    }
    json!({"name": group, "preferredVersion": all.first(), "versions": all})
}

fn add_groups(list: &mut Value, remotes: &[Arc<Remote>]) {
    let mut all = meta::items(list, &["groups"]).to_vec();
    for name in groups(remotes) {
        let at = all.iter().position(|group| group["name"] == name);
        let group = with_versions(at.map(|at| all[at].clone()).unwrap_or_default(), name, remotes);
        match at {
            Some(at) => all[at] = group,
            None if group["versions"] == json!([]) => {}
            None => all.push(group),
        }
    }
    list["groups"] = json!(all);
}

fn add_aggregated(list: &mut Value, remotes: &[Arc<Remote>], found: &BTreeMap<String, Found>) {
    let mut items = meta::items(list, &["items"]).to_vec();
    for name in groups(remotes) {
        let at = items.iter().position(|group| meta::field(group, "name") == name).unwrap_or_else(|| {
            items.push(json!({"metadata": {"name": name}, "versions": []}));
            items.len() - 1
        });
        for remote in versions(name, remotes) {
            let own = found.get(&remote.name).cloned().unwrap_or_default();
            let freshness = if remote.available { "Current" } else { "Stale" };
            let version = json!({
                "version": remote.version,
                "resources": resources(remote, &own.resources),
                "freshness": freshness,
            });
            if let Some(all) = items[at]["versions"].as_array_mut() {
                all.push(version);
            }
        }
    }
    list["items"] = json!(items);
}

/// From the list of a version's document, where subresources stand beside resources, to the nested form.
fn resources(remote: &Remote, list: &[Value]) -> Vec<Value> {
    let text = |one: &Value, key: &str, absent: &str| {
        let own = meta::text(one, &[key]);
        if own.is_empty() { absent.to_owned() } else { own.to_owned() }
    };
    let kind = |one: &Value| {
        json!({
            "group": text(one, "group", &remote.group),
            "version": text(one, "version", &remote.version),
            "kind": one["kind"],
        })
    };
    let name = |one: &Value| meta::text(one, &["name"]).to_owned();
    let own = list.iter().filter(|one| !name(one).contains('/'));
    own.map(|one| {
        let prefix = format!("{}/", name(one));
        let mut out = json!({
            "resource": name(one),
            "responseKind": kind(one),
            "scope": if one["namespaced"] == json!(true) { "Namespaced" } else { "Cluster" },
            "singularResource": meta::text(one, &["singularName"]),
            "verbs": one["verbs"],
        });
        for key in ["shortNames", "categories"] {
            if let Some(values) = meta::at(one, &[key]) {
                out[key] = values.clone();
            }
        }
        let subresources: Vec<Value> = list
            .iter()
            .filter_map(|sub| {
                let name = name(sub).strip_prefix(&prefix)?.to_owned();
                Some(json!({"subresource": name, "responseKind": kind(sub), "verbs": sub["verbs"]}))
            })
            .collect();
        if !subresources.is_empty() {
            out["subresources"] = json!(subresources);
        }
        out
    })
    .collect()
}

/// The OpenAPI v3 documents of others, compressed, each about its own paths alone.
pub(crate) fn documents(server: &ApiServer) -> Vec<Bytes> {
    let remotes = server.inner.aggregation.remotes(&server.inner.registry);
    let found = server.inner.aggregation.found();
    let document = |remote: &Arc<Remote>| found.get(&remote.name)?.openapi.as_ref()?.document.clone();
    remotes.iter().filter_map(document).collect()
}

/// A path below `/openapi/v3` that others have part in: the index with their documents, and the documents themselves.
pub(crate) async fn openapi(
    server: &ApiServer,
    path: &str,
    query: Option<&str>,
    own_index: impl AsyncFnOnce() -> Result<Answer, Status>,
) -> Option<Result<Answer, Status>> {
    let remotes = server.inner.aggregation.remotes(&server.inner.registry);
    if remotes.is_empty() {
        return None;
    }
    let found = server.inner.aggregation.found();
    let rest = path.strip_prefix("/openapi/v3")?.trim_start_matches('/');
    let url = |remote: &Remote| Some(found.get(&remote.name)?.openapi.as_ref()?.url.clone());
    if rest.is_empty() {
        let Answer::Whole { bytes, .. } = (match own_index().await {
            Ok(answer) => answer,
            Err(status) => return Some(Err(status)),
        }) else {
            return None;
        };
        let mut index: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        for remote in remotes.iter() {
            if let Some(url) = url(remote) {
                index["paths"][remote.path()] = json!({"serverRelativeURL": url});
            }
        }
        return Some(Ok(Answer::bytes(StatusCode::OK, "application/json", index.to_string())));
    }
    let remote = remotes.iter().find(|remote| remote.path() == rest)?;
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let how = Forward {
        to: To::Peer(remote.peer.clone()),
        path: format!("{path}{query}"),
        prefix: None,
        headers: headers::of(&check::own_user()),
    };
    let unavailable = |why: String| Status::unavailable(why);
    Some(match forward(server, how, Request::new(body::empty())).await {
        Ok(answer) => Ok(Answer::Streaming(answer)),
        Err(error) => Err(unavailable(format!("error trying to reach service: {error}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(group: &str, version: &str, available: bool) -> Arc<Remote> {
        let condition = json!({"type": "Available", "status": if available { "True" } else { "False" }});
        let object = json!({
            "metadata": {"name": format!("{version}.{group}")},
            "spec": {
                "group": group, "version": version, "groupPriorityMinimum": 100, "versionPriority": 10,
                "service": {"namespace": "n", "name": "s"}, "insecureSkipTLSVerify": true,
            },
            "status": {"conditions": [condition]},
        });
        Arc::new(Remote::read(&object).unwrap())
    }

    #[test]
    fn groups_of_others_stand_behind_our_own() {
        let remotes = [remote("x.example.com", "v1", true), remote("y.example.com", "v1", false)];
        let mut list = json!({"groups": [{"name": "apps", "versions": []}]});
        add_groups(&mut list, &remotes);
        let names: Vec<&Value> =
            list["groups"].as_array().unwrap().iter().map(|group| &group["name"]).collect();
        assert_eq!(names, ["apps", "x.example.com"]);
        assert_eq!(list["groups"][1]["preferredVersion"]["groupVersion"], "x.example.com/v1");
    }

    #[test]
    fn subresources_are_nested_and_what_cannot_be_asked_is_stale() {
        let remotes = [remote("x.example.com", "v1", true), remote("y.example.com", "v1", false)];
        let list = json!([
            {"name": "ducks", "singularName": "duck", "namespaced": true, "kind": "Duck", "verbs": ["get"]},
            {"name": "ducks/status", "kind": "Duck", "verbs": ["patch"]},
        ]);
        let found = Found { resources: list.as_array().unwrap().clone(), openapi: None };
        let mut document = json!({"items": []});
        add_aggregated(&mut document, &remotes, &BTreeMap::from([("v1.x.example.com".to_owned(), found)]));
        let version = &document["items"][0]["versions"][0];
        assert_eq!(version["freshness"], "Current");
        assert_eq!(version["resources"][0]["responseKind"]["group"], "x.example.com");
        assert_eq!(version["resources"][0]["subresources"][0]["subresource"], "status");
        assert_eq!(document["items"][1]["versions"][0]["freshness"], "Stale");
    }
}

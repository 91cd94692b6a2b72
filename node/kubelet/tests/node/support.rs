//! A scripted API server: just enough of pods, nodes, leases, events and config objects for a kubelet,
//! over the same `kube::Client` that it uses in a cluster. What it does not know is answered 404, so that
//! a request that nobody expected shows.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// How long a test waits for something to come true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What the server holds.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) pods: BTreeMap<String, Value>,
    /// ConfigMaps, Secrets and RuntimeClasses by `plural/name`.
    pub(crate) objects: BTreeMap<String, Value>,
    /// `reason: message` of events, in order.
    pub(crate) events: Vec<String>,
    pub(crate) node: Value,
    revision: u64,
    history: Vec<(u64, Bytes)>,
    watchers: Vec<mpsc::UnboundedSender<Bytes>>,
}

/// A handle on the server.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<()>>,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

fn answer(code: StatusCode, body: &Value) -> Answer {
    let body = Full::new(Bytes::from(body.to_string())).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}

fn not_found(what: &str) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("{what} not found"), "reason": "NotFound", "code": 404,
    });
    answer(StatusCode::NOT_FOUND, &status)
}

fn list(kind: &str, items: Vec<Value>, revision: u64) -> Answer {
    let list = json!({
        "kind": kind, "apiVersion": "v1",
        "metadata": { "resourceVersion": revision.to_string() }, "items": items,
    });
    answer(StatusCode::OK, &list)
}

impl Api {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), changed: Arc::new(watch::channel(()).0) }
    }

    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (parts, body) = request.into_parts();
                let bytes = body.collect_bytes().await?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(api.serve(
                    &parts.method,
                    &parts.uri,
                    &bytes,
                ))
            }
        });
        Client::new(service, "default")
    }

    fn serve(&self, method: &Method, uri: &http::Uri, body: &[u8]) -> Answer {
        let parts: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
        let query = uri.query().unwrap_or_default();
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let result = match (method.as_str(), &parts[..]) {
            ("GET", ["api", "v1", "pods"]) if query.contains("watch=true") => self.watch(query),
            ("GET", ["api", "v1", "pods"]) => {
                assert!(query.contains("spec.nodeName%3Dnode-1"), "{query}");
                let state = self.state.lock();
                list("PodList", state.pods.values().cloned().collect(), state.revision.max(1))
            }
            ("GET", ["api", "v1", "services"]) if query.contains("watch=true") => self.silence(),
            ("GET", ["api", "v1", "services"]) => list("ServiceList", Vec::new(), 1),
            ("POST", ["api", "v1", "nodes"]) => {
                self.state.lock().node = body.clone();
                answer(StatusCode::CREATED, &body)
            }
            ("PATCH", ["api", "v1", "nodes", _, "status"]) => {
                self.state.lock().node["status"] = without_directives(&body["status"]);
                answer(StatusCode::OK, &body)
            }
            ("PATCH", ["apis", "coordination.k8s.io", ..]) => answer(StatusCode::OK, &body),
            ("POST", ["api", "v1", "namespaces", _, "events"]) => {
                let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
                self.state.lock().events.push(format!("{}: {}", text("reason"), text("message")));
                answer(StatusCode::CREATED, &body)
            }
            ("PATCH", ["api", "v1", "namespaces", _, "events", _]) => answer(StatusCode::OK, &body),
            ("POST", ["api", "v1", "namespaces", _, "serviceaccounts", _, "token"]) => {
                let mut token = body;
                token["status"] =
                    json!({ "token": "secret-token", "expirationTimestamp": "2126-01-01T00:00:00Z" });
                answer(StatusCode::CREATED, &token)
            }
            ("GET", ["api", "v1", "namespaces", _, plural @ ("configmaps" | "secrets"), name]) => {
                match self.state.lock().objects.get(&format!("{plural}/{name}")) {
                    Some(object) => answer(StatusCode::OK, object),
                    None => not_found(name),
                }
            }
            ("GET", ["apis", "node.k8s.io", "v1", "runtimeclasses", name]) => {
                match self.state.lock().objects.get(&format!("runtimeclasses/{name}")) {
                    Some(object) => answer(StatusCode::OK, object),
                    None => not_found(name),
                }
            }
            ("PATCH", ["api", "v1", "namespaces", _, "pods", name, "status"]) => {
                self.patch_status(name, &body)
            }
            ("DELETE", ["api", "v1", "namespaces", _, "pods", name]) => self.finalize(name, &body),
            _ => not_found(uri.path()),
        };
        self.changed.send_replace(());
        result
    }

    fn silence(&self) -> Answer {
        let body = StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>());
        Response::new(UnsyncBoxBody::new(body))
    }

    /// Replays what came after the revision that is asked for, then goes on.
    fn watch(&self, query: &str) -> Answer {
        let (sender, receiver) = mpsc::unbounded_channel();
        let from = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        let from: u64 = from.expect("a watch begins at a revision").parse().unwrap();
        let mut state = self.state.lock();
        for (_, line) in state.history.iter().filter(|(revision, _)| *revision > from) {
            sender.send(line.clone()).unwrap();
        }
        state.watchers.push(sender);
        drop(state);
        let frames =
            UnboundedReceiverStream::new(receiver).map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
        Response::new(UnsyncBoxBody::new(StreamBody::new(frames)))
    }

    fn patch_status(&self, name: &str, patch: &Value) -> Answer {
        let mut state = self.state.lock();
        let Some(pod) = state.pods.get_mut(name) else { return not_found(name) };
        assert_eq!(patch["metadata"]["uid"], pod["metadata"]["uid"], "the uid is a precondition");
        for (key, value) in patch["status"].as_object().unwrap() {
            pod["status"][key] = without_directives(value);
        }
        let pod = pod.clone();
        Self::send(&mut state, "MODIFIED", pod.clone());
        answer(StatusCode::OK, &pod)
    }

    /// The kubelet's own delete: with grace 0 and the uid.
    fn finalize(&self, name: &str, options: &Value) -> Answer {
        let mut state = self.state.lock();
        let Some(pod) = state.pods.remove(name) else { return not_found(name) };
        assert_eq!(options["gracePeriodSeconds"], 0);
        assert_eq!(options["preconditions"]["uid"], pod["metadata"]["uid"]);
        Self::send(&mut state, "DELETED", pod.clone());
        answer(StatusCode::OK, &pod)
    }

    fn send(state: &mut State, kind: &str, mut pod: Value) {
        // Revision 1 is that of an empty list.
        state.revision = state.revision.max(1) + 1;
        pod["metadata"]["resourceVersion"] = state.revision.to_string().into();
        if kind != "DELETED" {
            let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
            state.pods.insert(name, pod.clone());
        }
        let line = Bytes::from(format!("{}\n", json!({ "type": kind, "object": pod })));
        state.history.push((state.revision, line.clone()));
        state.watchers.retain(|watcher| watcher.send(line.clone()).is_ok());
    }

    /// A pod bound to this node, with a uid of its own.
    pub(crate) fn create(&self, name: &str, spec: Value) {
        let mut state = self.state.lock();
        let mut spec = spec;
        spec["nodeName"] = "node-1".into();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "shop", "uid": format!("uid-{name}-{}", state.revision) },
            "spec": spec, "status": { "phase": "Pending" },
        });
        Self::send(&mut state, "ADDED", pod);
    }

    /// A user's change of the spec.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.state.lock();
        let mut pod = state.pods[name].clone();
        change(&mut pod["spec"]);
        Self::send(&mut state, "MODIFIED", pod);
    }

    /// A user's delete.
    pub(crate) fn delete(&self, name: &str, grace_seconds: u64) {
        let mut state = self.state.lock();
        let mut pod = state.pods[name].clone();
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        pod["metadata"]["deletionGracePeriodSeconds"] = grace_seconds.into();
        Self::send(&mut state, "MODIFIED", pod);
    }

    /// Waits until `reached` holds.
    pub(crate) async fn wait(&self, what: &str, mut reached: impl FnMut(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        let wait = async {
            while !reached(&self.state.lock()) {
                changed.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            let state = self.state.lock();
            panic!("{what} did not come true\npods: {:#?}\nevents: {:#?}", state.pods, state.events);
        }
    }
}

/// Status of one of the pod's conditions.
pub(crate) fn condition(state: &State, pod: &str, kind: &str) -> Option<String> {
    let conditions = state.pods.get(pod)?["status"]["conditions"].as_array()?.clone();
    let found = conditions.into_iter().find(|condition| condition["type"] == kind)?;
    found["status"].as_str().map(str::to_owned)
}

/// The first container's status.
pub(crate) fn container<'a>(state: &'a State, pod: &str) -> &'a Value {
    state.pods.get(pod).map_or(&Value::Null, |pod| &pod["status"]["containerStatuses"][0])
}

/// What a patch leaves in the object where every list is replaced.
fn without_directives(patch: &Value) -> Value {
    match patch {
        Value::Array(items) => {
            items.iter().filter(|item| item.get("$patch").is_none()).map(without_directives).collect()
        }
        Value::Object(fields) => Value::Object(
            fields.iter().map(|(key, value)| (key.clone(), without_directives(value))).collect(),
        ),
        other => other.clone(),
    }
}

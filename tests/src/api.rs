//! The API itself, for what kubectl is too slow or too clever for: polling, exact statuses, recorded watches.

use crate::cluster;
use anyhow::{Context, Result, bail, ensure};
use futures::TryStreamExt;
use http::Request;
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
    core::WatchEvent,
};
use serde_json::Value;
use std::{
    future::Future,
    sync::{LazyLock, OnceLock},
    time::Duration,
};
use tokio::{runtime::Runtime, task::JoinHandle};

/// Drives every client of this process: a connection's task lives on the runtime that made it.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime needs a thread and an epoll instance")
});

/// A request that hangs fails its test, with the request's name.
const REQUEST_MAX: Duration = Duration::from_secs(30);

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let _inside = RUNTIME.enter();
    RUNTIME.block_on(async { tokio::time::timeout(REQUEST_MAX, future).await.context("no answer in 30 s")? })
}

/// The administrator's client.
fn client() -> Result<Client> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client.clone());
    }
    let kubeconfig = Kubeconfig::read_from(cluster::kubeconfig()?)?;
    let client = block_on(async {
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    })?;
    Ok(CLIENT.get_or_init(|| client).clone())
}

/// What the server answered: the HTTP code and the body, which is a metav1.Status when it refused.
#[derive(Debug)]
pub struct Response {
    /// The HTTP status code.
    pub code: u16,
    /// The body; null when it was not JSON.
    pub body: Value,
}

impl Response {
    /// The reason of a metav1.Status.
    pub fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }

    /// The message of a metav1.Status.
    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// The fields that the causes of a metav1.Status name.
    pub fn fields(&self) -> Vec<&str> {
        let causes = self.body["details"]["causes"].as_array();
        causes.into_iter().flatten().filter_map(|cause| cause["field"].as_str()).collect()
    }
}

/// Merges a patch over an object; an error unless it was taken.
pub fn merge(path: &str, patch: &Value) -> Result<()> {
    let answer = send("PATCH", path, "application/merge-patch+json", &patch.to_string())?;
    ensure!(answer.code == 200, "PATCH {path} {patch}: {}", answer.message());
    Ok(())
}

/// One request as the administrator, whatever its answer.
pub fn send(method: &str, path: &str, content_type: &str, body: &str) -> Result<Response> {
    let client = client()?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type)
        .header("accept", "application/json")
        .body(Body::from(body.as_bytes().to_vec()))?;
    let answer = block_on(async move {
        let response = client.send(request).await?;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect_bytes().await?;
        Ok(Response { code, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    });
    answer.with_context(|| format!("{method} {path}"))
}

/// The object, or None when there is none. Any other refusal is an error.
pub fn find(path: &str) -> Result<Option<Value>> {
    let response = send("GET", path, "application/json", "")?;
    match response.code {
        200 => Ok(Some(response.body)),
        404 => Ok(None),
        code => bail!("GET {path}: {code} {}", response.message()),
    }
}

/// The object, which has to be there.
pub fn get(path: &str) -> Result<Value> {
    find(path)?.with_context(|| format!("GET {path}: not found"))
}

/// The items of a list.
pub fn list(path: &str) -> Result<Vec<Value>> {
    match get(path)?["items"].take() {
        Value::Array(items) => Ok(items),
        other => bail!("GET {path}: items is {other}"),
    }
}

/// Creates an object; a refusal is an error.
pub fn create(path: &str, object: &Value) -> Result<Value> {
    let response = send("POST", path, "application/json", &object.to_string())?;
    ensure!(response.code == 201, "POST {path}: {} {}", response.code, response.message());
    Ok(response.body)
}

/// Deletes an object in the background; one that is gone already is fine.
pub fn delete(path: &str) -> Result<()> {
    let response = send("DELETE", path, "application/json", "")?;
    let done = [200, 202, 404].contains(&response.code);
    ensure!(done, "DELETE {path}: {} {}", response.code, response.message());
    Ok(())
}

/// Every event of a watch, from the moment of the call on.
pub struct Recording {
    task: JoinHandle<Result<()>>,
    events: std::sync::Arc<std::sync::Mutex<Vec<(String, Value)>>>,
}

/// Starts to record the changes of a collection.
pub fn record(path: &str) -> Result<Recording> {
    let version = get(&format!("{path}?limit=1"))?["metadata"]["resourceVersion"].take();
    let version = version.as_str().context("a list without resourceVersion")?.to_string();
    let uri = format!("{path}?watch=true&resourceVersion={version}&timeoutSeconds=300");
    let (client, events) = (client()?, std::sync::Arc::<std::sync::Mutex<Vec<_>>>::default());
    let seen = events.clone();
    let task = RUNTIME.spawn(async move {
        let request = Request::get(&uri).body(Vec::new())?;
        let mut stream = std::pin::pin!(client.request_events::<Value>(request).await?);
        while let Some(event) = stream.try_next().await? {
            let (verb, object) = match event {
                WatchEvent::Added(object) => ("ADDED", object),
                WatchEvent::Modified(object) => ("MODIFIED", object),
                WatchEvent::Deleted(object) => ("DELETED", object),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(status) => bail!("the watch of {uri} ended: {}", status.message),
            };
            seen.lock().expect("nobody panics with it").push((verb.to_string(), object));
        }
        bail!("the watch of {uri} ended")
    });
    Ok(Recording { task, events })
}

impl Recording {
    /// What was seen so far; an error when the watch did not last until now.
    pub fn events(&self) -> Result<Vec<(String, Value)>> {
        ensure!(!self.task.is_finished(), "the watch ended before the test did");
        Ok(self.events.lock().expect("nobody panics with it").clone())
    }

    /// Names of the objects with an event of this verb (ADDED, MODIFIED, DELETED), in order, each once.
    pub fn names(&self, verb: &str) -> Result<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        for (seen, object) in self.events()? {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            if seen == verb && !names.iter().any(|known| known == name) {
                names.push(name.to_string());
            }
        }
        Ok(names)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.task.abort();
    }
}

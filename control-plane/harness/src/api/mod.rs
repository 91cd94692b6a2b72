//! The verbs of the Kubernetes API, over a `kube::Client`, on views and JSON values instead of generated types.
//!
//! It owns paths, query parameters, content types and errors. It does not own retries: a reconciler's queue does.

mod error;
mod metrics;
mod resource;
mod watch;

pub use error::{ApiError, Cause, chain};
pub use resource::*;
pub use watch::{RawEvent, WatchLines};

use crate::informer::Collection;
use error::cause_of;
use http_body_util::BodyExt;
use metrics::Calls;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// No call but a watch may take longer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Objects asked for in one answer of a list.
pub const LIST_PAGE_MAX: usize = 500;

/// A client of the API server, with the identity that whoever made the `kube::Client` gave it.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
    calls: Arc<Calls>,
}

/// How a body of PATCH is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 6902, a list of operations. A failed `test` is a conflict for us.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own: lists with keys are merged.
    Strategic,
}

impl PatchKind {
    fn content_type(self) -> &'static str {
        match self {
            PatchKind::Json => "application/json-patch+json",
            PatchKind::Merge => "application/merge-patch+json",
            PatchKind::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

/// What to do with the dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// The object now, its dependents by the garbage collector.
    Background,
    /// The dependents first.
    Foreground,
    /// Dependents stay, and lose the reference.
    Orphan,
}

/// metav1.DeleteOptions, as far as components use it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Delete this very object, not a later one of the same name.
    pub uid: Option<String>,
    /// Delete only this revision.
    pub resource_version: Option<String>,
    /// Seconds; `Some(0)` deletes at once.
    pub grace_period_seconds: Option<i64>,
    /// `None`: the kind's default.
    pub propagation: Option<Propagation>,
}

impl DeleteOptions {
    /// Delete the object with this uid only.
    pub fn uid(uid: &str) -> Self {
        Self { uid: Some(uid.to_owned()), ..Self::default() }
    }

    fn body(&self) -> Value {
        let mut body = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if let Some(seconds) = self.grace_period_seconds {
            body["gracePeriodSeconds"] = seconds.into();
        }
        if let Some(propagation) = self.propagation {
            body["propagationPolicy"] = format!("{propagation:?}").into();
        }
        if let Some(uid) = &self.uid {
            body["preconditions"]["uid"] = uid.as_str().into();
        }
        if let Some(version) = &self.resource_version {
            body["preconditions"]["resourceVersion"] = version.as_str().into();
        }
        body
    }
}

/// One page of a list.
#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub struct Page<T> {
    /// Revision and continuation.
    #[serde(default)]
    pub metadata: ListMeta,
    /// The objects of this page.
    #[serde(default = "Vec::new", deserialize_with = "crate::views::null_default")]
    pub items: Vec<T>,
}

/// metav1.ListMeta.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    /// The revision of the whole list.
    pub resource_version: String,
    /// Not empty: there is more.
    pub r#continue: String,
}

impl Api {
    /// Wraps a client of the API server in this process.
    pub fn new(client: kube::Client) -> Self {
        Self::of("in-process", client)
    }

    /// Wraps a client of the API server at `host` (`HOST:PORT`), by which its calls are counted.
    pub fn of(host: &str, client: kube::Client) -> Self {
        Self { client, calls: Arc::new(Calls::to(host)) }
    }

    /// Sends a request and counts what comes of it: an answer of whatever code, or no answer.
    async fn counted(
        &self,
        method: &'static str,
        request: http::Request<Vec<u8>>,
    ) -> Result<http::Response<kube::client::Body>, Cause> {
        let mut count = self.calls.begin(method);
        let answer = self.client.send(request.map(kube::client::Body::from)).await.map_err(cause_of)?;
        count.answered(answer.status());
        if answer.status().as_u16() < 400 {
            return Ok(answer);
        }
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(cause_of)?.to_bytes();
        Err(error::refused(code, &body))
    }

    async fn answer(&self, method: &'static str, request: http::Request<Vec<u8>>) -> Result<String, Cause> {
        let began = std::time::Instant::now();
        let answer = self.counted(method, request).await;
        self.calls.took(method, began.elapsed());
        let body = answer?.into_body().collect().await.map_err(cause_of)?.to_bytes();
        let text = String::from_utf8(body.into()).map_err(kube::Error::FromUtf8);
        text.map_err(cause_of)
    }

    async fn send(
        &self,
        method: &'static str,
        path: String,
        content: &str,
        body: Vec<u8>,
    ) -> Result<String, ApiError> {
        self.send_as(method, path, content, JSON, body).await
    }

    async fn send_as(
        &self,
        method: &'static str,
        path: String,
        content: &str,
        accept: &str,
        body: Vec<u8>,
    ) -> Result<String, ApiError> {
        let fail = |cause| ApiError { verb: method, path: path.clone(), cause };
        let request = http::Request::builder()
            .method(method)
            .uri(&path)
            .header(http::header::CONTENT_TYPE, content)
            .header(http::header::ACCEPT, accept)
            .body(body)
            .map_err(|e| fail(Cause::Transport(Box::new(kube::Error::HttpError(e)))))?;
        match tokio::time::timeout(REQUEST_TIMEOUT, self.answer(method, request)).await {
            Ok(answer) => answer.map_err(fail),
            Err(_) => Err(fail(Cause::TimedOut(REQUEST_TIMEOUT))),
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        path: String,
        content: &str,
        body: Vec<u8>,
    ) -> Result<T, ApiError> {
        let text = self.send(method, path.clone(), content, body).await?;
        serde_json::from_str(&text).map_err(|e| ApiError { verb: method, path, cause: Cause::Decode(e) })
    }

    /// GET of any path: discovery, a resource without a view.
    pub async fn get_path<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.call("GET", path.to_owned(), JSON, Vec::new()).await
    }

    /// GET of one object, from the server, not from a cache.
    pub async fn get<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        ns: Option<&str>,
        name: &str,
    ) -> Result<T, ApiError> {
        self.call("GET", resource.path(ns, Some(name), None), JSON, Vec::new()).await
    }

    /// GET where "it does not exist" is an answer.
    pub async fn find<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        ns: Option<&str>,
        name: &str,
    ) -> Result<Option<T>, ApiError> {
        match self.get(resource, ns, name).await {
            Ok(object) => Ok(Some(object)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// One page of a list, [`LIST_PAGE_MAX`] objects at most.
    pub async fn list_page<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        ns: Option<&str>,
        continue_token: &str,
    ) -> Result<Page<T>, ApiError> {
        let path = format!(
            "{}?limit={LIST_PAGE_MAX}{}",
            resource.path(ns, None, None),
            option("continue", continue_token)
        );
        self.call("GET", path, JSON, Vec::new()).await
    }

    /// One page of what a reflector follows.
    pub(crate) async fn list_collection<T: DeserializeOwned>(
        &self,
        source: &Collection,
        continue_token: &str,
    ) -> Result<Page<T>, ApiError> {
        let base = source.resource.path(None, None, None);
        let (fields, token) = (option("fieldSelector", source.fields), option("continue", continue_token));
        let path = format!("{base}?limit={LIST_PAGE_MAX}{fields}{token}");
        let text = self.send_as("GET", path.clone(), JSON, source.accept, Vec::new()).await?;
        serde_json::from_str(&text).map_err(|e| ApiError { verb: "GET", path, cause: Cause::Decode(e) })
    }

    /// POST of a new object.
    pub async fn create<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        ns: Option<&str>,
        object: &Value,
    ) -> Result<T, ApiError> {
        self.call("POST", resource.path(ns, None, None), JSON, object.to_string().into_bytes()).await
    }

    /// POST to a subresource (`binding`); the answer's body is of no interest.
    pub async fn create_sub(
        &self,
        resource: &Resource,
        ns: Option<&str>,
        name: &str,
        subresource: &str,
        object: &Value,
    ) -> Result<(), ApiError> {
        let path = resource.path(ns, Some(name), Some(subresource));
        self.send("POST", path, JSON, object.to_string().into_bytes()).await.map(drop)
    }

    /// PUT of a whole object or subresource (`finalize`).
    pub async fn replace<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        ns: Option<&str>,
        name: &str,
        subresource: Option<&str>,
        object: &Value,
    ) -> Result<T, ApiError> {
        self.call("PUT", resource.path(ns, Some(name), subresource), JSON, object.to_string().into_bytes())
            .await
    }

    /// PATCH of an object or a subresource.
    pub async fn patch<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        ns: Option<&str>,
        name: &str,
        subresource: Option<&str>,
        kind: PatchKind,
        patch: &Value,
    ) -> Result<T, ApiError> {
        let path = resource.path(ns, Some(name), subresource);
        self.call("PATCH", path, kind.content_type(), patch.to_string().into_bytes()).await
    }

    /// DELETE of one object. That it is gone already is an error here; see [`Api::ensure_deleted`].
    pub async fn delete(
        &self,
        resource: &Resource,
        ns: Option<&str>,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<(), ApiError> {
        let path = resource.path(ns, Some(name), None);
        self.send("DELETE", path, JSON, options.body().to_string().into_bytes()).await.map(drop)
    }

    /// DELETE after which the object with that uid is gone or going: absence and another uid are success.
    pub async fn ensure_deleted(
        &self,
        resource: &Resource,
        ns: Option<&str>,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<(), ApiError> {
        match self.delete(resource, ns, name, options).await {
            Err(e) if e.is_not_found() => Ok(()),
            Err(e) if e.is_conflict() && options.uid.is_some() && options.resource_version.is_none() => {
                Ok(())
            }
            other => other,
        }
    }

    /// DELETE of a whole collection, in the background.
    pub async fn delete_collection(&self, resource: &Resource, ns: &str) -> Result<(), ApiError> {
        let options =
            DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        let path = resource.path(Some(ns), None, None);
        self.send("DELETE", path, JSON, options.body().to_string().into_bytes()).await.map(drop)
    }

    /// A watch over all namespaces from a revision, until `timeout` passes or the server ends it.
    pub(crate) async fn watch(
        &self,
        source: &Collection,
        from: &str,
        timeout: Duration,
    ) -> Result<WatchLines, ApiError> {
        let (base, fields) = (source.resource.path(None, None, None), option("fieldSelector", source.fields));
        let (seconds, from) = (timeout.as_secs(), option("resourceVersion", from));
        let path = format!("{base}?watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}{from}{fields}");
        watch::open(self, path, source.accept).await
    }
}

/// `&name=value`, or nothing if the value is empty.
fn option(name: &str, value: &str) -> String {
    if value.is_empty() {
        return String::new();
    }
    format!("&{name}={}", percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC))
}

const JSON: &str = "application/json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delete_options_say_no_more_than_was_asked() {
        assert_eq!(DeleteOptions::default().body(), json!({"apiVersion": "v1", "kind": "DeleteOptions"}));
        let all = DeleteOptions {
            uid: Some("u".into()),
            resource_version: Some("7".into()),
            grace_period_seconds: Some(0),
            propagation: Some(Propagation::Foreground),
        };
        let body = all.body();
        assert_eq!(body["preconditions"], json!({"uid": "u", "resourceVersion": "7"}));
        assert_eq!(body["gracePeriodSeconds"], 0);
        assert_eq!(body["propagationPolicy"], "Foreground");
    }
}

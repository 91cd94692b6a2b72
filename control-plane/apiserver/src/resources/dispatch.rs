//! From an authorised request to its handler: which kind, which subresource, which verb.

use super::{components, delete, evict, protobuf, read, watch, write};
use crate::{
    metrics::LongRunning,
    pods, proxy,
    request::{
        accept::{Accepted, Form},
        info::RequestInfo,
        query::Query,
    },
    response::Answer,
    reviews,
    server::{ApiServer, Inner},
    system,
    wire::Body,
};
use http::{HeaderMap, Method, Request};
use keelson_auth::UserInfo;
use keelson_registry::{
    context::{Annotations, Context, Warnings},
    kind::Kind,
    status::Status,
};
use std::sync::Arc;
use time::OffsetDateTime;

/// A request on a resource with all that handlers need to know of it.
#[derive(Clone)]
pub(crate) struct Call<'a> {
    /// The server.
    pub(crate) server: &'a ApiServer,
    /// What is asked.
    pub(crate) info: &'a RequestInfo,
    /// Its options.
    pub(crate) query: &'a Query,
    /// Who asks.
    pub(crate) user: Arc<UserInfo>,
    /// Collects Warning headers.
    pub(crate) warnings: Warnings,
    /// Collects annotations for the audit log.
    pub(crate) annotations: Annotations,
    /// Large answers may be compressed.
    pub(crate) gzip: bool,
    /// Held as long as a watch or stream lasts; None for what is short.
    pub(crate) running: Option<LongRunning>,
    /// When.
    pub(crate) now: OffsetDateTime,
}

impl<'a> Call<'a> {
    /// A request that begins now.
    #[expect(clippy::too_many_arguments, reason = "each is another thing that handlers need")]
    pub(crate) fn new(
        server: &'a ApiServer,
        info: &'a RequestInfo,
        query: &'a Query,
        user: Arc<UserInfo>,
        warnings: Warnings,
        annotations: Annotations,
        gzip: bool,
        running: Option<LongRunning>,
    ) -> Self {
        let now = OffsetDateTime::now_utc();
        Self { server, info, query, user, warnings, annotations, gzip, running, now }
    }

    /// The server's parts.
    pub(crate) fn inner(&self) -> &'a Inner {
        &self.server.inner
    }

    /// The namespace of the path, for a namespaced kind; None spans all.
    pub(crate) fn namespace(&self, kind: &Kind) -> Option<&'a str> {
        (kind.namespaced && !self.info.namespace.is_empty()).then_some(self.info.namespace.as_str())
    }

    /// The subresource of the path.
    pub(crate) fn subresource(&self) -> Option<&'a str> {
        (!self.info.subresource.is_empty()).then_some(self.info.subresource.as_str())
    }

    /// The form and encoding of the answer: an object of the kind, or of its subresource where that has one of its own.
    pub(crate) fn accepted(
        &self,
        kind: &Kind,
        headers: &HeaderMap,
        forms: &[Form],
    ) -> Result<Accepted, Status> {
        let protobuf = protobuf::type_of(kind, self.subresource()).is_some();
        system::negotiated_object(headers, forms, self.query, protobuf)
    }

    /// The registry's view of the request, with default write options.
    pub(crate) fn context(&self) -> Context {
        Context {
            now: self.now,
            warnings: self.warnings.clone(),
            annotations: self.annotations.clone(),
            ..Context::new(self.user.clone())
        }
    }
}

/// Annotation of the audit log: the version asked for will go.
const DEPRECATED: &str = "k8s.io/deprecated";

/// Subresources that are streams from the pod's node.
const NODE_STREAMS: [&str; 4] = ["log", "exec", "attach", "portforward"];

/// Answers a request on a resource.
pub(crate) async fn dispatch(call: Call<'_>, request: Request<Body>) -> Result<Answer, Status> {
    let info = call.info;
    let Some(kind) = call.inner().table().by_resource(&info.group, &info.version, &info.resource).cloned()
    else {
        return Ok(system::not_found());
    };
    let kind = &kind;
    // What is of the cluster is not found in a namespace, Namespaces least of all: who may do everything in one would else
    // have been asked about that one alone, and given any.
    let astray = !kind.namespaced && info.in_namespace;
    if astray || (!info.trailing.is_empty() && info.subresource != "proxy") {
        return Ok(system::not_found());
    }
    check_subresource(kind, info)?;
    let passed_on = info.subresource == "proxy" && proxy::passes(request.method());
    if !passed_on && !served(kind, info) {
        return Err(not_allowed(kind, request.method()));
    }
    if let Some(warning) = kind.deprecation() {
        call.warnings.add(warning);
        call.annotations.add(DEPRECATED, || "true".to_owned());
        let object = [&*info.group, &*info.version, &*info.resource, &*info.subresource];
        call.inner().metrics.deprecated(object, "");
    }
    if kind.resource() == ("", "bindings") {
        return write::bind(&call, kind, request).await;
    }
    if kind.resource() == ("", "componentstatuses") {
        return components::read(&call, kind, request.headers()).await;
    }
    if !kind.is_stored() {
        return reviews::create(&call, kind, request).await;
    }
    let subresource = info.subresource.as_str();
    match (&*kind.plural, subresource) {
        ("pods", sub) if kind.group.is_empty() && NODE_STREAMS.contains(&sub) => {
            return pods::stream(&call, kind, request).await;
        }
        ("pods", "eviction") if kind.group.is_empty() => return evict::create(&call, kind, request).await,
        ("pods" | "services" | "nodes", "proxy") if kind.group.is_empty() => {
            return proxy::answer(&call, kind, request).await;
        }
        ("serviceaccounts", "token") => return reviews::token_request(&call, kind, request).await,
        _ => {}
    }
    match info.verb.as_str() {
        "get" => read::get(&call, kind, request.headers()).await,
        "list" => read::list(&call, kind, request.headers()).await,
        "watch" => watch::watch(&call, kind, request.headers()).await,
        "create" => write::create(&call, kind, request).await,
        "update" => write::update(&call, kind, request).await,
        "patch" => write::patch(&call, kind, request).await,
        "delete" => delete::delete(&call, kind, request).await,
        "deletecollection" => delete::collection(&call, kind, request).await,
        _ => Err(not_allowed(kind, request.method())),
    }
}

/// 404 for a subresource that the kind has not; one that Kubernetes has and we have not is among them, and named.
fn check_subresource(kind: &Kind, info: &RequestInfo) -> Result<(), Status> {
    if info.subresource.is_empty() || kind.subresource(&info.subresource).is_some() {
        return Ok(());
    }
    let mut status = Status::no_such_path();
    status.message = format!("{}: {}/{} is not served here", status.message, kind.plural, info.subresource);
    Err(status)
}

/// Whether the kind, or its subresource, has the verb and the path the form that goes with it.
fn served(kind: &Kind, info: &RequestInfo) -> bool {
    let verb = info.verb.as_str();
    let needs_namespace = kind.namespaced && info.namespace.is_empty();
    if !info.subresource.is_empty() {
        let has_verb = kind.subresource(&info.subresource).is_some_and(|sub| sub.verbs.contains(&verb));
        return has_verb && !needs_namespace;
    }
    // Objects are created on the collection and read, changed and deleted by name.
    let by_name = info.named_by_path;
    let path_fits = match verb {
        "create" | "list" | "deletecollection" => !by_name,
        "get" | "update" | "patch" | "delete" => by_name,
        _ => true,
    };
    let namespace_fits = !needs_namespace || matches!(verb, "list" | "watch");
    path_fits && namespace_fits && kind.verbs.contains(&verb)
}

fn not_allowed(kind: &Kind, method: &Method) -> Status {
    let resource = kind.group_resource();
    let mut status = Status::method_not_allowed(&resource, method.as_str());
    status.message = "the server does not allow this method on the requested resource".to_owned();
    status
}

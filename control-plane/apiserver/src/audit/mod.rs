//! What the audit log is told of a request, and when. What is recorded of which request, and how it is written, is keelson-audit's.
//!
//! ```text
//! authenticated ──> RequestReceived ──> impersonated, authorised (annotated), body kept ──> answered
//!      │                                       answer at hand: ResponseComplete, before it goes out
//!      │                                       a long list: ResponseComplete when it has gone out or was cut off
//!      │                                       a watch or stream: ResponseStarted, and ResponseComplete with its end
//!      └─ nobody believed, or the line malformed: ResponseStarted alone
//! ```
//! A request whose client leaves before it is answered ends with ResponseComplete, too. Without a policy nothing is made at all.

mod ending;
mod source;

pub(crate) use ending::Lasting;

use crate::{
    authorization::{Selectors, attributes},
    identity::{Caller, Impersonated},
    pipeline::text,
    request::{body, info::RequestInfo},
    response::Answer,
    server::ApiServer,
    wire::{self, peer::PeerCertificate},
};
use ending::Recorded;
use http::{HeaderMap, Method, Request, Response, Uri, header};
use keelson_audit::{Auditor, Body, Decision, Event, Facts, Level, Media, ObjectReference, Stage};
use keelson_auth::UserInfo;
use keelson_registry::{
    Annotations,
    status::{Reason, Status},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use time::OffsetDateTime;

/// Bytes of a streamed answer that are kept for the log.
const STREAMED_BYTES_MAX: usize = 32 << 20;

/// The audit of one request: nothing until it is known who asks, and nothing where the policy wants nothing.
#[derive(Default)]
pub(crate) struct Audit(Mutex<Option<Audited>>);

/// A request that is recorded.
pub(crate) struct Audited {
    auditor: Arc<Auditor>,
    decision: Decision,
    facts: Arc<Facts>,
    annotations: Annotations,
    impersonated: Option<Impersonated>,
    request: Option<Body>,
    long_running: bool,
    is_resource: bool,
    /// Whether its last event was made.
    closed: bool,
}

/// What came of a request.
pub(crate) struct Outcome {
    /// What is recorded as its status.
    pub(crate) status: Value,
    /// Its last stage.
    pub(crate) stage: Stage,
}

/// A request's line and head, as far as they are recorded.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) audit_id: &'a str,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) info: &'a RequestInfo,
}

impl Audit {
    /// Begins where it is known who asks.
    ///
    /// # Errors
    /// Where a backend must have every event and has not got this one.
    pub(crate) async fn begin(
        &self,
        server: &ApiServer,
        caller: &Caller,
        user: &Arc<UserInfo>,
        line: Line<'_>,
    ) -> Result<(), Status> {
        let Some(audited) = Audited::new(server, caller, user, line) else { return Ok(()) };
        if let Some(event) = audited.event(Stage::RequestReceived, Value::Null, None, false) {
            let recorded = audited.auditor.record(event).await;
            recorded.map_err(|rejected| {
                Status::new(500, Reason::InternalError, format!("Internal error occurred: {rejected}"))
            })?;
        }
        *self.0.lock() = Some(audited);
        Ok(())
    }

    /// Records that nobody was believed.
    pub(crate) async fn refused(&self, server: &ApiServer, caller: &Caller, line: Line<'_>) {
        let status = json!({
            "status": "Failure", "reason": "Unauthorized", "code": 401, "message": attempted(caller, line),
        });
        self.turned_away(server, caller, line, status).await;
    }

    /// Records that a request was refused with this status before it was looked at who asks.
    pub(crate) async fn turned_away(
        &self,
        server: &ApiServer,
        caller: &Caller,
        line: Line<'_>,
        status: Value,
    ) {
        let nobody = Arc::new(UserInfo::default());
        let Some(mut audited) = Audited::new(server, caller, &nobody, line) else { return };
        audited.closed = true;
        if let Some(event) = audited.event(Stage::ResponseStarted, status, None, false) {
            // Refused it is already.
            let _ = audited.auditor.record(event).await;
        }
    }

    /// Whom the request acts as, where that is another.
    pub(crate) fn acts_as(&self, other: &Impersonated) {
        if let Some(audited) = &mut *self.0.lock() {
            audited.impersonated = Some(other.clone());
        }
    }

    /// Where annotations go.
    pub(crate) fn annotations(&self) -> Annotations {
        self.0.lock().as_ref().map(|audited| audited.annotations.clone()).unwrap_or_default()
    }

    /// The request as its handler gets it: read already where its object is recorded, marked where it may outlive its answer.
    pub(crate) async fn keep_request(
        &self,
        request: Request<wire::Body>,
    ) -> Result<Request<wire::Body>, Status> {
        let wanted = self.0.lock().as_ref().map(|audited| audited.wants_request(request.method()));
        let Some(wanted) = wanted else { return Ok(request) };
        if !wanted {
            return Ok(request);
        }
        let (head, bytes) = request.into_parts();
        let bytes = body::read(bytes).await?;
        let media = Media::of(text(&head.headers, &header::CONTENT_TYPE).unwrap_or_default());
        if let (Some(audited), Some(media), false) = (&mut *self.0.lock(), media, bytes.is_empty()) {
            audited.request = Some(Body { bytes: bytes.clone(), media, gzip: false });
        }
        Ok(Request::from_parts(head, wire::body::full(bytes)))
    }

    /// What a long-running request carries along, so that whoever goes on with it after its answer keeps it open.
    pub(crate) fn lasting(&self) -> Option<Lasting> {
        self.0.lock().as_ref().filter(|audited| audited.long_running).map(|_| Lasting::default())
    }

    /// What is to be recorded of an answer, taken before it is compressed or cut.
    pub(crate) fn keep_answer(&self, answer: &Answer) -> Option<Body> {
        let guard = self.0.lock();
        guard.as_ref().filter(|audited| audited.wants_response())?;
        let Answer::Whole { headers, bytes, .. } = answer else { return None };
        let media = Media::of(text(headers, &header::CONTENT_TYPE)?)?;
        Some(Body { bytes: bytes.clone(), media, gzip: headers.contains_key(header::CONTENT_ENCODING) })
    }

    /// Records the answer, and sees to it that the end of what lasts longer is.
    pub(crate) async fn answered(
        self,
        response: Response<wire::Body>,
        kept: Option<Body>,
        streams: bool,
        outcome: Outcome,
        lasting: Option<Lasting>,
    ) -> Response<wire::Body> {
        let Some(mut audited) = self.0.into_inner() else { return response };
        if audited.long_running
            && let Some(event) = audited.event(Stage::ResponseStarted, outcome.status.clone(), None, false)
        {
            let _ = audited.auditor.record(event).await;
        }
        if !streams {
            audited.closed = true;
            if let Some(event) = audited.event(outcome.stage, outcome.status, kept, false) {
                let _ = audited.auditor.record(event).await;
            }
            return response;
        }
        let ending = ending::Ending::new(audited, outcome.status);
        match lasting {
            Some(lasting) => {
                lasting.ends_with(ending);
                response.map(|body| wire::body::of(Recorded::lasting(body, lasting)))
            }
            None => {
                let gzip = response.headers().contains_key(header::CONTENT_ENCODING);
                let media = text(response.headers(), &header::CONTENT_TYPE).and_then(Media::of);
                response.map(|body| wire::body::of(Recorded::list(body, ending, media, gzip)))
            }
        }
    }
}

impl Audited {
    fn new(server: &ApiServer, caller: &Caller, user: &Arc<UserInfo>, line: Line<'_>) -> Option<Self> {
        let auditor = server.inner.auditor.as_ref()?;
        let info = line.info;
        let decision = auditor.decide(&attributes(user, &info.verb, info, &Selectors::default()));
        if decision.level == Level::None {
            return None;
        }
        let object = info.is_resource.then(|| ObjectReference {
            resource: info.resource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            api_group: info.group.clone(),
            api_version: info.version.clone(),
            subresource: info.subresource.clone(),
            ..ObjectReference::default()
        });
        let peer = match caller {
            Caller::Peer(peer) => Some(peer.address.ip()),
            Caller::InProcess(_) => None,
        };
        let facts = Facts {
            level: decision.level,
            omit_managed_fields: decision.omit_managed_fields,
            audit_id: line.audit_id.to_owned(),
            request_uri: line.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            verb: info.verb.clone(),
            user: user.clone(),
            source_ips: source::ips(line.headers, peer),
            user_agent: text(line.headers, &header::USER_AGENT).unwrap_or_default().to_owned(),
            object,
            received: OffsetDateTime::now_utc(),
        };
        Some(Self {
            auditor: auditor.clone(),
            decision,
            facts: Arc::new(facts),
            annotations: Annotations::kept(decision.level >= Level::Request),
            impersonated: None,
            request: None,
            long_running: info.is_long_running(),
            is_resource: info.is_resource,
            closed: false,
        })
    }

    /// The event of a stage; None for one that is left out.
    fn event(&self, stage: Stage, status: Value, response: Option<Body>, truncated: bool) -> Option<Event> {
        if self.decision.omit_stages.contains(stage) {
            return None;
        }
        let received = stage == Stage::RequestReceived;
        Some(Event {
            facts: self.facts.clone(),
            stage,
            at: if received { self.facts.received } else { OffsetDateTime::now_utc() },
            impersonated: self.impersonated.as_ref().map(|other| other.user.clone()),
            impersonation_constraint: self.impersonated.as_ref().and_then(|other| other.constraint),
            status,
            request: self.request.clone(),
            response,
            truncated,
            annotations: self.annotations.all(),
        })
    }

    /// Whether the request's body is read for the log: for its object, or for the name that stands in it.
    fn wants_request(&self, method: &Method) -> bool {
        let names = matches!(*method, Method::POST | Method::PUT);
        let carries = names || matches!(*method, Method::PATCH | Method::DELETE);
        self.is_resource && !self.long_running && (names || carries && self.decision.level >= Level::Request)
    }

    /// Whether the answer is kept: for its object, or because a deletion's may be a Status, which is recorded at every level.
    fn wants_response(&self) -> bool {
        let deletes = matches!(&*self.facts.verb, "delete" | "deletecollection");
        self.is_resource && !self.long_running && (deletes || self.decision.level >= Level::RequestResponse)
    }
}

impl Drop for Audited {
    /// The client went away before there was an answer. What was begun may have been done: as upstream, that is no failure.
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        let status = json!({ "status": "Success", "message": "Connection closed early", "code": 200 });
        if let Some(event) = self.event(Stage::ResponseComplete, status, None, false) {
            self.auditor.record_now(event);
        }
    }
}

/// With what somebody tried to be believed, in upstream's words.
fn attempted(caller: &Caller, line: Line<'_>) -> String {
    let mut methods = Vec::new();
    let scheme = text(line.headers, &header::AUTHORIZATION).and_then(|value| value.trim().split_once(' '));
    match scheme.map(|(scheme, _)| scheme.to_ascii_lowercase()).as_deref() {
        Some("basic") => methods.push("basic"),
        Some("bearer") => methods.push("bearer"),
        _ => {}
    }
    if let Caller::Peer(peer) = caller
        && !matches!(peer.certificate, PeerCertificate::Absent)
    {
        methods.push("x509");
    }
    match methods.is_empty() {
        true => "Authentication failed, no credentials provided".to_owned(),
        false => format!("Authentication failed, attempted: {}", methods.join(", ")),
    }
}

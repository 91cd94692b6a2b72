//! The way of every request: identify, record, wait for its turn, authorise, dispatch, answer, record, count.
//!
//! The order is upstream's handler chain. Each step is a function of its own module; here is only the order, and what
//! holds for all requests (audit id, timeouts, limits, metrics, panics).

use crate::{
    aggregation,
    audit::{Audit, Lasting, Line, Outcome},
    flow,
    identity::Caller,
    metrics::{InFlight, Labels, LongRunning, Series, measured},
    proxy::ClientAddress,
    request::{
        accept::{self, Accepted},
        info::RequestInfo,
        query::Query,
        timeout,
    },
    resources::{self, Call},
    response::{Answer, Finish, finish},
    server::ApiServer,
    system,
    wire::Body,
};
use futures::FutureExt;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header};
use keelson_audit::Stage;
use keelson_auth::UserInfo;
use keelson_flow::Class;
use keelson_metrics::waits;
use keelson_registry::{
    context::Warnings,
    status::{Reason, Status},
};
use serde_json::json;
use std::{
    any::Any,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, OnceLock, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Watches and streams of the whole server.
pub(crate) const LONG_RUNNING_MAX: i64 = 20_000;

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

impl ApiServer {
    /// Answers one request of a caller.
    pub(crate) async fn answer(&self, caller: Caller, request: Request<Body>) -> Response<Body> {
        let began = Instant::now();
        let head = request.method() == Method::HEAD;
        let gzip = accept::accepts_gzip(text(request.headers(), &header::ACCEPT_ENCODING));
        let audit_id = match text(request.headers(), &AUDIT_ID) {
            // Whoever names his request is answered by that name, as upstream.
            Some(given) if !given.is_empty() => given.to_owned(),
            _ => uuid::Uuid::new_v4().to_string(),
        };
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let (warnings, class, audit) = (Warnings::default(), OnceLock::new(), Audit::default());
        let metrics = &self.inner.metrics;
        let mut lasting = None;
        let (series, long_running, (result, waited)) =
            match RequestInfo::parse(request.method(), request.uri().path(), &query) {
                Ok(info) => {
                    let labels = Labels::of(&info, request.method(), request.headers(), &query);
                    let series = metrics.series(&labels, || self.is_served(&info));
                    let long = info.is_long_running();
                    let asked = Asked {
                        info: &info,
                        query: &query,
                        warnings: &warnings,
                        gzip,
                        class: &class,
                        audit_id: &audit_id,
                        audit: &audit,
                        series: &series,
                    };
                    let result = {
                        // Pinned where it is made: it is large, and whoever wraps it would move it.
                        let work = pin!(self.bounded(caller, &asked, request, &mut lasting));
                        waits::noting(AssertUnwindSafe(work).catch_unwind()).await
                    };
                    (series, long, result)
                }
                Err(error) => {
                    // Whoever may not know anything is not told what is wrong with the path either.
                    let labels = Labels::path(request.method(), "");
                    let series = metrics.series(&labels, || true);
                    let nowhere = RequestInfo::default();
                    let known = self.identify(&caller, &nowhere, request.headers()).await;
                    let status = known.err().unwrap_or_else(|| Status::bad_request(error.to_string()));
                    (series, false, (Ok(Err(status.into())), Duration::ZERO))
                }
            };
        let (answer, outcome) = came_to(result);
        let took = (!long_running).then(|| (began.elapsed(), waited));
        metrics.answered(&series, answer.code().as_u16(), took);
        let (kept, streams) = (audit.keep_answer(&answer), matches!(answer, Answer::Streaming(_)));
        let mut response =
            finish(answer, &Finish { gzip, head, audit_id: &audit_id, warnings: &warnings.take() });
        if let Some(class) = class.get() {
            flow::name(class, response.headers_mut());
        }
        let response = measured(response, &series);
        audit.answered(response, kept, streams, outcome, lasting).await
    }

    /// Whether somebody serves what the request asks for, as far as its path says.
    fn is_served(&self, info: &RequestInfo) -> bool {
        let table = self.inner.table();
        match table.by_resource(&info.group, &info.version, &info.resource) {
            Some(kind) => info.subresource.is_empty() || kind.subresource(&info.subresource).is_some(),
            None => !info.is_resource || aggregation::remote(self, info).is_some(),
        }
    }

    /// Does the work within the timeout; what lasts is bounded in number instead.
    async fn bounded(
        &self,
        caller: Caller,
        asked: &Asked<'_>,
        request: Request<Body>,
        lasting: &mut Option<Lasting>,
    ) -> Result<Answer, Failure> {
        let metrics = &self.inner.metrics;
        if asked.info.is_long_running() {
            if metrics.long_running.load(Relaxed) >= LONG_RUNNING_MAX {
                self.sent_away(asked);
                return Err(flow::too_many().into());
            }
            return self.work(caller, asked, request, lasting, self.inner.request_timeout).await;
        }
        let limit = match timeout::of(asked.query, self.inner.request_timeout) {
            Ok(limit) => limit,
            Err(status) => {
                let accepted = error_form(
                    text(request.headers(), &header::ACCEPT),
                    system::is_for_people(request.headers(), asked.query),
                );
                let line = asked.line(&request);
                asked.audit.turned_away(self, &caller, line, status.to_json()).await;
                return Err(Failure { status, accepted });
            }
        };
        let work = pin!(self.work(caller, asked, request, lasting, limit));
        match tokio::time::timeout(limit, work).await {
            Ok(answer) => answer,
            Err(_) => {
                metrics.terminated(asked.series, 504);
                let why = "Timeout: request did not complete within the allotted timeout";
                Err(Status::new(504, Reason::Timeout, why).into())
            }
        }
    }

    /// Counts a request that is answered with 429.
    fn sent_away(&self, asked: &Asked<'_>) {
        self.inner.metrics.dropped(asked.info.is_read_only());
        self.inner.metrics.terminated(asked.series, 429);
    }

    async fn work(
        &self,
        caller: Caller,
        asked: &Asked<'_>,
        mut request: Request<Body>,
        lasting: &mut Option<Lasting>,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        let Asked { info, query, warnings, gzip, class, audit, series, .. } = *asked;
        let metrics = &self.inner.metrics;
        let accept_header = text(request.headers(), &header::ACCEPT).map(str::to_owned);
        let pretty = system::is_for_people(request.headers(), query);
        let failed = |status| Failure { status, accepted: error_form(accept_header.as_deref(), pretty) };
        let line = asked.line(&request);
        let user = self.recorded(&caller, line, audit).await.map_err(failed)?;
        let user = match self.impersonated(&caller, &user, &line, query).await.map_err(failed)? {
            Some(other) => {
                audit.acts_as(&other);
                other.user
            }
            None => user,
        };
        let _seat = match self.pass(&user, info, query, class, limit).await {
            Ok(seat) => seat,
            Err(status) => {
                self.sent_away(asked);
                return Err(failed(status));
            }
        };
        let is_long = info.is_long_running();
        let _in_flight = (!is_long).then(|| InFlight::begin(metrics, info.is_read_only()));
        let running = is_long.then(|| LongRunning::begin(metrics, series));
        if let Some(running) = &running {
            request.extensions_mut().insert(running.clone());
            if let Caller::Peer(peer) = &caller {
                request.extensions_mut().insert(ClientAddress(peer.address.ip()));
            }
        }
        let annotations = audit.annotations();
        self.authorize(&user, info, query, &annotations).await.map_err(failed)?;
        if let Some(kept) = audit.lasting() {
            request.extensions_mut().insert(kept.clone());
            *lasting = Some(kept);
        }
        if let Some(remote) = aggregation::remote(self, info) {
            if let Caller::Peer(peer) = &caller {
                request.extensions_mut().insert(ClientAddress(peer.address.ip()));
            }
            return Ok(aggregation::answer(self, &remote, &user, request).await);
        }
        if info.is_resource {
            let request = audit.keep_request(request).await.map_err(failed)?;
            let call = Call::new(self, info, query, user, warnings.clone(), annotations, gzip, running);
            resources::dispatch(call, request).await.map_err(failed)
        } else {
            system::answer(self, info, query, request).await.map_err(failed)
        }
    }

    /// Who asks, counted where that is not known beforehand.
    async fn counted_identify(&self, caller: &Caller, line: Line<'_>) -> Result<Arc<UserInfo>, Status> {
        let Caller::Peer(peer) = caller else { return self.identify(caller, line.info, line.headers).await };
        let began = Instant::now();
        let user = self.identify(caller, line.info, line.headers).await;
        let identities = &self.inner.metrics.identities;
        identities.authenticated(user.as_ref().ok().map(|user| user.name.as_str()), began.elapsed());
        if let (Ok(_), Some(left_s)) = (&user, peer.certificate.left_s()) {
            identities.certificate(left_s);
        }
        user
    }

    /// Who asks. From here on the request is recorded; that nobody was believed is, too.
    async fn recorded(
        &self,
        caller: &Caller,
        line: Line<'_>,
        audit: &Audit,
    ) -> Result<Arc<UserInfo>, Status> {
        let user = self.counted_identify(caller, line).await;
        match &user {
            _ if self.inner.auditor.is_none() => {}
            Ok(user) => audit.begin(self, caller, user, line).await?,
            Err(_) => audit.refused(self, caller, line).await,
        }
        user
    }
}

/// What came of the work: the answer, and what is recorded of it.
fn came_to(result: Result<Result<Answer, Failure>, Box<dyn Any + Send>>) -> (Answer, Outcome) {
    match result {
        Ok(Ok(answer)) => {
            let status = json!({ "code": answer.code().as_u16() });
            (answer, Outcome { status, stage: Stage::ResponseComplete })
        }
        Ok(Err(failure)) => {
            let status = failure.status.to_json();
            (failure.into_answer(), Outcome { status, stage: Stage::ResponseComplete })
        }
        Err(panic) => {
            let why = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let why = why.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            tracing::error!(why, "a request made the server panic");
            let status = json!({
                "status": "Failure", "reason": "InternalError", "code": 500,
                "message": format!("APIServer panic'd: {why}"),
            });
            let text = "This request caused apiserver to panic. Look in the logs for details.\n";
            let answer = Answer::text(StatusCode::INTERNAL_SERVER_ERROR, text);
            (answer, Outcome { status, stage: Stage::Panic })
        }
    }
}

/// A request as its line says, and what is noted of it on the way.
struct Asked<'a> {
    info: &'a RequestInfo,
    query: &'a Query,
    warnings: &'a Warnings,
    gzip: bool,
    /// Its flow, once it is known.
    class: &'a OnceLock<Class>,
    /// Names it in logs.
    audit_id: &'a str,
    audit: &'a Audit,
    /// Where it is counted.
    series: &'a Arc<Series>,
}

impl Asked<'_> {
    fn line<'r>(&'r self, request: &'r Request<Body>) -> Line<'r> {
        Line { audit_id: self.audit_id, uri: request.uri(), headers: request.headers(), info: self.info }
    }
}

/// A failure with the form that the client wants errors in.
struct Failure {
    status: Status,
    accepted: Accepted,
}

impl Failure {
    fn into_answer(self) -> Answer {
        Answer::failure(&self.status, self.accepted)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self { status, accepted: Accepted::JSON }
    }
}

/// Errors follow the encoding asked for, never its form (a Status is no Table).
fn error_form(accept: Option<&str>, pretty: bool) -> Accepted {
    let accepted = accept::negotiate_object(accept, &[], true).unwrap_or(Accepted::JSON);
    Accepted { pretty, ..accepted }
}

/// A header's value as text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

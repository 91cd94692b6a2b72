//! An API server in this process: three lists, as bytes, in pages as a client asks for them, and watches in which nothing happens.

use std::{collections::HashMap, convert::Infallible, sync::Arc};

use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame};
use kube::client::Body;
use serde_json::{Value, json};

use crate::services::{service, slice};

/// Items of a page: what kube's watchers ask for.
const PAGE: usize = 500;

/// The pages of each list, made before anything is measured.
pub(crate) struct Api(Arc<HashMap<&'static str, Vec<Bytes>>>);

impl Api {
    /// So many Services, each with its slice.
    pub(crate) fn of(services: usize) -> Self {
        let pages = HashMap::from([
            ("services", pages(services, service)),
            ("endpointslices", pages(services, slice)),
            ("nodes", pages(0, service)),
        ]);
        Self(Arc::new(pages))
    }

    pub(crate) fn client(&self) -> kube::Client {
        let pages = self.0.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = answer(&pages, &request);
            async move { Ok::<_, Infallible>(answer) }
        });
        kube::Client::new(service, "default")
    }
}

fn pages(items: usize, item: fn(usize) -> Value) -> Vec<Bytes> {
    let last = items.saturating_sub(1) / PAGE;
    let page = |page: usize| {
        let items: Vec<_> = (page * PAGE..items.min((page + 1) * PAGE)).map(item).collect();
        let rest = if page < last { (page + 1).to_string() } else { String::new() };
        json!({"metadata": {"resourceVersion": "1", "continue": rest}, "items": items}).to_string().into()
    };
    (0..=last).map(page).collect()
}

fn answer(
    pages: &HashMap<&'static str, Vec<Bytes>>,
    request: &Request<Body>,
) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let word = |name: &str| query.split('&').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let list = pages.iter().find(|(plural, _)| path.ends_with(*plural)).map(|(_, list)| list);
    if word("watch").is_some() {
        let silence = futures::stream::pending::<std::result::Result<Frame<Bytes>, Infallible>>();
        return Response::new(StreamBody::new(silence).boxed_unsync());
    }
    let page = word("continue").map_or(Ok(0), str::parse).ok();
    match list.zip(page).and_then(|(list, page): (&Vec<Bytes>, usize)| list.get(page)) {
        Some(page) => Response::new(Full::new(page.clone()).boxed_unsync()),
        // What the data plane writes (events), or asks for and is not here.
        None => {
            let mut answer = Response::new(Full::new(Bytes::new()).boxed_unsync());
            *answer.status_mut() = http::StatusCode::NOT_FOUND;
            answer
        }
    }
}

//! `/openapi/v3`: an index and a document a group and version. Made by keelson-schema on first use, kept compressed.
//!
//! The documents depend on the kinds alone, so their hash is a cache key that clients may keep for ever.

use crate::{
    discovery::etag,
    openapi_v2::OpenApiV2,
    pipeline::text,
    request::{accept, query::Query},
    response::{Answer, gunzip, gzip},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use keelson_registry::{
    kind::{Kind, Name},
    status::{GroupResource, Status},
    table::KindTable,
};
use keelson_schema::openapi::{self, KindFacts, SubresourceFacts};
use serde_json::Value;
use std::sync::{Arc, OnceLock};
use tokio::sync::Mutex;

/// How long a client may keep a document that it asked for by its hash.
const IMMUTABLE: &str = "public, immutable, max-age=31536000";

/// A document's source: a group and version with its kinds. It makes the document once.
struct Source {
    group: Name,
    version: Name,
    kinds: Vec<Arc<Kind>>,
    document: OnceLock<Document>,
}

/// A made document.
struct Document {
    /// As in `apis/apps/v1`.
    path: String,
    packed: Bytes,
    etag: HeaderValue,
}

/// All documents, made when the first is asked for.
pub(crate) struct OpenApi {
    sources: Arc<[Arc<Source>]>,
    v2: Mutex<Option<V2>>,
}

/// The document of v2, and of others what it was made of, too.
struct V2 {
    others: Vec<Bytes>,
    made: Arc<OpenApiV2>,
}

impl OpenApi {
    /// Remembers what to make documents of. Those of `before` that are about the very same kinds are kept.
    pub(crate) fn new(table: &KindTable, before: Option<&OpenApi>) -> Self {
        let mut groups: Vec<Vec<Arc<Kind>>> = Vec::new();
        for kind in table.iter() {
            let same =
                |own: &&mut Vec<Arc<Kind>>| (&own[0].group, &own[0].version) == (&kind.group, &kind.version);
            match groups.iter_mut().find(same) {
                Some(kinds) => kinds.push(kind.clone()),
                None => groups.push(vec![kind.clone()]),
            }
        }
        let sources = groups.into_iter().map(|kinds| {
            let kept = before.and_then(|before| before.sources.iter().find(|source| source.is_of(&kinds)));
            kept.cloned().unwrap_or_else(|| Arc::new(Source::new(kinds)))
        });
        Self { sources: sources.collect(), v2: Mutex::default() }
    }

    /// Answers a path below `/openapi/`.
    pub(crate) async fn answer(
        &self,
        rest: &str,
        headers: &HeaderMap,
        query: &Query,
    ) -> Result<Answer, Status> {
        let Some(rest) = rest.strip_prefix("v3") else {
            let resource = GroupResource::new("", "openapi");
            let mut status = Status::not_found(&resource, rest);
            status.message = format!("/openapi/{rest} is not served by this server, use /openapi/v3");
            return Err(status);
        };
        let media = text(headers, &header::ACCEPT);
        if accept::negotiate(media, &[]).is_none_or(|a| a.encoding != accept::Encoding::Json) {
            return Err(Status::not_acceptable("OpenAPI documents are served as application/json only"));
        }
        let path = rest.trim_start_matches('/').to_owned();
        let sources = self.sources.clone();
        // The index has the hash of each, so that it needs all of them.
        let wanted = path.clone();
        tokio::task::spawn_blocking(move || {
            let asked = |source: &&Arc<Source>| wanted.is_empty() || source.path() == wanted;
            sources.iter().filter(asked).try_for_each(|source| source.document().map(|_| ()))
        })
        .await
        .map_err(Status::internal)??;
        let mut documents = self.sources.iter().filter_map(|source| source.document.get());
        match path.as_str() {
            "" => Ok(index(documents)),
            path => documents
                .find(|document| document.path == path)
                .map(|document| document.answer(headers, query))
                .unwrap_or_else(|| Ok(crate::system::not_found())),
        }
    }

    /// Answers `/openapi/v2`, of which the v3 documents of others (compressed) are a part. Made anew when those change.
    pub(crate) async fn answer_v2(&self, headers: &HeaderMap, others: Vec<Bytes>) -> Result<Answer, Status> {
        let mut known = self.v2.lock().await;
        if let Some(V2 { made, .. }) = known.as_ref().filter(|known| known.others == others) {
            return made.answer(headers);
        }
        let made = match self.make_v2(others.clone()).await {
            Err(status) if !others.is_empty() => {
                tracing::warn!(%status, "OpenAPI v2 is served without the documents of aggregated API servers");
                self.make_v2(Vec::new()).await?
            }
            made => made?,
        };
        let made = Arc::new(made);
        *known = Some(V2 { others, made: made.clone() });
        drop(known);
        made.answer(headers)
    }

    async fn make_v2(&self, others: Vec<Bytes>) -> Result<OpenApiV2, Status> {
        let sources = self.sources.clone();
        let make = move || {
            let own = sources.iter().map(|source| Ok(source.document()?.packed.clone()));
            let all = own.chain(others.into_iter().map(Ok));
            OpenApiV2::make(&all.collect::<Result<Vec<Bytes>, Status>>()?)
        };
        tokio::task::spawn_blocking(make).await.map_err(Status::internal)?
    }
}

impl Source {
    fn new(kinds: Vec<Arc<Kind>>) -> Self {
        let (group, version) = (kinds[0].group.clone(), kinds[0].version.clone());
        Self { group, version, kinds, document: OnceLock::new() }
    }

    fn is_of(&self, kinds: &[Arc<Kind>]) -> bool {
        self.kinds.len() == kinds.len()
            && self.kinds.iter().zip(kinds).all(|(own, other)| Arc::ptr_eq(own, other))
    }

    fn path(&self) -> String {
        openapi::v3_key(&self.group, &self.version)
    }

    fn document(&self) -> Result<&Document, Status> {
        if let Some(document) = self.document.get() {
            return Ok(document);
        }
        let made = self.make()?;
        Ok(self.document.get_or_init(|| made))
    }

    fn make(&self) -> Result<Document, Status> {
        let subresources: Vec<Vec<SubresourceFacts<'_>>> =
            self.kinds.iter().map(|kind| subresources(kind)).collect();
        let definitions: Vec<Option<Value>> = self
            .kinds
            .iter()
            .map(|kind| kind.custom.as_ref().map(|custom| custom.schema().openapi()))
            .collect();
        let facts: Vec<KindFacts<'_>> = self
            .kinds
            .iter()
            .zip(&subresources)
            .zip(&definitions)
            .map(|((kind, subresources), definition)| facts(kind, subresources, definition.as_ref()))
            .collect();
        let bytes = openapi::v3_document(&self.group, &self.version, &facts);
        let packed = gzip(&bytes).ok_or_else(|| Status::internal("compressing an OpenAPI document"))?;
        Ok(Document { path: self.path(), etag: etag(&bytes), packed })
    }
}

fn subresources(kind: &Kind) -> Vec<SubresourceFacts<'_>> {
    let subresources = kind.subresources.iter();
    subresources.map(|sub| SubresourceFacts { name: sub.name, verbs: &sub.verbs, kind: sub.body }).collect()
}

fn facts<'a>(
    kind: &'a Kind,
    subresources: &'a [SubresourceFacts<'a>],
    definition: Option<&'a Value>,
) -> KindFacts<'a> {
    KindFacts {
        group: &kind.group,
        version: &kind.version,
        kind: &kind.kind,
        plural: &kind.plural,
        namespaced: kind.namespaced,
        verbs: &kind.verbs,
        subresources,
        definition,
    }
}

impl Document {
    fn answer(&self, headers: &HeaderMap, query: &Query) -> Result<Answer, Status> {
        let known = text(headers, &header::IF_NONE_MATCH)
            .is_some_and(|known| known.as_bytes() == self.etag.as_bytes());
        let gzip = accept::accepts_gzip(text(headers, &header::ACCEPT_ENCODING));
        let mut answer = if known {
            Answer::bytes(StatusCode::NOT_MODIFIED, "application/json", Bytes::new())
        } else if gzip {
            let mut answer = Answer::bytes(StatusCode::OK, "application/json", self.packed.clone());
            answer.header(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            answer
        } else {
            Answer::bytes(StatusCode::OK, "application/json", gunzip(&self.packed).map_err(Status::internal)?)
        };
        answer.header(header::ETAG, self.etag.clone());
        answer.header(header::VARY, HeaderValue::from_static("Accept-Encoding, Accept"));
        if query.first("hash") == Some(self.hash()) {
            answer.header(header::CACHE_CONTROL, HeaderValue::from_static(IMMUTABLE));
        }
        Ok(answer)
    }

    fn hash(&self) -> &str {
        self.etag.to_str().unwrap_or_default().trim_matches('"')
    }
}

fn index<'a>(documents: impl Iterator<Item = &'a Document>) -> Answer {
    let keys = documents.map(|document| (document.path.as_str(), document.hash()));
    Answer::bytes(StatusCode::OK, "application/json", openapi::v3_index(keys))
}

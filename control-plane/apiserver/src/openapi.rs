//! `/openapi/v3`: an index and a document a group and version. Made by keelson-schema on first use, kept compressed.
//!
//! The documents depend on the kinds alone, so their hash is a cache key that clients may keep for ever.

use crate::{
    discovery::etag,
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
use std::sync::Arc;
use tokio::sync::OnceCell;

/// How long a client may keep a document that it asked for by its hash.
const IMMUTABLE: &str = "public, immutable, max-age=31536000";

/// A document's source: a group and version with its kinds.
struct Source {
    group: Name,
    version: Name,
    kinds: Vec<Arc<Kind>>,
}

/// A made document.
struct Document {
    /// As in `apis/apps/v1`.
    path: String,
    packed: Bytes,
    etag: HeaderValue,
}

/// All documents, made together when the first is asked for.
pub(crate) struct OpenApi {
    sources: Arc<[Source]>,
    documents: OnceCell<Vec<Document>>,
}

impl OpenApi {
    /// Remembers what to make documents of.
    pub(crate) fn new(table: &KindTable) -> Self {
        let mut sources: Vec<Source> = Vec::new();
        for kind in table.iter() {
            match sources.iter_mut().find(|s| s.group == kind.group && s.version == kind.version) {
                Some(source) => source.kinds.push(kind.clone()),
                None => sources.push(Source {
                    group: kind.group.clone(),
                    version: kind.version.clone(),
                    kinds: vec![kind.clone()],
                }),
            }
        }
        Self { sources: sources.into(), documents: OnceCell::new() }
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
        let documents = self.documents().await?;
        match rest.trim_start_matches('/') {
            "" => Ok(index(documents)),
            path => documents
                .iter()
                .find(|document| document.path == path)
                .map(|document| document.answer(headers, query))
                .unwrap_or_else(|| Ok(crate::system::not_found())),
        }
    }

    async fn documents(&self) -> Result<&Vec<Document>, Status> {
        self.documents
            .get_or_try_init(|| async {
                let sources = self.sources.clone();
                tokio::task::spawn_blocking(move || sources.iter().map(Source::make).collect())
                    .await
                    .map_err(Status::internal)?
            })
            .await
    }
}

impl Source {
    fn make(&self) -> Result<Document, Status> {
        let subresources: Vec<Vec<SubresourceFacts<'_>>> =
            self.kinds.iter().map(|kind| subresources(kind)).collect();
        let facts: Vec<KindFacts<'_>> = self
            .kinds
            .iter()
            .zip(&subresources)
            .map(|(kind, subresources)| facts(kind, subresources))
            .collect();
        let bytes = openapi::v3_document(&self.group, &self.version, &facts);
        let packed = gzip(&bytes).ok_or_else(|| Status::internal("compressing an OpenAPI document"))?;
        Ok(Document { path: openapi::v3_key(&self.group, &self.version), etag: etag(&bytes), packed })
    }
}

fn subresources(kind: &Kind) -> Vec<SubresourceFacts<'_>> {
    let subresources = kind.subresources.iter();
    subresources.map(|sub| SubresourceFacts { name: sub.name, verbs: &sub.verbs, kind: sub.body }).collect()
}

fn facts<'a>(kind: &'a Kind, subresources: &'a [SubresourceFacts<'a>]) -> KindFacts<'a> {
    KindFacts {
        group: &kind.group,
        version: &kind.version,
        kind: &kind.kind,
        plural: &kind.plural,
        namespaced: kind.namespaced,
        verbs: &kind.verbs,
        subresources,
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

fn index(documents: &[Document]) -> Answer {
    let keys = documents.iter().map(|document| (document.path.as_str(), document.hash()));
    Answer::bytes(StatusCode::OK, "application/json", openapi::v3_index(keys))
}

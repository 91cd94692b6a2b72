//! Pages of pods, Services and nodes, as they are read through the server: links that begin at the other end's root are put
//! behind the path that stands for it here. All else passes byte for byte. Links that scripts and styles make are not seen.

use super::location::Site;
use crate::wire::{Body, BoxError, body};
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use lol_html::{
    AsciiCompatibleEncoding, MemorySettings, OutputSink, element,
    errors::RewritingError,
    send::{Element, HtmlRewriter, Settings},
};
use parking_lot::Mutex;
use std::{io::Write as _, sync::Arc};

/// The attributes that hold an address, and of which elements they do (upstream's `k8s.io/apimachinery/pkg/util/proxy`).
const LINKS: [(&str, &[&str]); 15] = [
    ("action", &["form"]),
    ("background", &["body"]),
    ("cite", &["blockquote", "del", "ins", "q"]),
    ("classid", &["object"]),
    ("codebase", &["applet", "object"]),
    ("data", &["object"]),
    ("formaction", &["button", "input"]),
    ("href", &["a", "area", "base", "link"]),
    ("icon", &["command"]),
    ("longdesc", &["frame", "iframe", "img"]),
    ("manifest", &["html"]),
    ("poster", &["video"]),
    ("profile", &["head"]),
    ("src", &["audio", "embed", "frame", "iframe", "img", "input", "script", "source", "video"]),
    ("usemap", &["img", "input", "object"]),
];
/// After a tag that is longer (with a picture in it, say) the page passes as it is.
const TAG_BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// The body to pass on instead, and what its headers become.
pub(super) fn linked(status: StatusCode, headers: &mut HeaderMap, body: Body, site: Site) -> Body {
    let Some(packing) =
        packing(headers).filter(|_| is_page(headers) && status != StatusCode::PARTIAL_CONTENT)
    else {
        return body;
    };
    // A HEAD's stay: nothing of the page comes.
    if hyper::body::Body::is_end_stream(&body) {
        return body;
    }
    for header in [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::ACCEPT_RANGES] {
        headers.remove(header);
    }
    let page = Page::new(packing, site);
    body::stream(stream::unfold(Some((body, page)), step))
}

fn is_page(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/html")
}

/// What a page's bytes are wrapped in.
#[derive(Clone, Copy)]
enum Packing {
    None,
    Gzip,
}

/// None: in something that is not read here.
fn packing(headers: &HeaderMap) -> Option<Packing> {
    match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => Some(Packing::None),
        Some(b"gzip") => Some(Packing::Gzip),
        Some(_) => None,
    }
}

type State = Option<(Body, Page)>;

/// The next piece of a page.
async fn step(state: State) -> Option<(Result<Bytes, BoxError>, State)> {
    let (mut body, mut page) = state?;
    loop {
        let made = match body.frame().await {
            None => return Some((page.end(), None)),
            Some(Err(error)) => return Some((Err(error), None)),
            // Trailers are about what came.
            Some(Ok(frame)) => frame.into_data().map_or(Ok(Bytes::new()), |bytes| page.push(&bytes)),
        };
        match made {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => return Some((Ok(bytes), Some((body, page)))),
            Err(error) => return Some((Err(error), None)),
        }
    }
}

/// A page on its way.
struct Page {
    unpacked: Option<MultiGzDecoder<Vec<u8>>>,
    /// None: the rest passes as it is.
    rewriter: Option<HtmlRewriter<'static, Made>>,
    made: Made,
}

/// What has been made and not taken.
#[derive(Clone, Default)]
struct Made(Arc<Mutex<Vec<u8>>>);

impl OutputSink for Made {
    fn handle_chunk(&mut self, bytes: &[u8]) {
        self.0.lock().extend_from_slice(bytes);
    }
}

impl Made {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock()).into()
    }
}

impl Page {
    fn new(packing: Packing, site: Site) -> Self {
        let made = Made::default();
        let memory = MemorySettings::new()
            .with_max_allowed_memory_usage(TAG_BYTES_MAX)
            .with_graceful_bail_out_on_memory_limit_exceeded(true);
        let settings = Settings::new_send()
            .append_element_content_handler(element!("*", move |element: &mut Element<'_, '_>| {
                Ok(relink(element, &site)?)
            }))
            .with_encoding(transparent())
            .with_memory_settings(memory)
            .with_strict(false);
        let unpacked = match packing {
            Packing::None => None,
            Packing::Gzip => Some(MultiGzDecoder::new(Vec::new())),
        };
        Self { unpacked, rewriter: Some(HtmlRewriter::new(settings, made.clone())), made }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<Bytes, BoxError> {
        match &mut self.unpacked {
            None => self.rewrite(bytes)?,
            Some(unpacked) => {
                unpacked.write_all(bytes)?;
                let bytes = std::mem::take(unpacked.get_mut());
                self.rewrite(&bytes)?;
            }
        }
        Ok(self.made.take())
    }

    fn rewrite(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        match self.rewriter.as_mut().map(|rewriter| rewriter.write(bytes)) {
            Some(Err(RewritingError::MemoryLimitExceeded(_))) => self.rewriter = None,
            Some(outcome) => outcome?,
            None => self.made.clone().handle_chunk(bytes),
        }
        Ok(())
    }

    fn end(mut self) -> Result<Bytes, BoxError> {
        if let Some(unpacked) = self.unpacked.take() {
            self.rewrite(&unpacked.finish()?)?;
        }
        if let Some(rewriter) = self.rewriter {
            rewriter.end()?;
        }
        Ok(self.made.take())
    }
}

/// All 256 bytes are characters in it: a page in any encoding comes out as it went in.
fn transparent() -> AsciiCompatibleEncoding {
    AsciiCompatibleEncoding::new(encoding_rs::WINDOWS_1252).unwrap_or_else(AsciiCompatibleEncoding::utf_8)
}

fn relink(element: &mut Element<'_, '_>, site: &Site) -> Result<(), lol_html::errors::AttributeNameError> {
    let tag = element.tag_name();
    let attributes = LINKS.iter().filter(|(_, elements)| elements.contains(&tag.as_str()));
    for (attribute, _) in attributes {
        let link = element.get_attribute(attribute);
        if let Some(link) = link.and_then(|link| site.rewritten(link.trim_ascii())) {
            element.set_attribute(attribute, &link)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};

    const PREFIX: &str = "/api/v1/namespaces/n/pods/p/proxy";

    fn site() -> Site {
        Site { own: "192.0.2.1:80".into(), asked: Some("localhost:8001".into()), prefix: PREFIX.into() }
    }

    /// What becomes of a page that comes in pieces of some bytes.
    async fn read(kind: &str, packed: &[(&str, &str)], bytes: &[u8], piece: usize) -> (HeaderMap, Vec<u8>) {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", kind.parse().unwrap());
        headers.insert("content-length", bytes.len().into());
        for (name, value) in packed {
            headers.insert(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let pieces: Vec<_> = bytes.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let body = linked(StatusCode::OK, &mut headers, body::stream(stream::iter(pieces)), site());
        (headers, body.collect().await.unwrap().to_bytes().to_vec())
    }

    #[tokio::test]
    async fn links_from_the_root_are_put_behind_the_prefix_and_nothing_else_changes() {
        let rows = [
            (r#"<a href="/rewriteme">test</a>"#, format!(r#"<a href="{PREFIX}/rewriteme">test</a>"#)),
            ("<A HREF='/a?b&amp;c#d' x>", format!(r#"<A HREF="{PREFIX}/a?b&amp;c#d" x>"#)),
            ("<img src=/i.png longdesc=l.html>", format!(r#"<img src="{PREFIX}/i.png" longdesc=l.html>"#)),
            (r#"<form action="http://192.0.2.1:80/f">"#, format!(r#"<form action="{PREFIX}/f">"#)),
            (
                r#"<p href="/no"  ><!-- <a href="/no"> -->"#,
                r#"<p href="/no"  ><!-- <a href="/no"> -->"#.into(),
            ),
            (r#"<a href="//elsewhere/x">&copy;"#, r#"<a href="//elsewhere/x">&copy;"#.into()),
            (r#"<script>a='<a href="/no">'</script>"#, r#"<script>a='<a href="/no">'</script>"#.into()),
            (r#"<a href="/unfinished"#, r#"<a href="/unfinished"#.into()),
        ];
        for (page, expected) in rows {
            for piece in [1, 7, 1_000] {
                let (headers, made) = read("text/html; charset=utf-8", &[], page.as_bytes(), piece).await;
                assert_eq!(String::from_utf8(made).unwrap(), expected, "{page} by {piece}");
                assert!(!headers.contains_key("content-length"));
            }
        }
    }

    #[tokio::test]
    async fn a_page_may_be_in_any_encoding_and_packed() {
        let page: Vec<u8> = [b"<a href=\"/\xe9\x81\">".as_slice(), &(0..=255).collect::<Vec<u8>>()].concat();
        let expected = [b"<a href=\"", PREFIX.as_bytes(), &page[9..]].concat();
        assert_eq!(read("text/html", &[], &page, 5).await.1, expected);
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(&page).unwrap();
        let packed = packer.finish().unwrap();
        let (headers, made) = read("TEXT/HTML", &[("content-encoding", "gzip")], &packed, 5).await;
        assert_eq!(made, expected);
        assert!(!headers.contains_key("content-encoding"));
        let (headers, made) = read("text/html", &[("content-encoding", "br")], &page, 5).await;
        assert_eq!((made, headers.contains_key("content-length")), (page.clone(), true));
        assert_eq!(read("text/plain", &[], &page, 5).await.1, page);
    }

    #[tokio::test]
    async fn a_tag_without_end_passes_as_it_is() {
        let page = [b"<a href=\"/".as_slice(), &vec![b'x'; TAG_BYTES_MAX + 1_000_000]].concat();
        assert!(read("text/html", &[], &page, 1_000_000).await.1 == page);
    }

    #[tokio::test]
    async fn what_is_broken_ends_the_page() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "text/html".parse().unwrap());
        headers.insert("content-encoding", "gzip".parse().unwrap());
        let body = linked(StatusCode::OK, &mut headers, body::full("no gzip"), site());
        assert!(body.collect().await.is_err());
    }
}

//! Content negotiation: which encoding and which form (the object itself, a Table, metadata only) an Accept header asks for.
//!
//! Source of the rules: "Alternate representations of resources" of the Kubernetes API concepts page. Clauses are tried
//! in the order of their q values; one that names something we do not make is passed over for the next.

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`, of kinds that have messages.
    Protobuf,
}

impl Encoding {
    /// The media type of a response.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The object as it is.
    Object,
    /// `meta.k8s.io` Table.
    Table,
    /// `meta.k8s.io` PartialObjectMetadata.
    Metadata,
    /// `meta.k8s.io` PartialObjectMetadataList.
    MetadataList,
    /// `apidiscovery.k8s.io/v2` APIGroupDiscoveryList.
    Discovery,
}

/// The version of `meta.k8s.io` that a Table or metadata alone is written in. All that tells them apart is its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetaVersion {
    /// `v1`.
    V1,
    /// `v1beta1`, for clients from before 1.15; not in protobuf.
    V1Beta1,
}

impl MetaVersion {
    /// The `apiVersion` of what is written.
    pub(crate) const fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// The outcome of negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// How.
    pub(crate) encoding: Encoding,
    /// What.
    pub(crate) form: Form,
    /// Which version of it, where it is of `meta.k8s.io`.
    pub(crate) meta: MetaVersion,
    /// Indented, for people; set by the caller.
    pub(crate) pretty: bool,
}

impl Accepted {
    /// Plain JSON.
    pub(crate) const JSON: Self =
        Self { encoding: Encoding::Json, form: Form::Object, meta: MetaVersion::V1, pretty: false };
}

/// Picks the first clause that can be served as text and whose form is among `forms`; None is 406.
pub(crate) fn negotiate(header: Option<&str>, forms: &[Form]) -> Option<Accepted> {
    negotiate_object(header, forms, false)
}

/// The same for an object, which has `protobuf` or not.
pub(crate) fn negotiate_object(header: Option<&str>, forms: &[Form], protobuf: bool) -> Option<Accepted> {
    let Some(header) = header.filter(|h| !h.trim().is_empty()) else {
        return Some(Accepted::JSON);
    };
    let mut clauses: Vec<Clause<'_>> = header.split(',').filter_map(Clause::parse).collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    clauses.iter().find_map(|clause| {
        let encoding = clause.encoding()?;
        let (form, meta) = clause.form()?;
        // Upstream's Table has no message either.
        let no_message = form == Form::Table || meta == MetaVersion::V1Beta1;
        if encoding == Encoding::Protobuf && (!protobuf || no_message) {
            return None;
        }
        let served = form == Form::Object || forms.contains(&form);
        served.then_some(Accepted { encoding, form, meta, pretty: false })
    })
}

/// One media range with its parameters.
struct Clause<'a> {
    media: &'a str,
    quality: f32,
    kind: &'a str,
    group: &'a str,
    version: &'a str,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().filter(|m| m.contains('/'))?;
        let mut clause = Self { media, quality: 1.0, kind: "", group: "", version: "" };
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim().trim_matches('"');
            match key.trim() {
                "q" => clause.quality = value.parse().ok()?,
                "as" => clause.kind = value,
                "g" => clause.group = value,
                "v" => clause.version = value,
                _ => {}
            }
        }
        (clause.quality > 0.0).then_some(clause)
    }

    fn encoding(&self) -> Option<Encoding> {
        match self.media.to_ascii_lowercase().as_str() {
            "application/json" | "*/*" | "application/*" => Some(Encoding::Json),
            "application/yaml" => Some(Encoding::Yaml),
            "application/vnd.kubernetes.protobuf" => Some(Encoding::Protobuf),
            _ => None,
        }
    }

    fn form(&self) -> Option<(Form, MetaVersion)> {
        match (self.kind, self.group, self.version) {
            ("", _, _) => return Some((Form::Object, MetaVersion::V1)),
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => {
                return Some((Form::Discovery, MetaVersion::V1));
            }
            _ => {}
        }
        let meta = match (self.group, self.version) {
            ("meta.k8s.io", "v1") => MetaVersion::V1,
            ("meta.k8s.io", "v1beta1") => MetaVersion::V1Beta1,
            _ => return None,
        };
        let form = match self.kind {
            "Table" => Form::Table,
            "PartialObjectMetadata" => Form::Metadata,
            "PartialObjectMetadataList" => Form::MetadataList,
            _ => return None,
        };
        Some((form, meta))
    }
}

/// Whether the client takes gzip.
pub(crate) fn accepts_gzip(header: Option<&str>) -> bool {
    header.is_some_and(|h| {
        h.split(',').any(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            parts.next() == Some("gzip")
                && !parts.any(|p| matches!(p, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Form; 4] = [Form::Table, Form::Metadata, Form::MetadataList, Form::Discovery];

    #[test]
    fn the_first_servable_clause_wins() {
        use Encoding::{Json, Yaml};
        let rows = [
            (None, Some((Json, Form::Object))),
            (Some(""), Some((Json, Form::Object))),
            (Some("*/*"), Some((Json, Form::Object))),
            (Some("application/yaml"), Some((Yaml, Form::Object))),
            (Some("application/json;q=0.5, application/yaml"), Some((Yaml, Form::Object))),
            (
                Some(
                    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                ),
                Some((Json, Form::Table)),
            ),
            (
                Some("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"),
                Some((Json, Form::Table)),
            ),
            (Some("application/vnd.kubernetes.protobuf,application/json"), Some((Json, Form::Object))),
            (Some("application/vnd.kubernetes.protobuf"), None),
            (Some("application/json;as=Table;v=v9;g=meta.k8s.io"), None),
            (
                Some(
                    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
                ),
                Some((Json, Form::Metadata)),
            ),
            (
                Some("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"),
                Some((Json, Form::Discovery)),
            ),
        ];
        for (header, want) in rows {
            let got = negotiate(header, &ALL).map(|a| (a.encoding, a.form));
            assert_eq!(got, want, "{header:?}");
        }
    }

    #[test]
    fn protobuf_is_for_objects_that_have_it() {
        use Encoding::{Json, Protobuf};
        let proto = "application/vnd.kubernetes.protobuf";
        let rows = [
            (format!("{proto},application/json"), Some((Protobuf, Form::Object)), Some((Json, Form::Object))),
            (format!("{proto};stream=watch"), Some((Protobuf, Form::Object)), None),
            (
                format!("{proto};q=0.5,application/json"),
                Some((Json, Form::Object)),
                Some((Json, Form::Object)),
            ),
            (format!("{proto};as=Table;g=meta.k8s.io;v=v1"), None, None),
            (
                format!("{proto};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"),
                Some((Protobuf, Form::Metadata)),
                None,
            ),
            (format!("{proto};as=PartialObjectMetadata;g=meta.k8s.io;v=v1beta1"), None, None),
        ];
        for (header, with, without) in rows {
            let got = |protobuf| {
                negotiate_object(Some(&header), &ALL, protobuf)
                    .map(|accepted| (accepted.encoding, accepted.form))
            };
            assert_eq!((got(true), got(false)), (with, without), "{header}");
        }
    }

    #[test]
    fn a_form_that_the_endpoint_lacks_is_passed_over() {
        let header = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(negotiate(Some(header), &[]).unwrap().form, Form::Object);
    }

    #[test]
    fn gzip_is_read_from_accept_encoding() {
        assert!(accepts_gzip(Some("br, gzip;q=0.8")));
        assert!(!accepts_gzip(Some("gzip;q=0")));
        assert!(!accepts_gzip(None));
    }
}

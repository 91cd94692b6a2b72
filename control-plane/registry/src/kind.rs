//! What the server knows about a kind: names, scope, verbs, subresources, selectable fields, columns and its strategy.
//!
//! Routes, discovery, OpenAPI, printing and RBAC names are all made from [`Kind`]; no other list of kinds exists.
//! How the table is put together is in `table`; what a kind's rules are is in `kinds`.

use crate::{
    convert::Family,
    custom::Custom,
    scan::FieldTree,
    status::{GroupKind, GroupResource},
    strategy::Strategy,
};
use keelson_schema::{Schemas, TypeRef};
use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A name: of a built-in kind in the program's text, of a custom one its own.
pub type Name = Cow<'static, str>;

/// A resource in one group and version.
pub struct Kind {
    /// Tells this kind from all that ever were, also from the same one before its definition changed.
    pub(crate) id: u64,
    /// API group, "" for the core group.
    pub group: Name,
    /// Version, e.g. `v1`.
    pub version: Name,
    /// Kind, e.g. `Pod`.
    pub kind: Name,
    /// Kind of the list, e.g. `PodList`.
    pub list_kind: Name,
    /// Plural resource name, e.g. `pods`.
    pub plural: Name,
    /// Singular resource name, e.g. `pod`.
    pub singular: Name,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Verbs of discovery, sorted.
    pub verbs: Vec<&'static str>,
    /// Short names, e.g. `po`.
    pub short_names: Vec<Name>,
    /// Categories, e.g. `all`.
    pub categories: Vec<Name>,
    /// Served subresources, in the order of discovery.
    pub subresources: Vec<Subresource>,
    /// Field selectors beyond metadata.name and metadata.namespace; heads hold their values in this order.
    pub selectable_fields: Vec<Name>,
    /// Columns of the server-side printed Table.
    pub columns: Vec<Column>,
    /// Where objects are kept.
    pub storage: Storage,
    /// The kind's rules.
    pub strategy: &'static dyn Strategy,
    /// What else a custom kind has.
    pub custom: Option<Arc<Custom>>,
    pub(crate) fields: FieldTree,
    /// Key prefix with its final slash, e.g. `/registry/core/pods/`; that of the stored kind for a [`Storage::View`].
    pub(crate) prefix: String,
}

/// A served subresource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// Name, e.g. `status`.
    pub name: &'static str,
    /// Verbs of discovery, sorted.
    pub verbs: Vec<&'static str>,
    /// Group, version and kind of its body where they are not the parent's.
    pub body: Option<(&'static str, &'static str, &'static str)>,
}

/// A field that a field selector may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectableField {
    /// The selector's label.
    pub name: &'static str,
    /// Paths whose first non-empty scalar is compared; none: always `absent`.
    pub paths: &'static [&'static str],
    /// The value when none of the paths is there.
    pub absent: &'static str,
}

/// A column of a Table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: Name,
    /// OpenAPI type.
    pub type_: Name,
    /// OpenAPI format; `name` marks the column that identifies the row.
    pub format: Name,
    /// 0 is always shown, 1 in wide output.
    pub priority: i32,
}

/// Where a kind's objects are kept.
#[derive(Clone, Copy)]
pub enum Storage {
    /// Under the kind's own name.
    Own,
    /// Another kind's objects in another shape (events.k8s.io over core events).
    View(&'static dyn Conversion),
    /// Nowhere: a request in the form of an object (TokenReview). The API server's handlers answer.
    Virtual,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "Own",
            Self::View(_) => "View",
            Self::Virtual => "Virtual",
        })
    }
}

/// Turns a view's objects into what is stored and back. Both ways are total: what one shape has and the other has not
/// goes into the other's deprecated twins.
pub trait Conversion: Send + Sync {
    /// Group and plural of the stored kind.
    fn stored(&self) -> (&'static str, &'static str);
    /// Version of the stored kind.
    fn stored_version(&self) -> &'static str;
    /// From the view's shape to the stored one.
    fn to_stored(&self, object: serde_json::Value) -> serde_json::Value;
    /// From the stored shape to the view's.
    fn to_view(&self, object: serde_json::Value) -> serde_json::Value;
}

impl Kind {
    /// The next [`Kind::id`].
    pub(crate) fn next_id() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// What whoever uses a deprecated kind or version is told.
    pub fn deprecation(&self) -> Option<&str> {
        match (&self.custom, self.resource()) {
            (Some(custom), _) => custom.deprecation(),
            (None, ("", "componentstatuses")) => Some("v1 ComponentStatus is deprecated in v1.19+"),
            (None, ("", "endpoints")) => {
                Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
            }
            _ => None,
        }
    }

    /// Group, version and kind of the body that the kind, or its subresource, takes.
    pub fn body(&self, sub: &str) -> (&str, &str, &str) {
        self.subresource(sub).and_then(|sub| sub.body).unwrap_or(self.gvk())
    }

    /// The type of that body.
    pub fn body_type(&self, sub: &str) -> Option<TypeRef<'_>> {
        let own = self.subresource(sub).is_none_or(|sub| sub.body.is_none());
        match &self.custom {
            Some(custom) if own => Some(custom.ty()),
            _ => {
                let (group, version, kind) = self.body(sub);
                Schemas::builtin().kind(group, version, kind)
            }
        }
    }

    /// Group and plural: which resource this is, in whichever version.
    pub fn resource(&self) -> (&str, &str) {
        (&self.group, &self.plural)
    }

    /// Group, version and kind.
    pub fn gvk(&self) -> (&str, &str, &str) {
        (&self.group, &self.version, &self.kind)
    }

    /// For messages about the resource: `deployments.apps`.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(self.group.clone(), self.plural.clone())
    }

    /// For messages about the kind: `Deployment.apps`.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::new(self.group.clone(), self.kind.clone())
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone().into_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `group/version` of stored bodies where that is not the kind's own.
    pub(crate) fn stored_version(&self) -> Option<&str> {
        self.custom.as_ref().map(|custom| custom.storage_version())
    }

    /// Group, version and kind that objects are stored in; none where nothing is.
    pub fn storage_version(&self) -> Option<(&str, &str, &str)> {
        let (group, version) = match (self.storage, self.stored_version()) {
            (Storage::Virtual, _) => return None,
            (Storage::View(conversion), _) => (conversion.stored().0, conversion.stored_version()),
            (Storage::Own, Some(stored)) => stored.split_once('/').unwrap_or(("", stored)),
            (Storage::Own, None) => (&*self.group, &*self.version),
        };
        Some((group, version, &self.kind))
    }

    /// The versions between which a webhook converts, where one does.
    pub(crate) fn family(&self) -> Option<&Family> {
        self.custom.as_ref().and_then(|custom| custom.family())
    }

    /// The served subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// Whether objects of the kind are kept (also as a view).
    pub fn is_stored(&self) -> bool {
        !matches!(self.storage, Storage::Virtual)
    }

    /// Whether the status is written apart from the rest.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// Whether both are forms of the same stored objects: another version, or a view. Of itself it is true.
    pub fn same_objects(&self, other: &Self) -> bool {
        self.prefix == other.prefix
    }

    /// The store's key of an object; `namespace` is ignored for a cluster-scoped kind.
    pub(crate) fn key(&self, namespace: Option<&str>, name: &str) -> String {
        match namespace {
            Some(namespace) if self.namespaced => format!("{}{namespace}/{name}", self.prefix),
            _ => format!("{}{name}", self.prefix),
        }
    }

    /// The prefix of all keys of the kind, or of those in one namespace.
    pub(crate) fn range(&self, namespace: Option<&str>) -> String {
        match namespace {
            Some(namespace) if self.namespaced && !namespace.is_empty() => {
                format!("{}{namespace}/", self.prefix)
            }
            _ => self.prefix.clone(),
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({}/{} {})", self.group, self.version, self.kind)
    }
}

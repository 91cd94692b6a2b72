//! Types that variables are declared with, and that the checker infers. JSON values are read by them: a `number` is a
//! double even where the text says `1`, a `date-time` a timestamp.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What an expression is known to be. Cloning is cheap.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Anything; what it is shows at evaluation. Also int-or-string, and objects of unknown shape.
    Dyn,
    /// The type of `null`.
    Null,
    /// `true` and `false`.
    Bool,
    /// 64 bits, signed.
    Int,
    /// 64 bits, unsigned.
    Uint,
    /// IEEE 754.
    Double,
    /// Text; with the most characters it may have, where that is known.
    String(Option<u64>),
    /// Bytes, base64 in JSON; with the most it may have, where that is known.
    Bytes(Option<u64>),
    /// A length of time, Go's form in JSON (`1h30m`).
    Duration,
    /// A point in time, RFC 3339 in JSON.
    Timestamp,
    /// A list.
    List(Arc<ListType>),
    /// A map of any keys.
    Map(Arc<MapType>),
    /// An object of declared fields.
    Object(Arc<ObjectType>),
    /// A value that may be absent.
    Optional(Arc<Type>),
    /// The type of types.
    Type,
    /// One of the libraries' own types.
    Library(Library),
    /// A type variable of a function's signature; never of an expression.
    Param(char),
}

/// Types that Kubernetes' libraries add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the libraries' own")]
pub enum Library {
    Quantity,
    Ip,
    Cidr,
    Url,
    Semver,
    Format,
    Authorizer,
    PathCheck,
    GroupCheck,
    ResourceCheck,
    Decision,
    /// `Object{..}` of a mutation.
    MutationObject,
    /// `JSONPatch{..}` of a mutation.
    JsonPatch,
}

/// A list's declaration.
#[derive(Debug, PartialEq)]
pub struct ListType {
    /// What it holds.
    pub element: Type,
    /// The most items, where that is known.
    pub max_items: Option<u64>,
    /// x-kubernetes-list-type.
    pub kind: ListKind,
}

/// How lists are compared and joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    /// In order.
    #[default]
    Atomic,
    /// Without order.
    Set,
    /// Without order; items are the same where these fields are.
    Map(Vec<String>),
}

/// A map's declaration.
#[derive(Debug, PartialEq)]
pub struct MapType {
    /// Of the keys.
    pub key: Type,
    /// Of the values.
    pub value: Type,
    /// The most entries, where that is known.
    pub max_properties: Option<u64>,
}

/// An object's declaration. Made with [`ObjectType::new`] and [`ObjectType::field`].
#[derive(Debug, PartialEq)]
pub struct ObjectType {
    name: String,
    /// By escaped name.
    fields: BTreeMap<String, Field>,
}

/// One declared field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    /// As it stands in JSON.
    pub(crate) name: Arc<str>,
    pub(crate) ty: Type,
}

impl ObjectType {
    /// Without fields yet. The name is for messages.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), fields: BTreeMap::new() }
    }

    /// With one more field, by its name in JSON. A name that cannot be escaped cannot be reached, as upstream.
    #[must_use]
    pub fn field(mut self, name: &str, ty: Type) -> Self {
        if let Some(escaped) = escape(name) {
            self.fields.insert(escaped, Field { name: name.into(), ty });
        }
        self
    }

    /// With one more field that is reached by its own name, though that is a reserved word: built-in types of Kubernetes
    /// have `namespace` so.
    #[must_use]
    pub fn field_named(mut self, name: &str, ty: Type) -> Self {
        self.fields.insert(name.to_owned(), Field { name: name.into(), ty });
        self
    }

    pub(crate) fn get(&self, escaped: &str) -> Option<&Field> {
        self.fields.get(escaped)
    }

    /// By the field's name in JSON; only the object's values ask.
    pub(crate) fn of_json(&self, name: &str) -> Option<&Type> {
        match self.fields.get(name) {
            Some(field) if &*field.name == name => Some(&field.ty),
            _ => self.fields.get(&escape(name)?).map(|field| &field.ty),
        }
    }
}

impl Type {
    /// A text of any length.
    pub const STRING: Type = Type::String(None);
    /// Bytes of any number.
    pub const BYTES: Type = Type::Bytes(None);

    /// A list in order.
    pub fn list(element: Type) -> Type {
        Self::list_of(element, ListKind::Atomic, None)
    }

    /// A list of a kind and of a greatest length.
    pub fn list_of(element: Type, kind: ListKind, max_items: Option<u64>) -> Type {
        Type::List(Arc::new(ListType { element, max_items, kind }))
    }

    /// A map by text.
    pub fn map(value: Type) -> Type {
        Self::map_of(Type::STRING, value, None)
    }

    /// A map with keys of any type and a greatest size.
    pub fn map_of(key: Type, value: Type, max_properties: Option<u64>) -> Type {
        Type::Map(Arc::new(MapType { key, value, max_properties }))
    }

    /// An optional value.
    pub fn optional(of: Type) -> Type {
        Type::Optional(Arc::new(of))
    }

    /// An object of declared fields.
    pub fn object(object: ObjectType) -> Type {
        Type::Object(Arc::new(object))
    }

    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn)
    }

    /// Whether both are the same but for sizes.
    pub(crate) fn is_like(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::String(_), Type::String(_)) | (Type::Bytes(_), Type::Bytes(_)) => true,
            (Type::List(a), Type::List(b)) => a.element.is_like(&b.element),
            (Type::Map(a), Type::Map(b)) => a.key.is_like(&b.key) && a.value.is_like(&b.value),
            (Type::Optional(a), Type::Optional(b)) => a.is_like(b),
            (Type::Object(a), Type::Object(b)) => Arc::ptr_eq(a, b) || a.name == b.name,
            _ => self == other,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn => f.write_str("dyn"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::String(_) => f.write_str("string"),
            Type::Bytes(_) => f.write_str("bytes"),
            Type::Duration => f.write_str("duration"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::List(list) => write!(f, "list({})", list.element),
            Type::Map(map) => write!(f, "map({}, {})", map.key, map.value),
            Type::Object(object) => f.write_str(&object.name),
            Type::Optional(of) => write!(f, "optional_type({of})"),
            Type::Type => f.write_str("type"),
            Type::Library(library) => f.write_str(library.name()),
            Type::Param(letter) => write!(f, "{letter}"),
        }
    }
}

impl Library {
    /// As messages and `type()` have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quantity => "kubernetes.Quantity",
            Self::Ip => "net.IP",
            Self::Cidr => "net.CIDR",
            Self::Url => "kubernetes.URL",
            Self::Semver => "kubernetes.Semver",
            Self::Format => "kubernetes.NamedFormat",
            Self::Authorizer => "kubernetes.authorization.Authorizer",
            Self::PathCheck => "kubernetes.authorization.PathCheck",
            Self::GroupCheck => "kubernetes.authorization.GroupCheck",
            Self::ResourceCheck => "kubernetes.authorization.ResourceCheck",
            Self::Decision => "kubernetes.authorization.Decision",
            Self::MutationObject => "Object",
            Self::JsonPatch => "JSONPatch",
        }
    }
}

/// Words of CEL that cannot be identifiers.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The identifier under which a field of this name is reached; none where there is no such.
/// <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules>
pub fn escape(name: &str) -> Option<String> {
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let first = name.chars().next()?;
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/');
    if first.is_ascii_digit() || !name.chars().all(word) {
        return None;
    }
    let escaped = name.replace("__", "__underscores__");
    Some(escaped.replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_identifiers_are_escaped() {
        let rows = [
            ("replicas", Some("replicas")),
            ("namespace", Some("__namespace__")),
            ("x-prop", Some("x__dash__prop")),
            ("a.b/c", Some("a__dot__b__slash__c")),
            ("redact__d", Some("redact__underscores__d")),
            ("1st", None),
            ("a b", None),
            ("", None),
        ];
        for (name, expected) in rows {
            assert_eq!(escape(name).as_deref(), expected, "{name}");
        }
    }
}

//! Values at evaluation. JSON is not copied: lists and objects point into the caller's value and are read where the
//! expression looks.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ipnet::IpNet;
use keelson_semantics::Quantity;
use serde_json::Value as Json;
use time::OffsetDateTime;

use crate::authorizer::Check;
use crate::library::{format::Format, time as clock, url::Url};
use crate::types::{Library, ListType, MapType, ObjectType, Type};

/// A value. `'a` is the life of the JSON that it was read from.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// bool
    Bool(bool),
    /// int
    Int(i64),
    /// uint
    Uint(u64),
    /// double
    Double(f64),
    /// string
    String(Text<'a>),
    /// bytes
    Bytes(Arc<[u8]>),
    /// A list.
    List(List<'a>),
    /// A map or an object.
    Map(Map<'a>),
    /// duration, in nanoseconds
    Duration(i64),
    /// timestamp, in UTC
    Timestamp(OffsetDateTime),
    /// A type as a value.
    Type(Type),
    /// optional
    Optional(Option<Arc<Value<'a>>>),
    /// kubernetes.Quantity
    Quantity(Quantity),
    /// net.IP
    Ip(IpAddr),
    /// net.CIDR
    Cidr(IpNet),
    /// kubernetes.URL
    Url(Arc<Url>),
    /// kubernetes.Semver
    Semver(Arc<semver::Version>),
    /// kubernetes.NamedFormat
    Format(Format),
    /// The authorizer and what is made of it.
    Authorizer(Arc<Check<'a>>),
}

/// A text, of the caller or made.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    /// Of the caller.
    Borrowed(&'a str),
    /// Made by an expression.
    Own(Arc<str>),
}

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Own(text) => text,
        }
    }
}

/// A list, of the caller or made.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// Of the caller, with its declaration.
    Json(&'a [Json], Option<Arc<ListType>>),
    /// Made by an expression.
    Own(Arc<Made<Vec<Value<'a>>>>),
}

/// A map or an object, of the caller or made.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// Of the caller, with its declaration.
    Json(&'a serde_json::Map<String, Json>, Shape),
    /// Made by an expression.
    Own(Arc<Made<BTreeMap<Key<'a>, Value<'a>>>>),
}

/// What an expression put together, and how deep: expressions may name what others made and put it into more.
#[derive(Debug)]
pub struct Made<T> {
    inner: T,
    depth: usize,
}

impl<T> std::ops::Deref for Made<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

/// How a JSON object is declared.
#[derive(Clone, Debug)]
pub enum Shape {
    /// Not at all.
    Open,
    /// As a map.
    Map(Arc<MapType>),
    /// As an object of fields.
    Object(Arc<ObjectType>),
}

/// A map's key. Whole numbers are the same key whatever their type.
#[derive(Clone, Debug)]
pub enum Key<'a> {
    /// bool
    Bool(bool),
    /// int or uint
    Int(i128),
    /// string
    String(Text<'a>),
}

impl Key<'_> {
    fn rank(&self) -> (u8, i128, &str) {
        match self {
            Self::Bool(value) => (0, i128::from(*value), ""),
            Self::Int(value) => (1, *value, ""),
            Self::String(text) => (2, 0, text),
        }
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Key<'_> {}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl<'a> Value<'a> {
    /// JSON as its declaration reads it. Where the two do not agree, which validation does not let through, it is read
    /// by what it is.
    pub fn from_json(json: &'a Json, ty: &Type) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (ty, number.as_i64(), number.as_u64()) {
                (Type::Double, ..) | (_, None, None) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
                (Type::Uint, _, Some(value)) | (_, None, Some(value)) => Self::Uint(value),
                (_, Some(value), _) => Self::Int(value),
            },
            Json::String(text) => Self::from_text(text, ty),
            Json::Array(items) => Self::List(List::Json(
                items,
                match ty {
                    Type::List(list) => Some(list.clone()),
                    _ => None,
                },
            )),
            Json::Object(fields) => Self::Map(Map::Json(
                fields,
                match ty {
                    Type::Map(map) => Shape::Map(map.clone()),
                    Type::Object(object) => Shape::Object(object.clone()),
                    _ => Shape::Open,
                },
            )),
        }
    }

    fn from_text(text: &'a str, ty: &Type) -> Self {
        let read = match ty {
            Type::Duration => clock::duration(text).map(Self::Duration),
            Type::Timestamp => clock::timestamp_or_date(text).map(Self::Timestamp),
            Type::Bytes(_) => BASE64.decode(text).ok().map(|bytes| Self::Bytes(bytes.into())),
            _ => None,
        };
        read.unwrap_or(Self::String(Text::Borrowed(text)))
    }

    /// A text that was made.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::String(Text::Own(text.into()))
    }

    pub(crate) fn list(items: Vec<Value<'a>>) -> Self {
        let depth = items.iter().map(Value::depth).max().unwrap_or(0) + 1;
        Self::List(List::Own(Arc::new(Made { inner: items, depth })))
    }

    pub(crate) fn map(entries: BTreeMap<Key<'a>, Value<'a>>) -> Self {
        let depth = entries.values().map(Value::depth).max().unwrap_or(0) + 1;
        Self::Map(Map::Own(Arc::new(Made { inner: entries, depth })))
    }

    /// How many lists, maps and optionals that expressions made are in each other.
    pub(crate) fn depth(&self) -> usize {
        match self {
            Self::List(List::Own(items)) => items.depth,
            Self::Map(Map::Own(entries)) => entries.depth,
            Self::Optional(Some(value)) => value.depth() + 1,
            _ => 0,
        }
    }

    pub(crate) fn some(value: Value<'a>) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// The text, where it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is true; none where it is no bool.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The JSON of it, as Kubernetes writes such values; none for what has no JSON (types, authorizers, NaN).
    pub fn to_json(&self) -> Option<Json> {
        Some(match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => (*value).into(),
            Self::Uint(value) => (*value).into(),
            Self::Double(value) => serde_json::Number::from_f64(*value)?.into(),
            Self::String(text) => Json::String(text.to_string()),
            Self::Bytes(bytes) => Json::String(BASE64.encode(bytes)),
            Self::Duration(nanos) => Json::String(clock::duration_text(*nanos)),
            Self::Timestamp(time) => Json::String(clock::timestamp_text(*time)),
            Self::Quantity(quantity) => Json::String(quantity.to_string()),
            Self::Ip(ip) => Json::String(ip.to_string()),
            Self::Cidr(cidr) => Json::String(cidr.to_string()),
            Self::Url(url) => Json::String(url.text().to_owned()),
            Self::Semver(version) => Json::String(version.to_string()),
            Self::List(List::Json(items, _)) => Json::Array(items.to_vec()),
            Self::Map(Map::Json(fields, _)) => Json::Object((*fields).clone()),
            Self::List(List::Own(items)) => {
                items.iter().map(Value::to_json).collect::<Option<Vec<_>>>()?.into()
            }
            Self::Map(Map::Own(entries)) => {
                let pairs =
                    entries.iter().map(|(key, value)| Some((key.text()?.into_owned(), value.to_json()?)));
                Json::Object(pairs.collect::<Option<_>>()?)
            }
            Self::Optional(Some(value)) => value.to_json()?,
            Self::Optional(None) | Self::Type(_) | Self::Format(_) | Self::Authorizer(_) => return None,
        })
    }

    /// What `type()` says.
    pub(crate) fn type_of(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::STRING,
            Self::Bytes(_) => Type::BYTES,
            Self::List(_) => Type::list(Type::Dyn),
            Self::Map(Map::Json(_, Shape::Object(object))) => Type::Object(object.clone()),
            Self::Map(_) => Type::map_of(Type::Dyn, Type::Dyn, None),
            Self::Duration(_) => Type::Duration,
            Self::Timestamp(_) => Type::Timestamp,
            Self::Type(_) => Type::Type,
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Quantity(_) => Type::Library(Library::Quantity),
            Self::Ip(_) => Type::Library(Library::Ip),
            Self::Cidr(_) => Type::Library(Library::Cidr),
            Self::Url(_) => Type::Library(Library::Url),
            Self::Semver(_) => Type::Library(Library::Semver),
            Self::Format(_) => Type::Library(Library::Format),
            Self::Authorizer(check) => Type::Library(check.library()),
        }
    }

    pub(crate) fn key(&self) -> Option<Key<'a>> {
        Some(match self {
            Self::Bool(value) => Key::Bool(*value),
            Self::Int(value) => Key::Int(i128::from(*value)),
            Self::Uint(value) => Key::Int(i128::from(*value)),
            Self::Double(value) if value.fract() == 0.0 && value.abs() < 1e18 => Key::Int(*value as i128),
            Self::String(text) => Key::String(text.clone()),
            _ => return None,
        })
    }
}

impl<'a> Key<'a> {
    /// The same key, borrowing from nobody: a map gives its values only to keys that live as long.
    fn own(&self) -> Key<'static> {
        match self {
            Self::Bool(value) => Key::Bool(*value),
            Self::Int(value) => Key::Int(*value),
            Self::String(text) => Key::String(Text::Own((&**text).into())),
        }
    }

    pub(crate) fn value(&self) -> Value<'a> {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => i64::try_from(*value).map_or_else(|_| Value::Uint(*value as u64), Value::Int),
            Self::String(text) => Value::String(text.clone()),
        }
    }

    fn text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Bool(value) => value.to_string().into(),
            Self::Int(value) => value.to_string().into(),
            Self::String(text) => Cow::Borrowed(text),
        })
    }
}

impl<'a> List<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Json(items, _) => items.len(),
            Self::Own(items) => items.len(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Self::Json(items, ty) => items
                .get(index)
                .map(|item| Value::from_json(item, ty.as_ref().map_or(&Type::Dyn, |list| &list.element))),
            Self::Own(items) => items.get(index).cloned(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    pub(crate) fn declared(&self) -> Option<&Arc<ListType>> {
        match self {
            Self::Json(_, ty) => ty.as_ref(),
            Self::Own(_) => None,
        }
    }
}

impl<'a> Map<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Json(fields, _) => fields.len(),
            Self::Own(entries) => entries.len(),
        }
    }

    /// By key, as `m[k]` and `k in m` ask.
    pub(crate) fn get(&self, key: &Key<'_>) -> Option<Value<'a>> {
        match (self, key) {
            (Self::Json(fields, shape), Key::String(name)) => {
                fields.get(&**name).map(|value| Value::from_json(value, shape.of(name)))
            }
            (Self::Json(..), _) => None,
            (Self::Own(entries), key) => entries.get(&key.own()).cloned(),
        }
    }

    /// By field, as `m.f` asks; a declared object's fields are named by their escaped names.
    pub(crate) fn field(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Self::Json(fields, Shape::Object(object)) => {
                let field = object.get(name)?;
                fields.get(&*field.name).map(|value| Value::from_json(value, &field.ty))
            }
            Self::Json(fields, shape) => {
                fields.get(name).map(|value| Value::from_json(value, shape.of(name)))
            }
            Self::Own(entries) => entries.get(&Key::String(Text::Own(name.into()))).cloned(),
        }
    }

    pub(crate) fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Self::Json(fields, _) => fields.keys().map(|key| Value::String(Text::Borrowed(key))).collect(),
            Self::Own(entries) => entries.keys().map(Key::value).collect(),
        }
    }
}

impl Shape {
    fn of(&self, name: &str) -> &Type {
        match self {
            Self::Open => &Type::Dyn,
            Self::Map(map) => &map.value,
            Self::Object(object) => object.of_json(name).unwrap_or(&Type::Dyn),
        }
    }
}

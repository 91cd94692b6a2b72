//! The runtime schema: for every type its properties, their JSON shapes and their merge rules.
//!
//! Compact and immutable: about 500 types and 2,200 properties in some hundred kilobytes, whose names point into the
//! embedded table. Does not hold descriptions; those are only in the OpenAPI definitions.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use serde_json::Value;

use crate::decode::Wire;
use crate::{defaults, load};

/// All types and kinds of one source.
#[derive(Debug, Default)]
pub struct Schemas {
    pub(crate) types: Vec<Type>,
    /// What arrays hold and maps map to.
    pub(crate) inner: Vec<Shape>,
    /// Sorted by group, version and kind.
    pub(crate) kinds: Vec<Kind>,
    /// What else there is to say of a custom resource, whose type is the first.
    pub(crate) custom: Option<Box<crate::custom::Schema>>,
}

#[derive(Debug)]
pub(crate) struct Kind {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub type_id: u16,
}

/// An object type with known properties.
#[derive(Debug)]
pub(crate) struct Type {
    pub name: Cow<'static, str>,
    pub map_atomic: bool,
    /// Sorted by name.
    pub properties: Vec<Property>,
    /// Conditional defaults that hold wherever the type is used.
    pub hook: Option<defaults::Hook>,
    /// Whether defaulting has anything to do in it or below it.
    pub has_defaults: bool,
    /// Whether it keeps what it does not declare.
    pub open: bool,
    /// Its fields in protobuf.
    pub wire: Wire,
}

/// A property of an object type.
#[derive(Debug)]
pub struct Property {
    /// Its JSON key.
    pub name: Cow<'static, str>,
    /// Its JSON type.
    pub shape: Shape,
    /// Whether the API definition requires it.
    pub required: bool,
    /// Whether upstream's structures hold it by value, so that it is there even when JSON leaves it out.
    pub(crate) held: bool,
    /// How it is merged; none: arrays are replaced, objects merged key by key.
    pub merge: Option<Box<Merge>>,
    pub(crate) default: Option<Box<Default>>,
}

/// What a property is where it is unset.
#[derive(Debug)]
pub(crate) struct Default {
    pub value: Value,
    /// 0 counts as unset too.
    pub zero_is_unset: bool,
}

/// The merge rules of a property.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merge {
    /// For server-side apply.
    pub list_type: ListType,
    /// The keys of a `map` list, for server-side apply.
    pub map_keys: Vec<Cow<'static, str>>,
    /// A map or object that is replaced whole by server-side apply.
    pub map_atomic: bool,
    /// A map or object that is merged by server-side apply though its type is replaced whole elsewhere.
    pub map_granular: bool,
    /// Strategic merge patch merges the list, by `merge_key` if it holds objects.
    pub patch_merge: bool,
    /// Strategic merge patch replaces the object or list.
    pub patch_replace: bool,
    /// Strategic merge patch honours `$retainKeys`; informative, the directive works wherever it stands.
    pub patch_retain_keys: bool,
    /// The key of list items for strategic merge patch.
    pub merge_key: Option<&'static str>,
}

/// How server-side apply sees a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// Replaced whole.
    #[default]
    Atomic,
    /// Scalars without order or repetition.
    Set,
    /// Objects told apart by their map keys.
    Map,
}

/// The JSON type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// `true` or `false`.
    Bool,
    /// An integer of 32 bits.
    Int32,
    /// An integer of 64 bits.
    Int64,
    /// Any number.
    Float,
    /// A text.
    String,
    /// Bytes as base64.
    Bytes,
    /// RFC 3339, whole seconds.
    Time,
    /// RFC 3339, microseconds.
    MicroTime,
    /// A resource quantity.
    Quantity,
    /// A number or a text.
    IntOrString,
    /// Anything.
    Json,
    /// Any object.
    Opaque,
    /// Anything, and nothing is known of what is in it.
    Free,
    /// An object with known properties.
    Object(u16),
    /// A list; see [`TypeRef::inner`].
    Array(u16),
    /// An object with free keys; see [`TypeRef::inner`].
    Map(u16),
}

/// A shape together with the schemas that it refers to.
#[derive(Clone, Copy)]
pub struct TypeRef<'s> {
    pub(crate) schemas: &'s Schemas,
    pub(crate) shape: Shape,
}

impl Schemas {
    /// The built-in kinds of API version 1.36.
    #[must_use]
    pub fn builtin() -> &'static Schemas {
        static BUILTIN: LazyLock<Schemas> = LazyLock::new(load::builtin);
        &BUILTIN
    }

    /// The type of a kind; none if it is not built in.
    #[must_use]
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<TypeRef<'_>> {
        let at = self
            .kinds
            .binary_search_by(|k| (k.group, k.version, k.kind).cmp(&(group, version, kind)))
            .ok()?;
        Some(TypeRef { schemas: self, shape: Shape::Object(self.kinds[at].type_id) })
    }

    /// The first type: that of a custom resource's own schemas.
    pub(crate) fn first(&self) -> TypeRef<'_> {
        TypeRef { schemas: self, shape: Shape::Object(0) }
    }

    /// A type by the name of its published definition, e.g. `io.k8s.api.core.v1.PodSpec`.
    #[must_use]
    pub fn definition(&self, name: &str) -> Option<TypeRef<'_>> {
        let at = self.types.binary_search_by(|ty| (*ty.name).cmp(name)).ok()?;
        Some(TypeRef { schemas: self, shape: Shape::Object(u16::try_from(at).ok()?) })
    }

    /// The type of the options that a DELETE may carry as its body, in whichever group and version.
    #[must_use]
    pub fn delete_options(&self) -> TypeRef<'_> {
        self.definition("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions")
            .expect("every table has the meta types")
    }

    /// Every built-in (group, version, kind), sorted.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        self.kinds.iter().map(|k| (k.group, k.version, k.kind))
    }
}

impl<'s> TypeRef<'s> {
    /// The JSON type.
    #[must_use]
    pub fn shape(self) -> Shape {
        self.shape
    }

    /// What a custom resource's schema says beyond its types.
    pub(crate) fn custom(self) -> Option<&'s crate::custom::Schema> {
        self.schemas.custom.as_deref().filter(|_| self.shape == Shape::Object(0))
    }

    pub(crate) fn object(self) -> Option<&'s Type> {
        match self.shape {
            Shape::Object(id) => self.schemas.types.get(usize::from(id)),
            _ => None,
        }
    }

    /// The name of the published definition; none for what is no object type.
    #[must_use]
    pub fn name(self) -> Option<&'s str> {
        self.object().map(|ty| &*ty.name)
    }

    /// The kind, or the last part of the definition's name.
    #[must_use]
    pub fn kind(self) -> &'s str {
        self.name().and_then(|name| name.rsplit('.').next()).unwrap_or("object")
    }

    /// The API version without its group, e.g. `v1`.
    #[must_use]
    pub fn version(self) -> &'s str {
        self.name().and_then(|name| name.rsplit('.').nth(1)).unwrap_or_default()
    }

    /// A property by its JSON key.
    #[must_use]
    pub fn property(self, name: &str) -> Option<&'s Property> {
        self.object()?.property(name)
    }

    /// All properties, sorted by name; none for what is no object type.
    pub fn properties(self) -> impl Iterator<Item = &'s Property> {
        self.object().map(|ty| ty.properties.as_slice()).unwrap_or_default().iter()
    }

    /// The type of a property's value.
    #[must_use]
    pub fn child(self, property: &Property) -> TypeRef<'s> {
        TypeRef { schemas: self.schemas, shape: property.shape }
    }

    /// The type of a list's items or of a map's values.
    #[must_use]
    pub fn inner(self) -> Option<TypeRef<'s>> {
        match self.shape {
            Shape::Array(id) | Shape::Map(id) => {
                let shape = *self.schemas.inner.get(usize::from(id))?;
                Some(TypeRef { schemas: self.schemas, shape })
            }
            _ => None,
        }
    }

    /// Whether server-side apply replaces the object whole wherever it is used.
    #[must_use]
    pub fn is_atomic(self) -> bool {
        self.object().is_some_and(|ty| ty.map_atomic)
    }
}

impl fmt::Debug for TypeRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => self.shape.fmt(f),
        }
    }
}

impl Type {
    pub(crate) fn index_of(&self, name: &str) -> Option<usize> {
        self.properties.binary_search_by(|p| (*p.name).cmp(name)).ok()
    }

    pub(crate) fn property(&self, name: &str) -> Option<&Property> {
        self.index_of(name).map(|at| &self.properties[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_know_their_properties() {
        let pod = Schemas::builtin().kind("", "v1", "Pod").expect("Pod is built in");
        assert_eq!((pod.kind(), pod.version()), ("Pod", "v1"));
        let spec = pod.child(pod.property("spec").expect("a pod has a spec"));
        let containers = spec.property("containers").expect("a pod spec has containers");
        assert!(containers.required);
        let merge = containers.merge.as_deref().expect("containers are merged");
        assert_eq!(merge.merge_key, Some("name"));
        assert_eq!((merge.list_type, merge.map_keys.as_slice()), (ListType::Map, ["name".into()].as_slice()));
        let container = spec.child(containers).inner().expect("a list has items");
        assert_eq!(container.name(), Some("io.k8s.api.core.v1.Container"));
        let ports = container.property("ports").and_then(|p| p.merge.as_deref()).expect("ports are merged");
        assert_eq!(ports.map_keys, ["containerPort", "protocol"]);
        assert_eq!(ports.merge_key, Some("containerPort"));
        assert!(pod.property("spek").is_none());
    }

    #[test]
    fn special_shapes_are_recognised() {
        let schemas = Schemas::builtin();
        for (definition, property, shape) in [
            ("io.k8s.api.core.v1.ServicePort", "targetPort", Shape::IntOrString),
            ("io.k8s.api.coordination.v1.LeaseSpec", "renewTime", Shape::MicroTime),
            ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "creationTimestamp", Shape::Time),
            ("io.k8s.apimachinery.pkg.apis.meta.v1.ManagedFieldsEntry", "fieldsV1", Shape::Opaque),
            ("io.k8s.api.core.v1.EmptyDirVolumeSource", "sizeLimit", Shape::Quantity),
            ("io.k8s.api.core.v1.PodSpec", "terminationGracePeriodSeconds", Shape::Int64),
        ] {
            let ty = schemas.definition(definition).expect("an embedded definition");
            assert_eq!(ty.property(property).map(|p| p.shape), Some(shape), "{definition}.{property}");
        }
        assert_eq!(schemas.delete_options().kind(), "DeleteOptions");
        assert!(schemas.kind("apps", "v1", "Deployment").is_some());
        assert!(schemas.kind("extensions", "v1beta1", "Deployment").is_none());
    }
}

//! What the schema says of a place in an object: is it owned whole, by its entries, or by its items, and how are those
//! told apart.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::element::Element;
use super::set::Branch;
use crate::types::{ListType, Merge, Shape, TypeRef};

/// A place in an object. Without a type, the value says what it is.
#[derive(Clone, Copy, Debug)]
pub struct Place<'s> {
    ty: Option<TypeRef<'s>>,
    /// The rules of the property that leads here.
    merge: Option<&'s Merge>,
}

/// A property or entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child<'s> {
    pub(super) place: Place<'s>,
    /// Its name, of a property of a structure.
    pub(super) name: Option<&'s Cow<'static, str>>,
    held: bool,
}

impl Child<'_> {
    /// What an absent property stands for where it cannot be absent: upstream's structures hold it by value, and so it
    /// never comes or goes, only what is in it.
    pub(super) fn absent(&self) -> Option<&'static Value> {
        let is_list = matches!(self.place.ty.map(TypeRef::shape), Some(Shape::Array(_)));
        self.held.then(|| if is_list { &NO_ITEMS } else { &*NO_FIELDS })
    }

    /// The step to it; only names that no schema knows are copied.
    pub(super) fn element(&self, name: &str) -> Element {
        Element::Field(self.name.map_or_else(|| Cow::Owned(name.to_owned()), Cow::clone))
    }
}

/// How a place is owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form<'s> {
    /// Whole.
    Leaf,
    /// By its properties or entries.
    Fields,
    /// By its items, which are scalars.
    Set,
    /// By its items, which are objects told apart by these keys.
    Keyed(&'s [Cow<'static, str>]),
}

static NO_FIELDS: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
static NO_ITEMS: Value = Value::Array(Vec::new());

impl<'s> Place<'s> {
    /// An object of this type.
    #[must_use]
    pub fn of(ty: TypeRef<'s>) -> Place<'s> {
        Place { ty: Some(ty), merge: None }
    }

    /// Where no schema knows what is there.
    #[must_use]
    pub fn deduced() -> Place<'static> {
        Place { ty: None, merge: None }
    }

    pub(super) fn ty(&self) -> Option<TypeRef<'s>> {
        self.ty
    }

    pub(super) fn form(&self, value: &Value) -> Form<'s> {
        let Some(ty) = self.ty else {
            return if value.is_object() { Form::Fields } else { Form::Leaf };
        };
        match ty.shape() {
            Shape::Object(_) | Shape::Map(_) => {
                let atomic = match self.merge {
                    Some(merge) if merge.map_atomic || merge.map_granular => merge.map_atomic,
                    _ => ty.is_atomic(),
                };
                if atomic { Form::Leaf } else { Form::Fields }
            }
            Shape::Array(_) => match self.merge {
                Some(merge) if merge.list_type == ListType::Set => Form::Set,
                Some(merge) if merge.list_type == ListType::Map => Form::Keyed(&merge.map_keys),
                _ => Form::Leaf,
            },
            _ => Form::Leaf,
        }
    }

    /// The place of a property or entry.
    pub(super) fn field(&self, name: &str) -> Place<'s> {
        self.child(name).place
    }

    /// All that is known of a property or entry, by one look.
    pub(super) fn child(&self, name: &str) -> Child<'s> {
        match self.ty.and_then(|ty| Some((ty, ty.property(name)?))) {
            Some((ty, property)) => Child {
                place: Place { ty: known(ty.child(property)), merge: property.merge.as_deref() },
                name: Some(&property.name),
                held: property.held,
            },
            None => Child { place: self.item(), name: None, held: false },
        }
    }

    /// The place of the items.
    pub(super) fn item(&self) -> Place<'s> {
        Place { ty: self.ty.and_then(TypeRef::inner).and_then(known), merge: None }
    }

    pub(super) fn below(&self, element: &Element) -> Place<'s> {
        match element {
            Element::Field(name) => self.field(name),
            Element::Keys(_) | Element::Item(_) | Element::Index(_) => self.item(),
        }
    }

    /// A property of a structure, as against an entry of a map or an item.
    pub(super) fn is_named(&self, element: &Element) -> bool {
        match element {
            Element::Field(name) => self.ty.is_some_and(|ty| ty.property(name).is_some()),
            _ => false,
        }
    }

    /// Whether the schema knows such a property or takes any.
    pub(super) fn takes(&self, name: &str) -> bool {
        match self.ty {
            Some(ty) if ty.object().is_some_and(|known| !known.open) => ty.property(name).is_some(),
            _ => true,
        }
    }

    /// The element of a list's item; Err says why it has none.
    pub(super) fn element(&self, form: Form<'_>, item: &Value) -> Result<Element, String> {
        match form {
            Form::Keyed(keys) => self.keyed(keys, item),
            _ => match item {
                Value::Object(_) => {
                    Err("associative list without keys has an element that's a map type".into())
                }
                Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
                Value::Null => {
                    Err("associative list without keys has an element that's an explicit null".into())
                }
                scalar => Ok(Element::Item(scalar.clone())),
            },
        }
    }

    fn keyed(&self, keys: &[Cow<'static, str>], item: &Value) -> Result<Element, String> {
        let object = match item {
            Value::Object(object) => object,
            Value::Null => return Err("associative list with keys may not have a null element".into()),
            _ => return Err("associative list with keys may not have non-map elements".into()),
        };
        let mut found: Vec<(Cow<'static, str>, Value)> = keys
            .iter()
            .filter_map(|key| {
                let value = object.get(&**key).or_else(|| self.key_default(key))?;
                Some((key.clone(), value.clone()))
            })
            .collect();
        if found.is_empty() {
            let names: Vec<String> = keys.iter().map(|key| crate::field::quote(key)).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default \
                 values for any key fields)",
                names.join(" ")
            ));
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Element::Keys(found))
    }

    fn key_default(&self, key: &str) -> Option<&'s Value> {
        self.item().ty?.property(key)?.default.as_ref().map(|default| &default.value)
    }
}

/// Where anything may stand, the value says what it is.
fn known(ty: TypeRef<'_>) -> Option<TypeRef<'_>> {
    Some(ty).filter(|ty| ty.shape() != Shape::Free)
}

/// The fields of a value, and whether the place itself counts as one.
pub(super) fn set_of(place: Place<'_>, value: &Value) -> Branch {
    let form = place.form(value);
    let mut branch = Branch::default();
    match (form, value) {
        (Form::Leaf, _) => branch.member = true,
        (Form::Fields, Value::Object(fields)) => {
            for (name, value) in fields {
                let child = place.child(name);
                let mut below = set_of(child.place, value);
                let is_empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                below.member |= is_empty || child.name.is_none();
                branch.below.push(child.element(name), below);
            }
        }
        (Form::Set | Form::Keyed(_), Value::Array(items)) => {
            for item in items {
                let Ok(element) = place.element(form, item) else { continue };
                let below = set_of(place.item(), item).below;
                branch.below.push(element, Branch { member: true, below });
            }
            branch.below.sort();
        }
        _ => {}
    }
    branch
}

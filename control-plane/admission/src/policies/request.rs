//! What expressions see of a request: the variables. The authorizer behind one of them is [`Clerk`].

use std::sync::Arc;

use keelson_auth::UserInfo;
use keelson_cel::admission as variables;
use keelson_cel::{Bindings, Check, Type, Value as Cel};
use keelson_registry::{Attributes, Kind};
use serde_json::{Map, Value, json};

use super::clerk::Clerk;

/// The JSON of all variables for one policy, one binding and one parameter object.
pub(super) struct Seen<'a> {
    pub(super) object: &'a Value,
    pub(super) old: &'a Value,
    pub(super) request: &'a Value,
    pub(super) namespace: &'a Value,
    pub(super) params: &'a Value,
    pub(super) clerk: &'a Clerk<'a>,
}

impl<'a> Seen<'a> {
    /// The variables, read by their declared types.
    pub(super) fn bindings(&self) -> Bindings<'a> {
        let own = Check::of_resource(self.clerk, self.clerk.own());
        Bindings::new()
            .with(variables::OBJECT, Cel::from_json(self.object, &Type::Dyn))
            .with(variables::OLD_OBJECT, Cel::from_json(self.old, &Type::Dyn))
            .with(variables::REQUEST, Cel::from_json(self.request, &variables::request_type()))
            .with(variables::NAMESPACE_OBJECT, Cel::from_json(self.namespace, &variables::namespace_type()))
            .with(variables::PARAMS, Cel::from_json(self.params, &Type::Dyn))
            .with(variables::AUTHORIZER, Cel::Authorizer(Arc::new(Check::new(self.clerk))))
            .with(variables::REQUEST_RESOURCE, Cel::Authorizer(Arc::new(own)))
    }
}

/// `request`; `shown` is the kind in whose form the objects are shown. Empty fields are left out, as in an
/// AdmissionReview.
pub(super) fn request(attributes: &Attributes<'_>, shown: &Kind, name: &str) -> Value {
    let sub = attributes.subresource;
    let mut request = Map::new();
    for (kind_key, resource_key, sub_key, kind) in [
        ("kind", "resource", "subResource", shown),
        ("requestKind", "requestResource", "requestSubResource", attributes.kind),
    ] {
        let (group, version, name) = kind.subresource(sub).and_then(|sub| sub.body).unwrap_or(kind.gvk());
        request.insert(kind_key.to_owned(), json!({ "group": group, "version": version, "kind": name }));
        let resource = json!({ "group": &*kind.group, "version": &*kind.version, "resource": &*kind.plural });
        request.insert(resource_key.to_owned(), resource);
        text(&mut request, sub_key, sub);
    }
    text(&mut request, "name", name);
    text(&mut request, "namespace", attributes.namespace);
    text(&mut request, "operation", attributes.operation.as_str());
    request.insert("userInfo".to_owned(), user(attributes.user));
    request.insert("dryRun".to_owned(), attributes.dry_run.into());
    request.insert("options".to_owned(), attributes.options_object());
    Value::Object(request)
}

fn text(object: &mut Map<String, Value>, key: &str, text: &str) {
    if !text.is_empty() {
        object.insert(key.to_owned(), text.into());
    }
}

fn user(user: &UserInfo) -> Value {
    let mut object = Map::new();
    text(&mut object, "username", &user.name);
    text(&mut object, "uid", &user.uid);
    if !user.groups.is_empty() {
        object.insert("groups".to_owned(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        object.insert("extra".to_owned(), json!(user.extra));
    }
    Value::Object(object)
}

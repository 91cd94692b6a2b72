//! What is asked of an authorizer.

use keelson_semantics::{FieldSelector, LabelSelector};

use crate::UserInfo;

/// One question: may this user do this?
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a UserInfo,
    /// The API's verb (get, list, watch, create, update, patch, delete, deletecollection, bind, escalate, ..) or, for a
    /// path, the HTTP method in lower case.
    pub verb: &'a str,
    /// To what.
    pub request: Request<'a>,
}

/// An API object or a path of the server.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// `/api/..` and `/apis/..` below a resource.
    Resource(Resource<'a>),
    /// Anything else.
    NonResource(NonResource<'a>),
}

/// A resource, empty text for what the request does not name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resource<'a> {
    /// API group, empty for core.
    pub group: &'a str,
    /// API version; no built-in authorizer looks at it, webhooks are told.
    pub version: &'a str,
    /// Plural name.
    pub resource: &'a str,
    /// status, scale, log, ..
    pub subresource: &'a str,
    /// Empty at the cluster scope and for all namespaces.
    pub namespace: &'a str,
    /// The object; for list and watch the name in a `metadata.name=` field selector.
    pub name: &'a str,
    /// The field selector of list, watch and deletecollection, where one can be read. The node authorizer lets a node list
    /// only its own pods, and sees by this that it asks for no others.
    pub fields: Option<&'a FieldSelector>,
    /// Their label selector.
    pub labels: Option<&'a LabelSelector>,
}

impl Resource<'_> {
    /// Does the field selector ask for `field=value` alone?
    pub(crate) fn requires(&self, field: &str, value: &str) -> bool {
        let terms = self.fields.iter().flat_map(|selector| &selector.terms);
        terms.into_iter().any(|term| term.equal && term.field == field && term.value == value)
    }
}

/// A path that names no resource, such as `/metrics`.
#[derive(Clone, Copy, Debug)]
pub struct NonResource<'a> {
    /// Without query.
    pub path: &'a str,
}

impl<'a> Attributes<'a> {
    /// A question about a resource.
    pub fn resource(user: &'a UserInfo, verb: &'a str, resource: Resource<'a>) -> Self {
        Self { user, verb, request: Request::Resource(resource) }
    }

    /// A question about a path.
    pub fn path(user: &'a UserInfo, verb: &'a str, path: &'a str) -> Self {
        Self { user, verb, request: Request::NonResource(NonResource { path }) }
    }

    /// What a 403 says after `<resource> "<name>" is forbidden: `, in upstream's words.
    pub fn forbidden_message(&self, reason: Option<&str>) -> String {
        let user = &self.user.name;
        let verb = self.verb;
        let what = match &self.request {
            Request::NonResource(request) => format!("User {user:?} cannot {verb} path {:?}", request.path),
            Request::Resource(request) => {
                let slash = if request.subresource.is_empty() { "" } else { "/" };
                let resource = format!("{}{slash}{}", request.resource, request.subresource);
                let scope = match request.namespace {
                    "" => "at the cluster scope".to_owned(),
                    namespace => format!("in the namespace {namespace:?}"),
                };
                format!(
                    "User {user:?} cannot {verb} resource {resource:?} in API group {:?} {scope}",
                    request.group
                )
            }
        };
        // What the client chose comes back to it, perhaps into a browser.
        let what = what.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        match reason {
            Some(reason) if !reason.is_empty() => format!("{what}: {reason}"),
            _ => what,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_reads_as_upstreams() {
        let user = UserInfo::authenticated("bob", ["dev"]);
        let resource = |subresource, namespace| Resource {
            group: "apps",
            resource: "deployments",
            subresource,
            namespace,
            ..Resource::default()
        };
        let rows = [
            (
                Attributes::resource(&user, "list", resource("", "ns")),
                r#"User "bob" cannot list resource "deployments" in API group "apps" in the namespace "ns""#,
            ),
            (
                Attributes::resource(&user, "patch", resource("scale", "")),
                r#"User "bob" cannot patch resource "deployments/scale" in API group "apps" at the cluster scope"#,
            ),
            (Attributes::path(&user, "get", "/x<y"), r#"User "bob" cannot get path "/x&lt;y""#),
        ];
        for (attributes, text) in rows {
            assert_eq!(attributes.forbidden_message(None), text);
            assert_eq!(attributes.forbidden_message(Some("why")), format!("{text}: why"));
        }
    }
}

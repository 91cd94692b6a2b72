//! The environments of admission: what the expressions of policies, and of webhooks' matchConditions, may name.
//! <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>

use crate::{Environment, Library, ObjectType, Type};

/// The variable of the object as it shall be; null on delete.
pub const OBJECT: &str = "object";
/// The variable of the object as stored; null on create.
pub const OLD_OBJECT: &str = "oldObject";
/// The variable of the request.
pub const REQUEST: &str = "request";
/// The variable of the object's namespace; null for what lives in none.
pub const NAMESPACE_OBJECT: &str = "namespaceObject";
/// The variable of the parameters; null where a binding names none.
pub const PARAMS: &str = "params";
/// The variable of the authorizer.
pub const AUTHORIZER: &str = "authorizer";
/// The variable of a check of the request's own resource.
pub const REQUEST_RESOURCE: &str = "authorizer.requestResource";

/// Which variables there are beside those that are always there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Has {
    /// `params`
    pub params: bool,
    /// `authorizer`
    pub authorizer: bool,
}

/// The environment of an admission expression.
pub fn environment(has: Has) -> Environment {
    of_types(Type::Dyn, has.params.then_some(Type::Dyn), has.authorizer)
}

/// The same for a policy of which it is known what its objects and parameters are: to tell what is wrong with an expression
/// before there are any. Whoever evaluates takes [`environment`].
pub fn typed_environment(object: Type, params: Option<Type>) -> Environment {
    of_types(object, params, true)
}

fn of_types(object: Type, params: Option<Type>, authorizer: bool) -> Environment {
    let mut environment = Environment::new()
        .with(OBJECT, object.clone())
        .with(OLD_OBJECT, object)
        .with(NAMESPACE_OBJECT, namespace_type())
        .with(REQUEST, request_type());
    if let Some(params) = params {
        environment = environment.with(PARAMS, params);
    }
    if authorizer {
        environment = environment
            .with(AUTHORIZER, Type::Library(Library::Authorizer))
            .with(REQUEST_RESOURCE, Type::Library(Library::ResourceCheck));
    }
    environment
}

/// The environment of a webhook's matchConditions.
pub fn webhook_environment() -> Environment {
    Environment::new()
        .with(OBJECT, Type::Dyn)
        .with(OLD_OBJECT, Type::Dyn)
        .with(REQUEST, request_type())
        .with(AUTHORIZER, Type::Library(Library::Authorizer))
        .with(REQUEST_RESOURCE, Type::Library(Library::ResourceCheck))
}

/// The type of `request`: an AdmissionRequest without its objects.
pub fn request_type() -> Type {
    let name = |kind: &str, last: &str| {
        let named = ObjectType::new(format!("kubernetes.{kind}"));
        Type::object(
            named.field("group", Type::STRING).field("version", Type::STRING).field(last, Type::STRING),
        )
    };
    let user = ObjectType::new("kubernetes.UserInfo")
        .field("username", Type::STRING)
        .field("uid", Type::STRING)
        .field("groups", Type::list(Type::STRING))
        .field("extra", Type::map(Type::list(Type::STRING)));
    let request = ObjectType::new("kubernetes.AdmissionRequest")
        .field("kind", name("GroupVersionKind", "kind"))
        .field("resource", name("GroupVersionResource", "resource"))
        .field("subResource", Type::STRING)
        .field("requestKind", name("GroupVersionKind", "kind"))
        .field("requestResource", name("GroupVersionResource", "resource"))
        .field("requestSubResource", Type::STRING)
        .field("name", Type::STRING)
        .field_named("namespace", Type::STRING)
        .field("operation", Type::STRING)
        .field("userInfo", Type::object(user))
        .field("dryRun", Type::Bool)
        .field("options", Type::Dyn);
    Type::object(request)
}

/// The type of `namespaceObject`.
pub fn namespace_type() -> Type {
    let meta = ObjectType::new("kubernetes.NamespaceMetadata")
        .field("name", Type::STRING)
        .field("generateName", Type::STRING)
        .field_named("namespace", Type::STRING)
        .field("labels", Type::map(Type::STRING))
        .field("annotations", Type::map(Type::STRING))
        .field("UID", Type::STRING)
        .field("creationTimestamp", Type::Timestamp)
        .field("deletionGracePeriodSeconds", Type::Int)
        .field("deletionTimestamp", Type::Timestamp)
        .field("generation", Type::Int)
        .field("resourceVersion", Type::STRING)
        .field("finalizers", Type::list(Type::STRING));
    let spec = ObjectType::new("kubernetes.NamespaceSpec").field("finalizers", Type::list(Type::STRING));
    let status = ObjectType::new("kubernetes.NamespaceStatus").field("phase", Type::STRING);
    let namespace = ObjectType::new("kubernetes.Namespace")
        .field("metadata", Type::object(meta))
        .field("spec", Type::object(spec))
        .field("status", Type::object(status));
    Type::object(namespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Program;

    #[test]
    fn expressions_name_what_admission_gives_them() {
        let (bare, full) = (environment(Has::default()), environment(Has { params: true, authorizer: true }));
        let rows = [
            (
                "request.namespace == 'a' && request.userInfo.groups.exists(g, g == 'b') && request.kind.kind == 'Pod'",
                true,
                true,
            ),
            (
                "request.options.dryRun == 'All' || request.dryRun || request.requestSubResource == 'status'",
                true,
                true,
            ),
            (
                "namespaceObject.metadata.labels['env'] == 'prod' && namespaceObject.status.phase == 'Active'",
                true,
                true,
            ),
            ("object.metadata.namespace == oldObject.metadata.namespace", true, true),
            ("params.data.max == '1'", false, true),
            ("authorizer.requestResource.check('create').allowed()", false, true),
            ("request.object == null", false, false),
            ("namespaceObject.metadata.ownerReferences == null", false, false),
        ];
        for (expression, in_bare, in_full) in rows {
            assert_eq!(Program::compile(expression, &bare).is_ok(), in_bare, "{expression}");
            assert_eq!(Program::compile(expression, &full).is_ok(), in_full, "{expression}");
        }
    }
}

//! The environment of matchConditions of an authorization webhook: what an AuthorizationConfiguration may ask of a question.
//! <https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/#apiserver-config-k8s-io-v1-WebhookMatchCondition>

use crate::{Environment, ObjectType, Type};

/// The variable: the spec of the SubjectAccessReview (v1) that the webhook would be asked.
pub const REQUEST: &str = "request";

/// `request` and nothing else.
pub fn environment() -> Environment {
    Environment::new().with(REQUEST, request_type())
}

/// The type of `request`. Fields of texts are always there, if only as ""; the two sorts of attributes and the selectors
/// are absent where the question has none.
pub fn request_type() -> Type {
    let selector = |name: &str| {
        let requirement = ObjectType::new("kubernetes.SelectorRequirement")
            .field("key", Type::STRING)
            .field("operator", Type::STRING)
            .field("values", Type::list(Type::STRING));
        let selector = ObjectType::new(name)
            .field("rawSelector", Type::STRING)
            .field("requirements", Type::list(Type::object(requirement)));
        Type::object(selector)
    };
    let resource = ObjectType::new("kubernetes.ResourceAttributes")
        .field_named("namespace", Type::STRING)
        .field("verb", Type::STRING)
        .field("group", Type::STRING)
        .field("version", Type::STRING)
        .field("resource", Type::STRING)
        .field("subresource", Type::STRING)
        .field("name", Type::STRING)
        .field("fieldSelector", selector("kubernetes.FieldSelectorAttributes"))
        .field("labelSelector", selector("kubernetes.LabelSelectorAttributes"));
    let path = ObjectType::new("kubernetes.NonResourceAttributes")
        .field("path", Type::STRING)
        .field("verb", Type::STRING);
    let spec = ObjectType::new("kubernetes.SubjectAccessReviewSpec")
        .field("resourceAttributes", Type::object(resource))
        .field("nonResourceAttributes", Type::object(path))
        .field("user", Type::STRING)
        .field("groups", Type::list(Type::STRING))
        .field("extra", Type::map(Type::list(Type::STRING)))
        .field("uid", Type::STRING);
    Type::object(spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Program;

    #[test]
    fn conditions_are_compiled_against_the_spec_of_an_access_review() {
        let rows = [
            ("has(request.resourceAttributes)", true),
            ("request.resourceAttributes.namespace == 'kube-system'", true),
            ("!('system:serviceaccounts:kube-system' in request.groups)", true),
            ("request.resourceAttributes.fieldSelector.requirements.exists(r, r.key == 'a')", true),
            ("request.resourceAttributes.?labelSelector.hasValue()", true),
            ("request.nonResourceAttributes.path.startsWith('/healthz')", true),
            ("request.extra['example.com/x'].exists(v, v == 'y')", true),
            ("request.user", false),
            ("request.resourceAttributes.apiVersion == 'v1'", false),
            ("object.metadata.name == 'a'", false),
        ];
        for (text, compiles) in rows {
            let compiled = Program::compile_as(text, &environment(), &[Type::Bool]);
            let shown = compiled.as_ref().map(Program::cost_estimate).map_err(ToString::to_string);
            assert_eq!(compiled.is_ok(), compiles, "{text}: {shown:?}");
        }
    }
}

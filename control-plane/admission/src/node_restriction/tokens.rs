//! Tokens that a node asks for: on behalf of a pod that it runs, for an audience that the pod has use for.

use keelson_auth::Authorizer;
use keelson_auth::authz::{Attributes as Asked, Resource};
use keelson_registry::{Attributes, Operation};
use serde_json::Value;

use super::{Refusal, pod};
use crate::Lookup;
use crate::plugin::{list, text};

/// The verb on an audience, which stands where a resource does, and the account by name.
const AUDIENCE_VERB: &str = "request-serviceaccounts-token-audience";

pub(super) async fn create(
    node: &str,
    attributes: &Attributes<'_>,
    request: Option<&Value>,
    lookup: &dyn Lookup,
    authorizer: &Authorizer,
) -> Result<(), Refusal> {
    let Some(request) = request.filter(|_| attributes.operation == Operation::Create) else { return Ok(()) };
    let at = |field: &str| text(request, &format!("/spec/boundObjectRef/{field}"));
    if at("apiVersion") != "v1" || at("kind") != "Pod" || at("name").is_empty() {
        return Err("node requested token not bound to a pod".into());
    }
    let uid = at("uid");
    if uid.is_empty() {
        return Err("node requested token with a pod binding without a uid".into());
    }
    let pod = pod(lookup, attributes.namespace, at("name")).await?;
    if text(&pod, "/metadata/uid") != uid {
        return Err(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        )
        .into());
    }
    if text(&pod, "/spec/nodeName") != node {
        return Err("node requested token bound to a pod scheduled on a different node".into());
    }
    let mut audiences = list(request, "/spec/audiences").filter_map(Value::as_str);
    let audience = audiences.next().unwrap_or_default();
    if audiences.next().is_some() {
        return Err("node may only request 0 or 1 audiences".into());
    }
    if mounts(&pod, audience) || may(authorizer, attributes, audience).await {
        return Ok(());
    }
    let user = &attributes.user.name;
    Err(format!(
        "audience {audience:?} not found in pod spec volume, {user} is not authorized to request tokens for this audience"
    )
    .into())
}

/// Does a volume of the pod hold a token for the audience? Empty is the API server's own. (Volumes of CSI drivers, whose objects
/// may name audiences, are not mounted here.)
fn mounts(pod: &Value, audience: &str) -> bool {
    list(pod, "/spec/volumes")
        .flat_map(|volume| list(volume, "/projected/sources"))
        .filter_map(|source| source.get("serviceAccountToken"))
        .any(|token| !token.is_null() && text(token, "/audience") == audience)
}

async fn may(authorizer: &Authorizer, attributes: &Attributes<'_>, audience: &str) -> bool {
    let resource = Resource {
        version: "v1",
        resource: audience,
        namespace: attributes.namespace,
        name: attributes.name,
        ..Resource::default()
    };
    authorizer.decide(&Asked::resource(attributes.user, AUDIENCE_VERB, resource)).await.is_allowed()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keelson_auth::authz::RbacIndex;
    use serde_json::json;

    use super::*;
    use crate::Wanted;
    use crate::node_restriction::NodeRestriction;
    use crate::testing::{Cluster, Request};

    fn token_for(name: &str, uid: &str, audiences: &[&str]) -> Request {
        let reference = json!({ "apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid });
        let spec = json!({ "boundObjectRef": reference, "audiences": audiences });
        Request::create("", "serviceaccounts", "ns", json!({ "spec": spec }))
            .at("token", "sa")
            .by("system:node:a", "system:nodes")
    }

    /// Node a may ask for tokens of account sa for the audience `granted`.
    fn plugin() -> NodeRestriction {
        let rule = json!({"apiGroups": [""], "resources": ["granted"], "verbs": [AUDIENCE_VERB], "resourceNames": ["sa"]});
        let objects = [
            json!({"kind": "ClusterRole", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "r"}, "rules": [rule]}),
            json!({"kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "b"},
                   "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
                   "subjects": [{"kind": "User", "name": "system:node:a"}]}),
        ];
        let mut index = RbacIndex::default();
        assert!(index.reset(objects.iter()).is_empty());
        let authorizer = Authorizer::new();
        authorizer.set_rbac(index.snapshot());
        NodeRestriction { authorizer: Arc::new(authorizer) }
    }

    #[tokio::test]
    async fn tokens_are_for_pods_that_the_node_runs_and_for_audiences_that_they_mount() {
        let pod = |name: &str, node: &str| {
            let source =
                |audience: Value| json!({ "serviceAccountToken": { "path": "t", "audience": audience } });
            let sources = [source(Value::Null), source(json!("vault"))];
            let volumes = json!([{ "name": "v", "projected": { "sources": sources } }, { "name": "w", "emptyDir": {} }]);
            json!({ "metadata": { "namespace": "ns", "name": name, "uid": "1" }, "spec": { "nodeName": node, "volumes": volumes } })
        };
        let cluster =
            Cluster::default().with(Wanted::Pod, pod("own", "a")).with(Wanted::Pod, pod("other", "b"));
        let other_uid = "the UID in the bound object reference (2) does not match the UID in record. The object might have been \
                         deleted and then recreated";
        let rows = [
            (token_for("own", "1", &[]), ""),
            (token_for("own", "1", &["vault"]), ""),
            (token_for("own", "1", &["granted"]), ""),
            (
                token_for("own", "1", &["else"]),
                "audience \"else\" not found in pod spec volume, system:node:a is not authorized to request tokens for this audience",
            ),
            (token_for("own", "1", &["vault", "granted"]), "node may only request 0 or 1 audiences"),
            (token_for("", "1", &[]), "node requested token not bound to a pod"),
            (token_for("own", "", &[]), "node requested token with a pod binding without a uid"),
            (
                token_for("other", "1", &[]),
                "node requested token bound to a pod scheduled on a different node",
            ),
            (token_for("gone", "1", &[]), "pods \"gone\" not found"),
            (token_for("own", "2", &[]), other_uid),
        ];
        for (request, wanted) in rows {
            let refused = request.mutate(&plugin(), &cluster).await.err().map(|status| status.message);
            let refused = refused.unwrap_or_default();
            assert!(
                refused.ends_with(wanted) && refused.is_empty() == wanted.is_empty(),
                "{wanted}: {refused}"
            );
        }
    }
}

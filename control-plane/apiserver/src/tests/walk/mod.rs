//! A walk over the kind table: every verb of every stored kind and of its status and scale, over HTTP, as a user who was
//! granted exactly that; and as one who was granted nothing.
//!
//! The objects are `registry/fixtures`, one a kind: a kind without one makes the walk fail.

mod granted;
mod steps;

use super::*;
use keelson_registry::kind::Kind;
use serde_json::json;
use std::path::PathBuf;

const NAMESPACE: &str = "default";

/// A kind's sample.
pub(super) struct Sample {
    pub(super) object: Value,
    /// What is merged into the status.
    status: Option<Value>,
}

pub(super) fn fixture(kind: &Kind) -> Sample {
    if kind.custom.is_some() {
        return custom(kind);
    }
    let group = if kind.group.is_empty() { String::new() } else { format!("{}.", kind.group) };
    let version = if kind.version == "v1" { String::new() } else { format!(".{}", kind.version) };
    let name = format!("{group}{}{version}.yaml", kind.plural);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../registry/fixtures").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut documents = text.split("\n---\n").map(|document| {
        serde_saphyr::from_str::<Value>(document)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    });
    Sample { object: documents.next().expect("there is a first"), status: documents.next() }
}

/// A sample of the kinds of [`definitions`].
fn custom(kind: &Kind) -> Sample {
    let object = json!({
        "apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": "sample"},
        "spec": if kind.namespaced { json!({"size": 2, "color": "red"}) } else { json!({"text": "any"}) },
    });
    Sample { object, status: Some(json!({"status": {"size": 1, "selector": "app=web"}})) }
}

/// `/apis/apps/v1/namespaces/default/deployments`.
pub(super) fn collection(kind: &Kind) -> String {
    let root = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
    let scope = if kind.namespaced { format!("/namespaces/{NAMESPACE}") } else { String::new() };
    format!("{root}/{}{scope}/{}", kind.version, kind.plural)
}

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Kinds that the walk goes over: all that are stored, and a custom one of each scope. Not definitions themselves, which
/// the server writes, too; their tests are `custom`.
pub(super) fn kinds(bed: &Bed) -> Vec<Arc<Kind>> {
    let table = bed.server.inner.table();
    table
        .iter()
        .filter(|kind| kind.is_stored() && kind.plural != "customresourcedefinitions")
        .cloned()
        .collect()
}

/// The definition of namespaced samples is a fixture; of cluster-scoped ones it is the same with less in it.
fn definitions() -> [Value; 2] {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../registry/fixtures/apiextensions.k8s.io.customresourcedefinitions.yaml");
    let text = std::fs::read_to_string(path).expect("definitions have a fixture");
    let first = text.split("\n---\n").next().expect("splitting gives at least one part");
    let namespaced: Value = serde_saphyr::from_str(first).expect("a fixture is YAML");
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"text": {"type": "string"}}}}});
    let mut cluster = namespaced.clone();
    cluster["metadata"]["name"] = json!("clustersamples.example.com");
    cluster["spec"]["scope"] = json!("Cluster");
    cluster["spec"]["names"] = json!({"plural": "clustersamples", "kind": "ClusterSample"});
    cluster["spec"]["versions"] =
        json!([{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]);
    [namespaced, cluster]
}

/// A user whom a role grants the verbs of each kind and subresource in the table, and nothing else.
fn walker() -> Caller {
    Caller::InProcess(Arc::new(UserInfo::authenticated("walker", [] as [&str; 0])))
}

/// A user whom no role names.
fn stranger() -> Caller {
    Caller::InProcess(Arc::new(UserInfo::authenticated("stranger", [] as [&str; 0])))
}

fn role(bed: &Bed) -> [Value; 2] {
    let mut rules = Vec::new();
    for kind in kinds(bed) {
        rules.push(json!({"apiGroups": [kind.group], "resources": [kind.plural], "verbs": kind.verbs}));
        for sub in &kind.subresources {
            let resource = format!("{}/{}", kind.plural, sub.name);
            rules.push(json!({"apiGroups": [kind.group], "resources": [resource], "verbs": sub.verbs}));
        }
    }
    let group = "rbac.authorization.k8s.io";
    let version = format!("{group}/v1");
    [
        json!({"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": "walker"}, "rules": rules}),
        json!({
            "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": {"name": "walker"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "walker"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "walker"}],
        }),
    ]
}

/// A server that knows the role.
async fn bed() -> Bed {
    let bed = Bed::new().await;
    for definition in definitions() {
        let made = bed.send("POST", DEFINITIONS, &[], &definition.to_string()).await;
        assert_eq!(made.code, 201, "{}", made.text());
    }
    let served = async {
        while ["samples", "clustersamples"]
            .iter()
            .any(|plural| bed.server.inner.table().by_resource("example.com", "v1", plural).is_none())
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), served).await.expect("custom kinds are established");
    for (object, plural) in role(&bed).iter().zip(["clusterroles", "clusterrolebindings"]) {
        let uri = format!("/apis/rbac.authorization.k8s.io/v1/{plural}");
        let made = bed.send("POST", &uri, &[], &object.to_string()).await;
        assert_eq!(made.code, 201, "{}", made.text());
    }
    let known = async {
        while bed.send_as(walker(), "GET", MAPS, &[], "").await.code != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), known).await.expect("the authorizer follows the roles");
    bed
}

//! What kubectl looks for in the documents.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS: SubresourceFacts<'_> =
    SubresourceFacts { name: "status", verbs: &["get", "patch", "update"], kind: None };
const SCALE: SubresourceFacts<'_> = SubresourceFacts {
    name: "scale",
    verbs: &["get", "patch", "update"],
    kind: Some(("autoscaling", "v1", "Scale")),
};

fn apps() -> Value {
    let deployment = KindFacts {
        group: "apps",
        version: "v1",
        kind: "Deployment",
        plural: "deployments",
        namespaced: true,
        verbs: ALL,
        subresources: &[SCALE, STATUS],
        definition: None,
    };
    serde_json::from_slice(&v3_document("apps", "v1", &[deployment])).expect("a JSON document")
}

#[test]
fn kubectl_finds_field_validation_on_the_patch_operation() {
    let document = apps();
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    let names: Vec<&str> =
        patch["parameters"].as_array().into_iter().flatten().filter_map(|p| p["name"].as_str()).collect();
    assert!(names.contains(&"fieldValidation") && names.contains(&"dryRun"), "{names:?}");
    assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some());
    assert!(patch["requestBody"]["content"].get("application/apply-patch+yaml").is_some());
}

#[test]
fn every_reference_is_answered_and_only_the_reachable_is_there() {
    let document = apps();
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let mut referred = BTreeSet::new();
    definitions::references(&document.to_string(), |name| {
        referred.insert(name.to_owned());
    });
    for name in &referred {
        assert!(schemas.contains_key(name), "{name} is not in the document");
    }
    assert!(schemas.contains_key("io.k8s.api.core.v1.PodSpec"));
    assert!(schemas.contains_key("io.k8s.api.autoscaling.v1.Scale"));
    assert!(!schemas.contains_key("io.k8s.api.core.v1.Service"));
}

#[test]
fn definitions_have_kinds_merge_rules_and_descriptions() {
    let document = apps();
    let schemas = &document["components"]["schemas"];
    assert_eq!(
        schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"],
        json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
    );
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-list-type"], "map");
    assert!(containers["description"].as_str().is_some_and(|d| d.contains("containers")));
    let spec = &schemas["io.k8s.api.apps.v1.Deployment"]["properties"]["spec"];
    assert_eq!(spec["allOf"], json!([{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"}]));
    assert_eq!(
        schemas["io.k8s.apimachinery.pkg.api.resource.Quantity"]["oneOf"],
        json!([{"type": "string"}, {"type": "number"}])
    );
    assert_eq!(
        schemas["io.k8s.api.apps.v1.DeploymentList"]["properties"]["items"]["items"],
        json!({"$ref": "#/components/schemas/io.k8s.api.apps.v1.Deployment"})
    );
}

#[test]
fn verbs_become_operations_and_nothing_else_does() {
    let kind = KindFacts {
        group: "",
        version: "v1",
        kind: "Namespace",
        plural: "namespaces",
        namespaced: false,
        verbs: &["create", "get", "list"],
        subresources: &[],
        definition: None,
    };
    let document: Value = serde_json::from_slice(&v3_document("", "v1", &[kind])).expect("a JSON document");
    let methods = |path: &str| -> Vec<String> {
        document["paths"][path].as_object().map(|o| o.keys().cloned().collect()).unwrap_or_default()
    };
    assert_eq!(methods("/api/v1/namespaces"), ["get", "parameters", "post"]);
    assert_eq!(methods("/api/v1/namespaces/{name}"), ["get", "parameters"]);
    assert_eq!(document["paths"].as_object().map(serde_json::Map::len), Some(2));
    let list = &document["paths"]["/api/v1/namespaces"]["get"];
    assert_eq!(list["operationId"], "listCoreV1Namespace");
}

#[test]
fn the_index_says_where_the_documents_are() {
    assert_eq!((v3_key("", "v1"), v3_key("apps", "v1")), ("api/v1".into(), "apis/apps/v1".into()));
    assert_eq!(
        v3_index([("api/v1", "ABC")]),
        br#"{"paths":{"api/v1":{"serverRelativeURL":"/openapi/v3/api/v1?hash=ABC"}}}"#
    );
}

#[test]
fn streams_and_proxies_refer_to_no_definition() {
    let exec = SubresourceFacts {
        name: "exec",
        verbs: &["create", "get"],
        kind: Some(("", "v1", "PodExecOptions")),
    };
    let proxy = SubresourceFacts {
        name: "proxy",
        verbs: &["create", "delete", "get", "patch", "update"],
        kind: Some(("", "v1", "PodProxyOptions")),
    };
    let pod = KindFacts {
        group: "",
        version: "v1",
        kind: "Pod",
        plural: "pods",
        namespaced: true,
        verbs: ALL,
        subresources: &[exec, proxy, STATUS],
        definition: None,
    };
    let document: Value = serde_json::from_slice(&v3_document("", "v1", &[pod])).expect("a JSON document");
    let path = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/exec"];
    for (method, id) in
        [("get", "connectCoreV1GetNamespacedPodExec"), ("post", "connectCoreV1PostNamespacedPodExec")]
    {
        let operation = &path[method];
        assert_eq!(operation["operationId"], id);
        assert_eq!(operation["x-kubernetes-action"], "connect");
        assert_eq!(operation["responses"]["200"]["content"], json!({"*/*": {"schema": {"type": "string"}}}));
        assert!(operation.get("requestBody").is_none());
    }
    // kubectl asks any patch of the kind, whichever it comes upon, whether the server looks at unknown fields.
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let patch = &methods["patch"];
        if patch["x-kubernetes-group-version-kind"]["kind"] == "Pod" {
            let parameters = patch["parameters"].to_string();
            assert!(parameters.contains("fieldValidation"), "{path}: {parameters}");
        }
    }
}

#[test]
fn operations_parameters_and_lists_say_what_they_are() {
    let document = apps();
    let mut said = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        let item = item.as_object().expect("a path");
        let operations = item.values().filter_map(|operation| operation.get("parameters"));
        for parameter in operations.chain(item.get("parameters")).filter_map(Value::as_array).flatten() {
            let description = parameter["description"].as_str().unwrap_or_default();
            assert!(!description.is_empty(), "{path}: {parameter}");
            said += 1;
        }
    }
    assert!(said > 60, "{said}");
    let base = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}";
    for (path, name, operation, description) in [
        ("", "Deployment", "readAppsV1NamespacedDeployment", "read the specified Deployment"),
        (
            "/status",
            "Deployment",
            "readAppsV1NamespacedDeploymentStatus",
            "read status of the specified Deployment",
        ),
        ("/scale", "Scale", "readAppsV1NamespacedDeploymentScale", "read scale of the specified Deployment"),
    ] {
        let item = &document["paths"][format!("{base}{path}")];
        assert_eq!(item["parameters"][0]["description"], format!("name of the {name}"));
        assert_eq!(item["get"]["operationId"], operation);
        assert_eq!(item["get"]["description"], description);
        assert_eq!(item["get"]["tags"], json!(["apps_v1"]));
    }
    let list = &document["components"]["schemas"]["io.k8s.api.apps.v1.DeploymentList"];
    assert_eq!(list["description"], "DeploymentList is a list of Deployments.");
    assert_eq!(list["properties"]["items"]["description"], "Items is the list of Deployments.");
    assert_eq!(list["properties"]["metadata"]["description"], "Standard list metadata.");
    assert_eq!(
        list["x-kubernetes-group-version-kind"],
        json!([{"group": "apps", "version": "v1", "kind": "DeploymentList"}])
    );
}

#[test]
fn custom_kinds_speak_in_the_same_words() {
    let definition = json!({"type": "object"});
    let kind = KindFacts {
        group: "example.com",
        version: "v1",
        kind: "Apple",
        plural: "apples",
        namespaced: false,
        verbs: ALL,
        subresources: &[SCALE],
        definition: Some(&definition),
    };
    let document: Value =
        serde_json::from_slice(&v3_document("example.com", "v1", &[kind])).expect("a JSON document");
    let all = &document["paths"]["/apis/example.com/v1/apples"];
    assert_eq!(all["get"]["description"], "list objects of kind Apple");
    assert_eq!(all["post"]["description"], "create an Apple");
    let scale = &document["paths"]["/apis/example.com/v1/apples/{name}/scale"]["patch"];
    assert_eq!(scale["description"], "partially update scale of the specified Apple");
    assert!(scale["requestBody"]["content"].get("application/strategic-merge-patch+json").is_none());
    let list = &document["components"]["schemas"]["com.example.v1.AppleList"];
    assert_eq!(list["description"], "AppleList is a list of Apple");
    assert_eq!(
        list["properties"]["items"]["description"],
        "List of apples. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
    );
}

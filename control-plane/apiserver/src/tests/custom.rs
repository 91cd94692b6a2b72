//! Custom kinds as a client sees them: from the definition to the last object.

mod conversion;

use super::*;
use http::Response;
use keelson_registry::meta;
use serde_json::json;
use std::time::Duration;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const TABS: &str = "/apis/stable.example.com/v1/namespaces/default/crontabs";
const MERGE: &str = "application/merge-patch+json";

fn cron_tabs() -> Value {
    let schema = json!({
        "type": "object",
        "properties": {
            "spec": {"type": "object", "required": ["image"], "properties": {
                "image": {"type": "string"},
                "replicas": {"type": "integer", "minimum": 1, "default": 1},
                "color": {"type": "string"},
                "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "required": ["name"], "properties": {
                        "name": {"type": "string"}, "port": {"type": "integer"}}}},
            }},
            "status": {"type": "object", "properties": {
                "replicas": {"type": "integer"}, "selector": {"type": "string"}}},
        }
    });
    let version = |name: &str, storage: bool| {
        json!({
            "name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
            "selectableFields": [{"jsonPath": ".spec.color"}],
            "additionalPrinterColumns": [{"name": "Image", "type": "string", "jsonPath": ".spec.image"},
                {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"}],
        })
    };
    let mut old = version("v1beta1", false);
    old["deprecated"] = json!(true);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {"group": "stable.example.com", "scope": "Namespaced",
            "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "shortNames": ["ct"], "categories": ["all"]},
            "versions": [version("v1", true), old]},
    })
}

impl Bed {
    async fn post(&self, uri: &str, body: &Value) -> Got {
        self.send("POST", uri, &[], &body.to_string()).await
    }

    async fn patch(&self, uri: &str, form: &str, body: &Value) -> Got {
        self.send("PATCH", uri, &[("content-type", form)], &body.to_string()).await
    }

    /// Waits until a definition has a condition.
    async fn condition(&self, definition: &str, of: &str, status: &str) -> Value {
        let uri = format!("{DEFINITIONS}/{definition}");
        let seen = async {
            loop {
                let object = self.get(&uri).await.json();
                let found = meta::items(&object, &["status", "conditions"])
                    .iter()
                    .find(|condition| condition["type"] == of && condition["status"] == status)
                    .cloned();
                if let Some(found) = found {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), seen).await.expect("the condition comes")
    }

    async fn until_code(&self, uri: &str, code: u16) -> Got {
        let seen = async {
            loop {
                let got = self.get(uri).await;
                if got.code == code {
                    return got;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), seen).await.expect("the answer becomes so")
    }

    async fn with(definition: &Value) -> Bed {
        let bed = Bed::new().await;
        let made = bed.post(DEFINITIONS, definition).await;
        assert_eq!(made.code, 201, "{}", made.text());
        let name = definition["metadata"]["name"].as_str().unwrap();
        bed.condition(name, "Established", "True").await;
        bed
    }

    async fn cron_tab(&self, name: &str) -> Value {
        let body = json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": name},
            "spec": {"image": "i"}});
        let got = self.post(TABS, &body).await;
        assert_eq!(got.code, 201, "{}", got.text());
        got.json()
    }
}

#[tokio::test]
async fn an_established_definition_is_served_everywhere_at_once() {
    let bed = Bed::new().await;
    let index = bed.get("/openapi/v3").await.json();
    assert!(index["paths"].get("apis/stable.example.com/v1").is_none());
    let bed = Bed::with(&cron_tabs()).await;
    let object = bed.get(&format!("{DEFINITIONS}/crontabs.stable.example.com")).await.json();
    assert_eq!(object["status"]["acceptedNames"]["listKind"], "CronTabList");
    assert_eq!(object["status"]["storedVersions"], json!(["v1"]));
    let group = bed.get("/apis/stable.example.com").await.json();
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let resources = bed.get("/apis/stable.example.com/v1").await.json();
    let names: Vec<&Value> =
        resources["resources"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["crontabs", "crontabs/scale", "crontabs/status"]);
    assert_eq!(resources["resources"][0]["shortNames"], json!(["ct"]));
    let index = bed.get("/openapi/v3").await.json();
    let first =
        index["paths"]["apis/stable.example.com/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let document = bed.get(&first).await.json();
    let definition = &document["components"]["schemas"]["com.example.stable.v1.CronTab"];
    assert_eq!(definition["properties"]["spec"]["properties"]["replicas"]["minimum"], 1);
    let patch =
        &document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"]["patch"];
    assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_none());
    assert!(patch["requestBody"]["content"].get("application/merge-patch+json").is_some());
    let second = bed.get("/openapi/v2").await.json();
    assert!(second["definitions"].get("com.example.stable.v1.CronTab").is_some());
    // Another schema is another hash.
    let more = json!([{"op": "add", "value": {"type": "string"},
        "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/more"}]);
    let uri = format!("{DEFINITIONS}/crontabs.stable.example.com");
    assert_eq!(bed.patch(&uri, "application/json-patch+json", &more).await.code, 200);
    let index = bed.get("/openapi/v3").await.json();
    assert_ne!(index["paths"]["apis/stable.example.com/v1"]["serverRelativeURL"], first.as_str());
}

#[tokio::test]
async fn finalizers_need_no_domain_and_are_warned_of_once() {
    let bed = Bed::with(&cron_tabs()).await;
    let body = |more: &str| {
        let finalizers = ["test-finalizer", more];
        json!({"metadata": {"name": "a", "finalizers": finalizers}, "spec": {"image": "i"}})
    };
    let made = bed.post(TABS, &body("example.com/other")).await;
    assert_eq!(made.code, 201, "{}", made.text());
    assert_eq!(
        made.headers["warning"],
        "299 - \"metadata.finalizers: \\\"test-finalizer\\\": prefer a domain-qualified finalizer name including a \
         path (/) to avoid accidental conflicts with other finalizer writers\""
    );
    let more = json!({"metadata": {"labels": {"a": "b"}}});
    let patched = bed.patch(&format!("{TABS}/a"), MERGE, &more).await;
    assert!(patched.code == 200 && !patched.headers.contains_key("warning"), "{}", patched.text());
    let wrong = bed.post(TABS, &body("no name")).await;
    assert!(wrong.code == 422 && wrong.message().contains("metadata.finalizers[1]"), "{}", wrong.text());
    let core = bed.post(MAPS, &json!({"metadata": {"name": "a", "finalizers": ["test-finalizer"]}})).await;
    assert!(core.message().contains("neither a standard finalizer name nor is it fully qualified"));
}

#[tokio::test]
async fn objects_are_pruned_defaulted_and_validated() {
    let bed = Bed::with(&cron_tabs()).await;
    let body =
        json!({"metadata": {"name": "a"}, "spec": {"image": "i", "spek": 1}, "status": {"replicas": 1}});
    let made = bed.post(TABS, &body).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let warning = made.headers["warning"].to_str().unwrap();
    assert!(warning.contains("unknown field \\\"spec.spek\\\""), "{warning}");
    let made = made.json();
    assert_eq!(made["spec"], json!({"image": "i", "replicas": 1}));
    assert_eq!(
        (&made["apiVersion"], &made["metadata"]["generation"]),
        (&json!("stable.example.com/v1"), &json!(1))
    );
    assert!(made.get("status").is_none(), "only through /status");
    let strict = bed.post(&format!("{TABS}?fieldValidation=Strict"), &body).await;
    assert!(
        strict.code == 400 && strict.message().contains("strict decoding error: unknown field \"spec.spek\"")
    );
    let wrong = json!({"metadata": {"name": "b"}, "spec": {"replicas": "x"}});
    let refused = bed.post(TABS, &wrong).await;
    assert_eq!(refused.code, 422);
    assert_eq!(
        refused.message(),
        "CronTab.stable.example.com \"b\" is invalid: [spec.image: Required value, spec.replicas: Invalid value: \"string\": spec.replicas in body must be of type integer: \"string\"]"
    );
    let strategic = bed
        .patch(
            &format!("{TABS}/a"),
            "application/strategic-merge-patch+json",
            &json!({"spec": {"image": "j"}}),
        )
        .await;
    assert_eq!(strategic.code, 415, "{}", strategic.text());
    let status = bed
        .patch(
            &format!("{TABS}/a/status"),
            MERGE,
            &json!({"spec": {"image": "no"}, "status": {"replicas": 2}}),
        )
        .await;
    assert_eq!((status.code, &status.json()["spec"]["image"]), (StatusCode::OK, &json!("i")));
    assert_eq!(status.json()["metadata"]["generation"], 1);
    let mut scale = bed.get(&format!("{TABS}/a/scale")).await.json();
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(1)));
    scale["spec"]["replicas"] = json!(4);
    let scaled = bed.send("PUT", &format!("{TABS}/a/scale"), &[], &scale.to_string()).await;
    assert_eq!(scaled.json()["spec"]["replicas"], 4, "{}", scaled.text());
    let object = bed.get(&format!("{TABS}/a")).await.json();
    assert_eq!((&object["spec"]["replicas"], &object["metadata"]["generation"]), (&json!(4), &json!(2)));
}

#[tokio::test]
async fn metadata_of_embedded_objects_has_the_fields_of_all_metadata() {
    let mut definition = cron_tabs();
    for version in definition["spec"]["versions"].as_array_mut().unwrap() {
        version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["template"] = json!({
            "type": "object", "x-kubernetes-embedded-resource": true,
            "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string"}}}}});
    }
    let bed = Bed::with(&definition).await;
    let body = |name: &str, metadata: Value| {
        json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": name},
            "spec": {"image": "i", "template": {"apiVersion": "foo/v1", "kind": "Sub", "metadata": metadata}}})
    };
    let sent = body("a", json!({"unknown": "bar", "name": "n", "namespace": "s"}));
    let strict = bed.post(&format!("{TABS}?fieldValidation=Strict"), &sent).await;
    assert_eq!(strict.code, 400);
    let told = "strict decoding error: unknown field \"spec.template.metadata.unknown\"";
    assert!(strict.message().ends_with(told), "{}", strict.message());
    let made = bed.post(TABS, &sent).await;
    let warning = made.headers["warning"].to_str().unwrap();
    assert!(warning.contains("unknown field \\\"spec.template.metadata.unknown\\\""), "{warning}");
    assert_eq!(made.json()["spec"]["template"]["metadata"], json!({"name": "n", "namespace": "s"}));
    let wrong = bed.post(TABS, &body("b", json!({"labels": 1}))).await;
    assert_eq!(wrong.code, 400);
    assert!(
        wrong
            .message()
            .contains("spec.template.metadata: Invalid value: {\"labels\":1}: json: cannot unmarshal"),
        "{}",
        wrong.message()
    );
    let merge = json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}, "more": 1}}}});
    let patched = bed.patch(&format!("{TABS}/a"), MERGE, &merge).await.json();
    let expected = json!({"name": "n", "namespace": "s", "labels": {"a": "b"}});
    assert_eq!(patched["spec"]["template"]["metadata"], expected);
    let apply = "application/apply-patch+yaml";
    let refused = bed.patch(&format!("{TABS}/a?fieldManager=x"), apply, &sent).await;
    let told = ".spec.template.metadata.unknown: field not declared in schema";
    assert!(refused.message().contains(told), "{}", refused.text());
    let known = body("c", json!({"namespace": "s"}));
    let applied = bed.patch(&format!("{TABS}/c?fieldManager=x"), apply, &known).await;
    assert_eq!(applied.code, 201, "{}", applied.text());
}

#[tokio::test]
async fn lists_tables_and_selectors_are_the_built_in_kinds() {
    let bed = Bed::with(&cron_tabs()).await;
    bed.cron_tab("a").await;
    bed.cron_tab("b").await;
    assert_eq!(bed.patch(&format!("{TABS}/b"), MERGE, &json!({"spec": {"color": "red"}})).await.code, 200);
    let list = bed.get(TABS).await.json();
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&json!("CronTabList"), 2));
    let red = bed.get(&format!("{TABS}?fieldSelector=spec.color%3Dred")).await.json();
    assert_eq!(red["items"][0]["metadata"]["name"], "b");
    let refused = bed.get(&format!("{TABS}?fieldSelector=spec.image%3Di")).await;
    assert_eq!(refused.code, 400);
    let form = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = bed.send("GET", &format!("{TABS}/a"), &[("accept", form)], "").await.json();
    let names: Vec<&Value> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["Name", "Image", "Replicas"]);
    assert_eq!(table["rows"][0]["cells"], json!(["a", "i", 1]));
}

#[tokio::test]
async fn server_side_apply_merges_lists_by_their_keys() {
    let bed = Bed::with(&cron_tabs()).await;
    let apply = async |manager: &str, ports: Value| {
        let body = json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "a"},
            "spec": {"image": "i", "ports": ports}});
        let uri = format!("{TABS}/a?fieldManager={manager}");
        bed.patch(&uri, "application/apply-patch+yaml", &body).await
    };
    let made = apply("one", json!([{"name": "http", "port": 80}])).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let both = apply("two", json!([{"name": "https", "port": 443}])).await.json();
    assert_eq!(both["spec"]["ports"].as_array().map(Vec::len), Some(2), "{both}");
    let conflict = apply("two", json!([{"name": "http", "port": 81}])).await;
    assert!(
        conflict.code == 409 && conflict.message().contains(".spec.ports[name=\"http\"].port"),
        "{}",
        conflict.text()
    );
    let unknown = json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "a"}, "spec": {"spek": 1}});
    let refused =
        bed.patch(&format!("{TABS}/a?fieldManager=x"), "application/apply-patch+yaml", &unknown).await;
    assert!(refused.message().contains(".spec.spek: field not declared in schema"), "{}", refused.text());
}

#[tokio::test]
async fn every_served_version_shows_every_object() {
    let bed = Bed::with(&cron_tabs()).await;
    bed.cron_tab("a").await;
    let other = TABS.replace("/v1/", "/v1beta1/");
    let seen = bed.get(&format!("{other}/a")).await;
    assert!(
        seen.headers["warning"]
            .to_str()
            .unwrap()
            .contains("stable.example.com/v1beta1 CronTab is deprecated")
    );
    assert_eq!(seen.json()["apiVersion"], "stable.example.com/v1beta1");
    let patched = bed.patch(&format!("{other}/a"), MERGE, &json!({"spec": {"color": "red"}})).await.json();
    assert_eq!(patched["apiVersion"], "stable.example.com/v1beta1");
    assert_eq!(bed.get(&format!("{TABS}/a")).await.json()["spec"]["color"], "red");
    // Another version stores from now on, with a default more: what was stored before is read by its schema.
    let uri = format!("{DEFINITIONS}/crontabs.stable.example.com");
    let mut definition = bed.get(&uri).await.json();
    definition["spec"]["versions"][0]["storage"] = json!(false);
    definition["spec"]["versions"][1]["storage"] = json!(true);
    for version in 0..2 {
        definition["spec"]["versions"][version]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
            ["added"] = json!({"type": "string", "default": "later"});
    }
    let changed = bed.send("PUT", &uri, &[], &definition.to_string()).await;
    assert_eq!(changed.code, 200, "{}", changed.text());
    assert_eq!(changed.json()["status"]["storedVersions"], json!(["v1", "v1beta1"]));
    for uri in [format!("{TABS}/a"), format!("{other}/a")] {
        assert_eq!(bed.get(&uri).await.json()["spec"]["added"], "later");
    }
    assert_eq!(bed.get(TABS).await.json()["items"][0]["spec"]["added"], "later");
    // A version that is no longer served is gone.
    let unserved = json!([{"op": "replace", "path": "/spec/versions/0/served", "value": false}]);
    assert_eq!(bed.patch(&uri, "application/json-patch+json", &unserved).await.code, 200);
    assert_eq!(bed.get(&format!("{TABS}/a")).await.code, 404);
    assert_eq!(bed.get(&format!("{other}/a")).await.code, 200);
}

#[tokio::test]
async fn a_deleted_definition_takes_its_objects_and_watches_with_it() {
    let bed = Bed::with(&cron_tabs()).await;
    bed.cron_tab("free").await;
    bed.cron_tab("held").await;
    let hold = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    assert_eq!(bed.patch(&format!("{TABS}/held"), MERGE, &hold).await.code, 200);
    let watch = bed.open(Bed::root(), "GET", &format!("{TABS}?watch=1"), &[], "").await;
    let uri = format!("{DEFINITIONS}/crontabs.stable.example.com");
    let deleted = bed.send("DELETE", &uri, &[], "").await;
    assert_eq!(deleted.code, 200, "{}", deleted.text());
    bed.condition("crontabs.stable.example.com", "Terminating", "True").await;
    bed.until_code(&format!("{TABS}/free"), 404).await;
    let late = bed.post(TABS, &json!({"metadata": {"name": "late"}, "spec": {"image": "i"}})).await;
    assert_eq!(late.code, 405, "{}", late.text());
    assert_eq!(bed.get(&uri).await.code, 200, "an object holds it");
    let free = json!({"metadata": {"finalizers": null}});
    assert_eq!(bed.patch(&format!("{TABS}/held"), MERGE, &free).await.code, 200);
    bed.until_code(&uri, 404).await;
    assert_eq!(bed.get(TABS).await.code, 404);
    assert_eq!(bed.get("/apis/stable.example.com").await.code, 404);
    let events = tokio::time::timeout(Duration::from_secs(10), text_of(watch)).await.expect("the watch ends");
    assert!(events.contains(r#""type":"DELETED""#), "{events}");
    // The same names once more.
    assert_eq!(bed.post(DEFINITIONS, &cron_tabs()).await.code, 201);
    bed.condition("crontabs.stable.example.com", "Established", "True").await;
    assert_eq!(bed.get(TABS).await.json()["items"], json!([]));
    bed.cron_tab("free").await;
}

async fn text_of(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.map(|body| body.to_bytes());
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

#[tokio::test]
async fn rules_in_cel_see_the_object_and_its_old_state() {
    let mut definition = cron_tabs();
    let rules = json!([
        {"rule": "self.replicas <= 5", "message": "at most five"},
        {"rule": "self.image == oldSelf.image", "message": "image is immutable"},
    ]);
    for version in 0..2 {
        definition["spec"]["versions"][version]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] =
            rules.clone();
    }
    let bed = Bed::with(&definition).await;
    bed.cron_tab("a").await;
    for (change, expected) in [
        (json!({"spec": {"replicas": 6}}), "spec: Invalid value: \"object\": at most five"),
        (json!({"spec": {"image": "other"}}), "spec: Invalid value: \"object\": image is immutable"),
    ] {
        let refused = bed.patch(&format!("{TABS}/a"), MERGE, &change).await;
        assert!(refused.code == 422 && refused.message().ends_with(expected), "{}", refused.text());
    }
    assert_eq!(bed.patch(&format!("{TABS}/a"), MERGE, &json!({"spec": {"replicas": 5}})).await.code, 200);
}

#[tokio::test]
async fn names_of_another_definition_wait_for_it() {
    let bed = Bed::with(&cron_tabs()).await;
    let mut second = cron_tabs();
    second["metadata"]["name"] = json!("others.stable.example.com");
    second["spec"]["names"] = json!({"plural": "others", "kind": "CronTab"});
    assert_eq!(bed.post(DEFINITIONS, &second).await.code, 201);
    let condition = bed.condition("others.stable.example.com", "NamesAccepted", "False").await;
    assert_eq!(condition["message"], "\"CronTabList\" is already in use");
    assert_eq!(bed.get("/apis/stable.example.com/v1/others").await.code, 404);
    bed.send("DELETE", &format!("{DEFINITIONS}/crontabs.stable.example.com"), &[], "").await;
    bed.condition("others.stable.example.com", "Established", "True").await;
    assert_eq!(bed.get("/apis/stable.example.com/v1/others").await.code, 200);
}

#[tokio::test]
async fn definitions_are_refused_at_their_fields() {
    let bed = Bed::new().await;
    let versions = "/spec/versions";
    for (path, value, expected) in [
        (
            "/metadata/name",
            json!("x.y.z"),
            "metadata.name: Invalid value: \"x.y.z\": must be spec.names.plural+\".\"+spec.group",
        ),
        (
            "/spec/scope",
            json!("Both"),
            "spec.scope: Unsupported value: \"Both\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        (
            "/spec/group",
            json!("nodots"),
            "spec.group: Invalid value: \"nodots\": should be a domain with at least one dot",
        ),
        (
            "/spec/group",
            json!("a.k8s.io"),
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation",
        ),
        (
            "/spec/names/kind",
            json!("cron_tab"),
            "spec.names.kind: Invalid value: \"cron_tab\": may have mixed case, but should otherwise match",
        ),
        (
            &format!("{versions}/1/storage"),
            json!(true),
            "must have exactly one version marked as storage version",
        ),
        (&format!("{versions}/0/name"), json!("v1beta1"), "must contain unique version names"),
        (
            &format!("{versions}/0/schema"),
            json!({}),
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
        ),
        (
            &format!("{versions}/0/schema/openAPIV3Schema/properties/spec/type"),
            json!("text"),
            "spec.versions[0].schema.openAPIV3Schema.properties[spec].type: Unsupported value: \"text\"",
        ),
        (
            &format!("{versions}/0/subresources/scale/specReplicasPath"),
            json!(".status.x"),
            "spec.versions[0].subresources.scale.specReplicasPath: Invalid value: \".status.x\": should be a json path under .spec",
        ),
        (
            &format!("{versions}/0/additionalPrinterColumns/0/jsonPath"),
            json!(".a[?(@.b>1)]"),
            "spec.versions[0].additionalPrinterColumns[0].jsonPath: Invalid value",
        ),
        (
            &format!("{versions}/0/selectableFields/0/jsonPath"),
            json!(".spec.ports"),
            "must point to a field of type string, boolean or integer",
        ),
        (
            "/spec/conversion",
            json!({"strategy": "Webhook"}),
            "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
        ),
    ] {
        let mut definition = cron_tabs();
        definition["spec"]["conversion"] = json!({"strategy": "None"});
        *definition.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
        let refused = bed.post(DEFINITIONS, &definition).await;
        assert!(refused.code == 422 && refused.message().contains(expected), "{path}: {}", refused.text());
    }
    assert_eq!(bed.post(DEFINITIONS, &cron_tabs()).await.code, 201);
    bed.condition("crontabs.stable.example.com", "Established", "True").await;
    let uri = format!("{DEFINITIONS}/crontabs.stable.example.com");
    let moved = bed.patch(&uri, MERGE, &json!({"spec": {"scope": "Cluster"}})).await;
    assert!(
        moved.message().contains("spec.scope: Invalid value: \"Cluster\": field is immutable"),
        "{}",
        moved.text()
    );
}

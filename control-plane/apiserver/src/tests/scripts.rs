//! What scripts look for in answers as they are written: order, spaces, warnings, words.

use super::*;
use serde_json::json;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1";

#[tokio::test]
async fn whoever_shows_what_he_gets_gets_lines() {
    let bed = Bed::new().await;
    let map = r#"{"metadata":{"name":"a"},"data":{"k":"{\"v\": [1]}"}}"#;
    assert_eq!(bed.send("POST", MAPS, &[], map).await.code, 201);
    let one = format!("{MAPS}/a");
    for uri in [MAPS, &*one, "/version", "/api/v1", "/api", "/apis/nothing.example.com/v1/things"] {
        let plain = bed.get(uri).await;
        assert!(!plain.text().trim_end().contains('\n'), "{uri}: {}", plain.text());
        for agent in ["curl/8.5.0", "Wget/1.21", "Mozilla/5.0 (X11)"] {
            let got = bed.send("GET", uri, &[("user-agent", agent)], "").await;
            assert_eq!(got.code, plain.code, "{uri}");
            if got.code == 200 {
                assert_eq!(got.json(), plain.json(), "{uri}");
                assert!(got.text().starts_with("{\n  \""), "{uri}: {}", got.text());
            }
        }
        let told = bed.send("GET", &format!("{uri}?pretty=false"), &[("user-agent", "curl/8.5.0")], "").await;
        assert_eq!(told.text(), plain.text(), "{uri}");
    }
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io"), ("user-agent", "curl/8.5.0")];
    let got = bed.send("GET", MAPS, &table, "").await;
    assert!(got.text().contains("\n  \"kind\": \"Table\""), "{}", got.text());
    let refused = bed.send("GET", &format!("{MAPS}/none"), &[("user-agent", "curl/8.5.0")], "").await;
    assert!(refused.text().contains("\n  \"reason\": \"NotFound\""), "{}", refused.text());
}

#[tokio::test]
async fn discovery_is_in_upstreams_order() {
    let text = Bed::new().await.get("/api/v1").await.text();
    let maps =
        r#"{"name":"configmaps","singularName":"configmap","namespaced":true,"kind":"ConfigMap","verbs":["#;
    assert!(text.contains(maps), "{text}");
    assert!(text.starts_with(r#"{"kind":"APIResourceList","#), "{text}");
    let pods = &text[text.find(r#""name":"pods""#).expect("pods")..];
    let pods = &pods[..pods.find('}').expect("an end")];
    assert!(pods.contains(r#""shortNames":["po"],"categories":["all"]"#), "{pods}");
    assert!(text.contains(r#""group":"autoscaling","version":"v1","kind":"Scale""#), "{text}");
}

#[tokio::test]
async fn a_deprecated_kind_says_so_whatever_is_asked_of_it() {
    let bed = Bed::new().await;
    let endpoints = "/api/v1/namespaces/default/endpoints";
    let warning = r#"299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice""#;
    let made = bed.send("POST", endpoints, &[], r#"{"metadata":{"name":"e"}}"#).await;
    let read = bed.get(&format!("{endpoints}/e")).await;
    for got in [made, read, bed.get(endpoints).await] {
        assert_eq!(got.headers.get("warning").map(|text| text.as_bytes()), Some(warning.as_bytes()));
    }
    let metrics = bed.get("/metrics").await.text();
    let line = r#"apiserver_requested_deprecated_apis{group="",removed_release="",resource="endpoints",subresource="",version="v1"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_scale_is_shown_in_columns() {
    let bed = Bed::new().await;
    let set = json!({"metadata": {"name": "s"}, "spec": {"replicas": 3,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let sets = "/apis/apps/v1/namespaces/default/replicasets";
    assert_eq!(bed.send("POST", sets, &[], &set.to_string()).await.code, 201);
    let uri = format!("{sets}/s/scale");
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let got = bed.send("GET", &uri, &table, "").await.json();
    let names: Vec<&str> =
        got["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Name", "Desired", "Available", "Age"]);
    assert_eq!(got["rows"][0]["cells"].as_array().unwrap()[..3], [json!("s"), json!(3), json!(0)]);
    assert_eq!(got["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let metadata = [("accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")];
    let got = bed.send("GET", &uri, &metadata, "").await.json();
    assert_eq!((&got["kind"], &got["metadata"]["name"]), (&json!("PartialObjectMetadata"), &json!("s")));
}

#[tokio::test]
async fn a_misfit_is_told_in_the_words_of_its_way() {
    let bed = Bed::new().await;
    assert_eq!(bed.send("POST", MAPS, &[], r#"{"metadata":{"name":"a"}}"#).await.code, 201);
    let uri = format!("{MAPS}/a");
    let patch = r#"{"metadata":{"labels":"invalid"}}"#;
    for (form, said) in [
        ("application/strategic-merge-patch+json", "cannot restore map from string"),
        ("application/merge-patch+json", "json: cannot unmarshal string into Go struct field"),
    ] {
        let got = bed.send("PATCH", &uri, &[("content-type", form)], patch).await;
        assert!(got.code == 422 && got.message().contains(said), "{form}: {}", got.text());
    }
    let got = bed.send("POST", "/api/v1/namespaces", &[], "kind: Pod").await;
    assert!(
        got.message().starts_with(
            "the object provided is unrecognized (must be of type Namespace): couldn't get version/kind; json parse error: "
        ),
        "{}",
        got.text()
    );
}

#[tokio::test]
async fn questions_have_no_metadata_and_ask_for_one_thing() {
    let bed = Bed::new().await;
    let resource = json!({"verb": "get", "resource": "pods"});
    let (path, local) = ("subjectaccessreviews", "namespaces/default/localsubjectaccessreviews");
    let own = "selfsubjectaccessreviews";
    let rows = [
        (
            path,
            json!({"metadata": {"name": "x"}, "spec": {"user": "u", "resourceAttributes": resource}}),
            "must be empty",
        ),
        (
            own,
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"resourceAttributes": resource}}),
            "must be empty",
        ),
        (
            local,
            json!({"metadata": {"name": "x"}, "spec": {"user": "u", "resourceAttributes": {"verb": "get", "namespace": "default"}}}),
            "must be empty except for namespace",
        ),
        (own, json!({"spec": {}}), r#"spec.resourceAttributes: Invalid value: null: exactly one of"#),
    ];
    for (plural, review, said) in rows {
        let got = bed.send("POST", &format!("{REVIEWS}/{plural}"), &[], &review.to_string()).await;
        assert!(got.code == 422 && got.message().contains(said), "{plural}: {}", got.text());
    }
    let astray = json!({"spec": {"user": "u", "nonResourceAttributes": {"path": "/x", "verb": "get"}}});
    let got = bed.send("POST", &format!("{REVIEWS}/{local}"), &[], &astray.to_string()).await;
    assert_eq!(got.json()["details"]["causes"].as_array().map(Vec::len), Some(1), "{}", got.text());
    let good = json!({"metadata": {"namespace": "default", "creationTimestamp": null}, "spec": {"user": "u",
        "resourceAttributes": {"verb": "get", "namespace": "default"}}});
    assert_eq!(bed.send("POST", &format!("{REVIEWS}/{local}"), &[], &good.to_string()).await.code, 201);
    let tokens = "/apis/authentication.k8s.io/v1";
    let none = bed.send("POST", &format!("{tokens}/tokenreviews"), &[], r#"{"spec":{}}"#).await;
    assert_eq!(
        (none.code.as_u16(), &*none.message()),
        (400, "token is required for TokenReview in authentication")
    );
    let me = bed.send("POST", &format!("{tokens}/selfsubjectreviews"), &[], "{}").await.json();
    assert!(me["metadata"]["creationTimestamp"].is_string(), "{me}");
}

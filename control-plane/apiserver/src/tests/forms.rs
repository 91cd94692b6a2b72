//! The forms of answers: JSON, YAML, Table, metadata alone, compressed, paged.

use super::*;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

#[tokio::test]
async fn one_object_comes_in_every_form() {
    let bed = Bed::new().await;
    let made = bed.config_map("a").await;
    let uri = format!("{MAPS}/a");
    assert_eq!(bed.get(&uri).await.json(), made);
    let yaml = bed.send("GET", &uri, &[("accept", "application/yaml")], "").await;
    assert_eq!(yaml.headers["content-type"], "application/yaml");
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml.text()).unwrap(), made);
    let pretty = bed.get(&format!("{uri}?pretty=true")).await;
    assert!(pretty.text().contains("\n  \"kind\"") && pretty.json() == made);
    let metadata = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let partial = bed.send("GET", &uri, &[("accept", metadata)], "").await.json();
    assert_eq!(
        (partial["kind"].as_str(), &partial["metadata"]),
        (Some("PartialObjectMetadata"), &made["metadata"])
    );
    assert!(partial["data"].is_null());
    let table = bed.send("GET", &uri, &[("accept", TABLE)], "").await.json();
    assert_eq!((table["kind"].as_str(), &table["rows"][0]["cells"][0]), (Some("Table"), &Value::from("a")));
    assert_eq!(table["rows"][0]["object"]["metadata"]["name"], "a");
    let old = "application/json;as=Table;v=v1beta1;g=meta.k8s.io";
    let table = bed.send("GET", &uri, &[("accept", old)], "").await.json();
    assert_eq!(
        (table["apiVersion"].as_str(), table["rows"][0]["object"]["apiVersion"].as_str()),
        (Some("meta.k8s.io/v1beta1"), Some("meta.k8s.io/v1beta1"))
    );
    let head = bed.send("HEAD", &uri, &[], "").await;
    assert!(head.code == 200 && head.bytes.is_empty());
}

#[tokio::test]
async fn a_list_comes_in_every_form_and_in_pages() {
    let bed = Bed::new().await;
    for name in ["a", "b", "c"] {
        bed.config_map(name).await;
    }
    let list = bed.get(MAPS).await.json();
    assert_eq!((list["kind"].as_str(), list["apiVersion"].as_str()), (Some("ConfigMapList"), Some("v1")));
    assert_eq!(list["items"][2]["kind"], "ConfigMap");
    let table = bed.send("GET", &format!("{MAPS}?includeObject=None"), &[("accept", TABLE)], "").await.json();
    assert_eq!(table["rows"].as_array().unwrap().len(), 3);
    assert!(table["rows"][0]["object"].is_null());
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    let metadata = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let partial = bed.send("GET", MAPS, &[("accept", metadata)], "").await.json();
    assert_eq!(
        (partial["kind"].as_str(), partial["items"][0]["kind"].as_str()),
        (Some("PartialObjectMetadataList"), Some("PartialObjectMetadata"))
    );
    let first = bed.get(&format!("{MAPS}?limit=2")).await.json();
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = bed.get(&format!("{MAPS}?limit=2&continue={token}")).await.json();
    assert_eq!(second["items"][0]["metadata"]["name"], "c");
    let selected = bed.get(&format!("{MAPS}?labelSelector=n%20in%20(a,b)")).await.json();
    assert_eq!(selected["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_large_list_is_the_same_plain_and_compressed() {
    use std::io::Read;
    let bed = Bed::new().await;
    let body = |name: &str| {
        format!(r#"{{"metadata":{{"name":"{name}"}},"data":{{"k":"{}"}}}}"#, "x".repeat(100_000))
    };
    for index in 0..5 {
        assert_eq!(bed.send("POST", MAPS, &[], &body(&format!("m{index}"))).await.code, 201);
    }
    let plain = bed.get(MAPS).await;
    assert!(
        !plain.headers.contains_key("content-encoding")
            && plain.json()["items"].as_array().unwrap().len() == 5
    );
    let packed = bed.send("GET", MAPS, &[("accept-encoding", "gzip")], "").await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert!(packed.bytes.len() < plain.bytes.len() / 10);
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(packed.bytes.as_slice()).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain.bytes);
}

#[tokio::test]
async fn every_answer_carries_an_audit_id() {
    let bed = Bed::new().await;
    assert!(!bed.get("/version").await.headers["audit-id"].is_empty());
    let given = bed.send("GET", "/version", &[("audit-id", "mine")], "").await;
    assert_eq!(given.headers["audit-id"], "mine");
}

#[tokio::test]
async fn openapi_is_indexed_and_cached_by_hash() {
    let bed = Bed::new().await;
    let index = bed.get("/openapi/v3").await.json();
    let url = index["paths"]["api/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let got = bed.get(&url).await;
    assert!(got.headers["cache-control"].to_str().unwrap().contains("immutable"));
    assert!(got.json()["components"]["schemas"]["io.k8s.api.core.v1.ConfigMap"].is_object());
    let tag = got.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(bed.send("GET", &url, &[("if-none-match", &tag)], "").await.code, 304);
    let protobuf = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";
    assert_eq!(bed.send("GET", &url, &[("accept", protobuf)], "").await.code, 406);
}

#[tokio::test]
async fn openapi_v2_says_what_v3_says_in_both_encodings() {
    let bed = Bed::new().await;
    let got = bed.get("/openapi/v2").await;
    let document = got.json();
    let spec = &document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"];
    assert_eq!(spec["containers"]["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(spec["affinity"]["$ref"], "#/definitions/io.k8s.api.core.v1.Affinity");
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let names: Vec<&str> =
        patch["parameters"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert!(names.contains(&"body") && names.contains(&"dryRun"), "{names:?}");
    assert!(!got.text().contains("#/components/"));
    let text = got.text();
    for rest in text.split("\"#/definitions/").skip(1) {
        let name = rest.split('"').next().unwrap();
        assert!(document["definitions"].get(name).is_some(), "{name} is not defined");
    }
    // The words that upstream's own script looks for.
    for words in ["list of returned", "List of services", "Watch for changes to the described resources"] {
        assert!(text.contains(words), "{words}");
    }
    let accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let packed = [("accept", accept), ("accept-encoding", "gzip")];
    let got = bed.send("GET", "/openapi/v2", &packed, "").await;
    assert_eq!(got.headers["content-type"], "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    // That it is what kubectl reads is tested with kubectl.
    assert!(crate::response::gunzip(&got.bytes).unwrap().starts_with(b"\x0a\x032.0\x12"));
    let tag = got.headers["etag"].to_str().unwrap().to_owned();
    let known = [("accept", accept), ("if-none-match", tag.as_str())];
    assert_eq!(bed.send("GET", "/openapi/v2", &known, "").await.code, 304);
}

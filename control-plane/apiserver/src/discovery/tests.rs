//! Both forms must agree with the table, since clients read either.

use super::*;
use serde_json::Value;

fn discovery() -> Discovery {
    Discovery::new(&KindTable::builtin(), "10.0.0.1:6443")
}

fn plain(path: &str) -> Value {
    match discovery().answer(path, Accepted::JSON, None).unwrap().unwrap() {
        Answer::Whole { bytes, .. } => serde_json::from_slice(&bytes).unwrap(),
        Answer::Streaming(_) => panic!("discovery does not stream"),
    }
}

#[test]
fn a_group_version_lists_its_resources_and_subresources() {
    let core = plain("/api/v1");
    let names: Vec<&str> =
        core["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
    for name in ["pods", "pods/status", "pods/binding", "namespaces/finalize", "configmaps"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert_eq!(plain("/api")["versions"], serde_json::json!(["v1"]));
    assert_eq!(plain("/apis/apps")["preferredVersion"]["groupVersion"], "apps/v1");
    assert!(discovery().answer("/apis/nothing", Accepted::JSON, None).is_none());
}

#[test]
fn aggregated_discovery_honours_its_etag() {
    let discovery = discovery();
    let accepted = Accepted { form: Form::Discovery, ..Accepted::JSON };
    let first = discovery.answer("/apis", accepted, None).unwrap().unwrap();
    let Answer::Whole { headers, bytes, code } = first else { panic!("discovery does not stream") };
    assert_eq!(code, StatusCode::OK);
    let list: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(list["kind"], "APIGroupDiscoveryList");
    assert!(list["items"].as_array().unwrap().iter().any(|g| g["metadata"]["name"] == "apps"));
    let tag = headers[header::ETAG].to_str().unwrap().to_owned();
    let again = discovery.answer("/apis", accepted, Some(&tag)).unwrap().unwrap();
    assert_eq!(again.code(), StatusCode::NOT_MODIFIED);
}

#[test]
fn each_stored_kind_has_the_hash_of_its_storage_version() {
    // What an upstream server shows.
    let rows = [
        ("/api/v1", "pods", Some("xPOwRZ+Yhw8=")),
        ("/api/v1", "namespaces", Some("Q3oi5N2YM8M=")),
        ("/apis/apps/v1", "deployments", Some("8aSe+NMegvE=")),
        ("/apis/autoscaling/v1", "horizontalpodautoscalers", Some("qwQve8ut294=")),
        ("/apis/autoscaling/v2", "horizontalpodautoscalers", Some("qwQve8ut294=")),
        ("/apis/events.k8s.io/v1", "events", Some("r2yiGXH7wu8=")),
        ("/api/v1", "pods/status", None),
        ("/apis/authorization.k8s.io/v1", "subjectaccessreviews", None),
    ];
    for (path, name, hash) in rows {
        let document = plain(path);
        let resource = document["resources"].as_array().unwrap().iter().find(|r| r["name"] == name);
        assert_eq!(resource.unwrap()["storageVersionHash"].as_str(), hash, "{path} {name}");
    }
}

//! Writes through the router: options reach the registry, answers have their codes.

use super::*;

#[tokio::test]
async fn a_dry_run_stores_nothing() {
    let bed = Bed::new().await;
    let body = r#"{"metadata":{"name":"a"}}"#;
    let got = bed.send("POST", &format!("{MAPS}?dryRun=All"), &[], body).await;
    assert!(got.code == 201 && got.json()["metadata"]["name"] == "a", "{}", got.text());
    assert_eq!(bed.get(&format!("{MAPS}/a")).await.code, 404);
}

#[tokio::test]
async fn yaml_is_read_like_json() {
    let bed = Bed::new().await;
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n";
    let got = bed.send("POST", MAPS, &[("content-type", "application/yaml")], yaml).await;
    assert!(got.code == 201 && got.json()["data"]["k"] == "v", "{}", got.text());
}

#[tokio::test]
async fn an_update_needs_the_version_it_was_made_from() {
    let bed = Bed::new().await;
    let mut object = bed.config_map("a").await;
    let uri = format!("{MAPS}/a");
    object["data"]["k"] = Value::from("w");
    let updated = bed.send("PUT", &uri, &[], &object.to_string()).await;
    assert!(updated.code == 200 && updated.json()["data"]["k"] == "w", "{}", updated.text());
    object["data"]["k"] = Value::from("x");
    let stale = bed.send("PUT", &uri, &[], &object.to_string()).await;
    assert!(
        stale.code == 409 && stale.message().contains("the object has been modified"),
        "{}",
        stale.text()
    );
}

#[tokio::test]
async fn deletion_answers_and_a_collection_goes_by_selector() {
    let bed = Bed::new().await;
    for name in ["a", "b", "c"] {
        bed.config_map(name).await;
    }
    let got =
        bed.send("DELETE", &format!("{MAPS}/a"), &[], r#"{"kind":"DeleteOptions","apiVersion":"v1"}"#).await;
    assert_eq!((got.code.as_u16(), got.json()["status"].as_str()), (200, Some("Success")), "{}", got.text());
    let got = bed.send("DELETE", &format!("{MAPS}?labelSelector=n%3Db"), &[], "").await;
    assert_eq!(
        (got.code.as_u16(), got.json()["items"].as_array().unwrap().len()),
        (200, 1),
        "{}",
        got.text()
    );
    assert_eq!(bed.get(MAPS).await.json()["items"][0]["metadata"]["name"], "c");
}

#[tokio::test]
async fn an_eviction_takes_the_options_in_its_body() {
    let bed = Bed::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = r#"{"metadata":{"name":"a"},"spec":{"nodeName":"n","containers":[{"name":"c","image":"i"}]}}"#;
    bed.send("POST", pods, &[], pod).await;
    let evict = |options: &str| {
        let body = format!(
            r#"{{"apiVersion":"policy/v1","kind":"Eviction","metadata":{{"name":"a","namespace":"default"}},"deleteOptions":{options}}}"#
        );
        let bed = &bed;
        async move { bed.send("POST", &format!("{pods}/a/eviction"), &[], &body).await }
    };
    let dry = evict(r#"{"dryRun":["All"]}"#).await;
    assert_eq!((dry.code.as_u16(), dry.json()["status"].as_str()), (201, Some("Success")), "{}", dry.text());
    let wrong = evict(r#"{"preconditions":{"uid":"x"}}"#).await;
    assert!(wrong.code == 409 && wrong.message().contains("UID"), "{}", wrong.text());
    assert!(bed.get(&format!("{pods}/a")).await.json()["metadata"]["deletionTimestamp"].is_null());
    assert_eq!(evict(r#"{"gracePeriodSeconds":5}"#).await.code, 201);
    assert_eq!(bed.get(&format!("{pods}/a")).await.json()["metadata"]["deletionGracePeriodSeconds"], 5);
}

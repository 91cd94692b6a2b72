//! A custom kind in three versions between which a webhook converts: `host` and `port` in v1, `hostPort` in v1beta1, `at` in
//! v1alpha1. The webhook is a real HTTPS server, which counts what it is asked.

use super::*;
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{StreamExt, stream::BoxStream};
use http_body_util::BodyStream;
use keelson_webhook::testing::{TestServer, answer, body};
use parking_lot::Mutex;

const NAME: &str = "ends.example.com";
const ENDS: &str = "/apis/example.com/v1/namespaces/default/ends";
const BETA: &str = "/apis/example.com/v1beta1/namespaces/default/ends";
const ALPHA: &str = "/apis/example.com/v1alpha1/namespaces/default/ends";

/// How the webhook behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// Answers 500.
    Ill,
    /// Gives objects another name.
    Rude,
}

struct Hook {
    server: TestServer,
    mood: Arc<Mutex<Mood>>,
    /// Of each call the number of its objects.
    calls: Arc<Mutex<Vec<usize>>>,
}

impl Hook {
    fn start() -> Self {
        let (mood, calls) = (Arc::new(Mutex::new(Mood::Well)), Arc::new(Mutex::new(Vec::new())));
        let (own, seen) = (mood.clone(), calls.clone());
        let server = TestServer::start("localhost", None, move |request| {
            let (mood, calls) = (own.clone(), seen.clone());
            async move {
                let review: Value = serde_json::from_slice(&body(request).await).unwrap();
                let objects = review["request"]["objects"].as_array().unwrap().clone();
                calls.lock().push(objects.len());
                let mood = *mood.lock();
                if mood == Mood::Ill {
                    return answer(500, "I am ill");
                }
                let to = review["request"]["desiredAPIVersion"].as_str().unwrap();
                let mut converted: Vec<Value> =
                    objects.into_iter().map(|object| convert(object, to)).collect();
                if mood == Mood::Rude {
                    converted.iter_mut().for_each(|object| object["metadata"]["name"] = json!("other"));
                }
                let response = json!({"uid": review["request"]["uid"], "convertedObjects": converted,
                    "result": {"status": "Success"}});
                let review =
                    json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response});
                answer(200, review.to_string())
            }
        });
        Self { server, mood, calls }
    }

    fn config(&self) -> Value {
        let client = json!({"url": format!("https://127.0.0.1:{}/convert", self.server.address.port()),
            "caBundle": STANDARD.encode(&self.server.ca_pem)});
        json!({"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}})
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    /// What it was asked since it was last looked at.
    fn asked(&self) -> Vec<usize> {
        std::mem::take(&mut self.calls.lock())
    }
}

/// Everything by way of host and port; what is not understood is left out.
fn convert(mut object: Value, to: &str) -> Value {
    let spec = object["spec"].take();
    let both =
        ["hostPort", "at"].iter().find_map(|key| spec[*key].as_str()).and_then(|text| text.split_once(':'));
    let (host, port) = match both {
        Some((host, port)) => (json!(host), json!(port.parse::<u16>().unwrap())),
        None => (spec["host"].clone(), spec["port"].clone()),
    };
    let text = format!("{}:{port}", host.as_str().unwrap_or_default());
    let mut next = match to.rsplit_once('/').unwrap().1 {
        "v1" => json!({"host": host, "port": port}),
        "v1beta1" => json!({"hostPort": text}),
        _ => json!({"at": text}),
    };
    next["replicas"] = spec["replicas"].clone();
    next["nobody"] = json!("declares this");
    object["spec"] = next;
    object["metadata"]["labels"]["seen"] = json!(to.rsplit_once('/').unwrap().1);
    object["metadata"]["finalizers"] = json!(["example.com/of-the-webhook"]);
    object["apiVersion"] = json!(to);
    object
}

fn definition(hook: &Hook) -> Value {
    let version = |name: &str, fields: Value| {
        let mut properties = fields;
        properties["replicas"] = json!({"type": "integer", "default": 1});
        let column = properties.as_object().unwrap().keys().next().unwrap().clone();
        let path = format!(".spec.{column}");
        json!({"name": name, "served": true, "storage": name == "v1",
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
            "additionalPrinterColumns": [{"name": column, "type": "string", "jsonPath": path}],
            "selectableFields": [{"jsonPath": path}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": properties},
                "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}}}}}})
    };
    let text = json!({"type": "string"});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": NAME},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "ends", "kind": "End"},
            "conversion": hook.config(),
            "versions": [
                version("v1", json!({"host": text, "port": {"type": "integer", "default": 80}})),
                version("v1beta1", json!({"hostPort": text})),
                version("v1alpha1", json!({"at": text})),
            ]},
    })
}

impl Bed {
    async fn ends() -> (Self, Hook) {
        let hook = Hook::start();
        (Self::with(&definition(&hook)).await, hook)
    }

    async fn end(&self, name: &str, port: u16) {
        let body = json!({"metadata": {"name": name}, "spec": {"host": "a", "port": port}});
        let made = self.post(ENDS, &body).await;
        assert_eq!(made.code, 201, "{}", made.text());
    }

    async fn watch(&self, uri: &str) -> BoxStream<'static, Value> {
        let response = self.open(Self::root(), "GET", uri, &[], "").await;
        assert_eq!(response.status(), 200);
        let lines = BodyStream::new(response.into_body()).flat_map(|frame| {
            let text = String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap();
            let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            futures::stream::iter(events)
        });
        lines.boxed()
    }

    async fn define(&self, change: &Value) {
        let uri = format!("{DEFINITIONS}/{NAME}");
        let changed = self.patch(&uri, "application/json-patch+json", change).await;
        assert_eq!(changed.code, 200, "{}", changed.text());
    }
}

/// The next event, which comes within ten seconds or not at all.
async fn next(events: &mut BoxStream<'static, Value>) -> Option<Value> {
    tokio::time::timeout(Duration::from_secs(10), events.next()).await.expect("an event or the end comes")
}

#[tokio::test]
async fn other_versions_are_made_once_and_kept() {
    let (bed, hook) = Bed::ends().await;
    for (name, port) in [("a", 1), ("b", 2), ("c", 3)] {
        bed.end(name, port).await;
    }
    assert!(bed.get(ENDS).await.code == 200 && hook.asked().is_empty(), "the storage version needs nobody");
    let one = bed.get(&format!("{BETA}/b")).await.json();
    assert_eq!(one["spec"], json!({"hostPort": "a:2", "replicas": 1}), "what nobody declares is cut");
    assert_eq!(one["metadata"]["labels"], json!({"seen": "v1beta1"}));
    assert!(
        one["metadata"].get("finalizers").is_none(),
        "of metadata only labels and annotations are the webhook's"
    );
    assert_eq!(
        one["metadata"]["resourceVersion"],
        bed.get(&format!("{ENDS}/b")).await.json()["metadata"]["resourceVersion"]
    );
    assert_eq!(hook.asked(), [1]);
    let list = bed.get(BETA).await.json();
    let seen: Vec<&Value> =
        list["items"].as_array().unwrap().iter().map(|item| &item["spec"]["hostPort"]).collect();
    assert_eq!(list["apiVersion"], "example.com/v1beta1");
    assert_eq!(seen, ["a:1", "a:2", "a:3"]);
    assert_eq!(hook.asked(), [2], "one call for those that were not there yet");
    for uri in [BETA.to_owned(), format!("{BETA}/a"), format!("{BETA}/c/scale")] {
        assert_eq!(bed.get(&uri).await.code, 200, "{uri}");
    }
    let red = bed.get(&format!("{BETA}?fieldSelector=spec.hostPort%3Da:2")).await.json();
    assert_eq!(
        (red["items"].as_array().unwrap().len(), &red["items"][0]["metadata"]["name"]),
        (1, &json!("b"))
    );
    let form = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = bed.send("GET", BETA, &[("accept", form)], "").await.json();
    assert_eq!(table["rows"][2]["cells"], json!(["c", "a:3"]));
    assert!(hook.asked().is_empty(), "they are kept with the entries");
    let page = bed.get(&format!("{ALPHA}?limit=2")).await.json();
    assert_eq!(
        (page["items"].as_array().unwrap().len(), &page["metadata"]["remainingItemCount"]),
        (2, &json!(1))
    );
    assert_eq!(hook.asked(), [2], "no more than the page");
    let rest = format!("{ALPHA}?limit=2&continue={}", page["metadata"]["continue"].as_str().unwrap());
    assert_eq!(bed.get(&rest).await.json()["items"][0]["spec"]["at"], "a:3");
    let labelled = bed.get(&format!("{ALPHA}?limit=1&labelSelector=seen%3Dv1alpha1")).await.json();
    assert_eq!(labelled["items"][0]["metadata"]["name"], "a", "selectors see what is shown");
    assert_ne!(labelled["metadata"]["continue"], "");
    assert_eq!(hook.asked(), [1]);
}

#[tokio::test]
async fn watches_see_every_change_in_their_version() {
    let (bed, hook) = Bed::ends().await;
    bed.end("a", 1).await;
    bed.end("b", 2).await;
    let mut first = bed.watch(&format!("{BETA}?watch=1")).await;
    let mut second = bed.watch(&format!("{BETA}?watch=1")).await;
    for watch in [&mut first, &mut second] {
        for (name, at) in [("a", "a:1"), ("b", "a:2")] {
            let event = next(watch).await.unwrap();
            assert_eq!(
                (&event["type"], &event["object"]["metadata"]["name"]),
                (&json!("ADDED"), &json!(name))
            );
            assert_eq!(
                (&event["object"]["apiVersion"], &event["object"]["spec"]["hostPort"]),
                (&json!("example.com/v1beta1"), &json!(at))
            );
        }
    }
    assert_eq!(hook.asked(), [2], "the initial events in one call, for both");
    assert_eq!(bed.patch(&format!("{ENDS}/a"), MERGE, &json!({"spec": {"port": 9}})).await.code, 200);
    for watch in [&mut first, &mut second] {
        let event = next(watch).await.unwrap();
        assert_eq!(
            (&event["type"], &event["object"]["spec"]["hostPort"]),
            (&json!("MODIFIED"), &json!("a:9"))
        );
    }
    assert_eq!(hook.asked(), [1]);
    let mut stored = bed.watch(&format!("{ENDS}?watch=1&resourceVersion=0")).await;
    for _ in 0..2 {
        assert_eq!(next(&mut stored).await.unwrap()["type"], "ADDED");
    }
    hook.is(Mood::Ill);
    assert_eq!(bed.patch(&format!("{ENDS}/a"), MERGE, &json!({"spec": {"port": 10}})).await.code, 200);
    let event = next(&mut first).await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(500)));
    let text = event["object"]["message"].as_str().unwrap();
    let wanted = "conversion webhook for example.com/v1, Kind=End failed: an error on the server (\"I am ill\") has prevented";
    assert!(text.starts_with(wanted), "{text}");
    assert_eq!(next(&mut first).await, None, "nothing follows what could not be told");
    assert_eq!(
        next(&mut stored).await.unwrap()["object"]["spec"]["port"],
        10,
        "the storage version's goes on"
    );
}

#[tokio::test]
async fn a_webhook_that_fails_fails_its_versions_alone() {
    let (bed, hook) = Bed::ends().await;
    bed.end("a", 1).await;
    hook.is(Mood::Ill);
    let body = json!({"metadata": {"name": "n"}, "spec": {"hostPort": "n:1"}});
    for got in [
        bed.get(&format!("{BETA}/a")).await,
        bed.get(BETA).await,
        bed.post(BETA, &body).await,
        bed.patch(&format!("{BETA}/a"), MERGE, &json!({"spec": {"hostPort": "b:1"}})).await,
        bed.send("DELETE", &format!("{BETA}/a"), &[], "").await,
    ] {
        assert_eq!((got.code.as_u16(), &got.json()["reason"]), (500, &Value::Null), "{}", got.text());
        let from = if got.message().contains("v1beta1,") { "v1beta1" } else { "v1" };
        let wanted =
            format!("conversion webhook for example.com/{from}, Kind=End failed: an error on the server");
        assert!(got.message().starts_with(&wanted), "{}", got.text());
    }
    assert_eq!(bed.get(&format!("{ENDS}/n")).await.code, 404);
    for got in
        [bed.get(ENDS).await, bed.patch(&format!("{ENDS}/a"), MERGE, &json!({"spec": {"port": 2}})).await]
    {
        assert_eq!(got.code, 200, "{}", got.text());
    }
    hook.is(Mood::Rude);
    let rude = bed.get(&format!("{BETA}/a")).await;
    let wanted = "conversion webhook for example.com/v1, Kind=End returned invalid object: must have the same name: a != other";
    assert_eq!((rude.code.as_u16(), rude.message().as_str()), (500, wanted));
    hook.is(Mood::Well);
    assert_eq!(bed.get(&format!("{BETA}/a")).await.json()["spec"]["hostPort"], "a:2", "no failure is kept");
    assert_eq!(bed.send("DELETE", &format!("{BETA}/a"), &[], "").await.code, 200);
    assert_eq!(bed.get(&format!("{ENDS}/a")).await.code, 404);
}

#[tokio::test]
async fn writes_are_stored_in_the_storage_version() {
    let (bed, hook) = Bed::ends().await;
    let body = json!({"metadata": {"name": "a"}, "spec": {"hostPort": "h:1", "extra": 1}});
    let dry = bed.post(&format!("{BETA}?dryRun=All"), &body).await.json();
    assert_eq!(dry["spec"], json!({"hostPort": "h:1", "replicas": 1}), "{dry}");
    let made = bed.post(BETA, &body).await;
    assert_eq!(made.code, 201, "{}", made.text());
    assert_eq!(
        made.json()["spec"],
        json!({"hostPort": "h:1", "replicas": 1}),
        "pruned and defaulted as asked for"
    );
    hook.asked();
    let stored = bed.get(&format!("{ENDS}/a")).await.json();
    assert_eq!(stored["spec"], json!({"host": "h", "port": 1, "replicas": 1}));
    assert!(hook.asked().is_empty(), "it is stored so");
    let patched = bed.patch(&format!("{ALPHA}/a"), MERGE, &json!({"spec": {"at": "k:2"}})).await.json();
    assert_eq!(
        (&patched["spec"]["at"], &patched["metadata"]["generation"]),
        (&json!("k:2"), &json!(2)),
        "{patched}"
    );
    let mut beta = bed.get(&format!("{BETA}/a")).await.json();
    assert_eq!(beta["spec"]["hostPort"], "k:2");
    beta["spec"]["hostPort"] = json!("l:3");
    let put = bed.send("PUT", &format!("{BETA}/a"), &[], &beta.to_string()).await;
    assert_eq!(put.json()["spec"]["hostPort"], "l:3", "{}", put.text());
    let status = json!({"spec": {"hostPort": "no:1"}, "status": {"replicas": 7}});
    let status = bed.patch(&format!("{BETA}/a/status"), MERGE, &status).await.json();
    assert_eq!(
        (&status["spec"]["hostPort"], &status["status"]),
        (&json!("l:3"), &json!({"replicas": 7})),
        "a status is written alone"
    );
    let mut scale = bed.get(&format!("{BETA}/a/scale")).await.json();
    scale["spec"]["replicas"] = json!(4);
    let scaled = bed.send("PUT", &format!("{BETA}/a/scale"), &[], &scale.to_string()).await;
    assert_eq!(scaled.json()["spec"]["replicas"], 4, "{}", scaled.text());
    let stored = bed.get(&format!("{ENDS}/a")).await.json();
    assert_eq!(stored["spec"], json!({"host": "l", "port": 3, "replicas": 4}));
    let wrong = bed.post(BETA, &json!({"metadata": {"name": "b"}, "spec": {"hostPort": 7}})).await;
    assert!(wrong.code == 422 && wrong.message().contains("spec.hostPort"), "{}", wrong.text());
}

#[tokio::test]
async fn fields_are_owned_in_the_version_that_they_were_written_in() {
    let (bed, _hook) = Bed::ends().await;
    let apply = async |uri: &str, manager: &str, version: &str, spec: Value, force: bool| {
        let body = json!({"apiVersion": format!("example.com/{version}"), "kind": "End", "metadata": {"name": "a"}, "spec": spec});
        bed.patch(
            &format!("{uri}/a?fieldManager={manager}&force={force}"),
            "application/apply-patch+yaml",
            &body,
        )
        .await
    };
    let made = apply(ENDS, "one", "v1", json!({"host": "h", "port": 1}), false).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let same = apply(BETA, "two", "v1beta1", json!({"hostPort": "h:1"}), false).await;
    assert_eq!(same.code, 200, "the same value is no conflict: {}", same.text());
    let conflict = apply(BETA, "two", "v1beta1", json!({"hostPort": "h:2"}), false).await;
    assert_eq!(conflict.code, 409, "{}", conflict.text());
    assert!(conflict.message().contains("conflict with \"one\": .spec.port"), "{}", conflict.text());
    let forced = apply(BETA, "two", "v1beta1", json!({"hostPort": "h:2"}), true).await;
    assert_eq!(forced.code, 200, "{}", forced.text());
    let object = bed.get(&format!("{ENDS}/a")).await.json();
    assert_eq!(object["spec"], json!({"host": "h", "port": 2, "replicas": 1}));
    let owned = |object: &Value, manager: &str| -> Value {
        let entries = object["metadata"]["managedFields"].as_array().unwrap();
        let entry = entries.iter().find(|entry| entry["manager"] == manager).unwrap();
        json!([entry["apiVersion"], entry["fieldsV1"]["f:spec"]])
    };
    assert_eq!(owned(&object, "one"), json!(["example.com/v1", {"f:host": {}}]), "{object}");
    assert_eq!(owned(&object, "two"), json!(["example.com/v1beta1", {"f:hostPort": {}}]));
    // Who updates in another version takes from both.
    let updated = bed
        .patch(&format!("{ALPHA}/a?fieldManager=three"), MERGE, &json!({"spec": {"at": "k:9"}}))
        .await
        .json();
    assert_eq!(owned(&updated, "three"), json!(["example.com/v1alpha1", {"f:at": {}}]), "{updated}");
    let left = updated["metadata"]["managedFields"].as_array().unwrap();
    assert!(
        left.iter().all(|entry| entry["manager"] == "three"
            || entry["fieldsV1"]
                .get("f:spec")
                .is_none_or(|spec| spec.get("f:hostPort").is_none() && spec.get("f:host").is_none())),
        "{updated}"
    );
}

#[tokio::test]
async fn owners_in_other_versions_stay_while_nobody_can_tell_what_they_own() {
    let (bed, hook) = Bed::ends().await;
    let made = json!({"metadata": {"name": "a"}, "spec": {"hostPort": "h:1"}});
    assert_eq!(bed.post(&format!("{BETA}?fieldManager=beta"), &made).await.code, 201);
    hook.is(Mood::Ill);
    let change = json!({"spec": {"port": 2}});
    let changed = bed.patch(&format!("{ENDS}/a?fieldManager=one"), MERGE, &change).await;
    assert_eq!(changed.code, 200, "{}", changed.text());
    let object = changed.json();
    let owners: Vec<&Value> =
        meta::items(&object, &["metadata", "managedFields"]).iter().map(|entry| &entry["manager"]).collect();
    assert_eq!(owners, ["beta", "one"], "{object}");
    let body = json!({"apiVersion": "example.com/v1", "kind": "End", "metadata": {"name": "a"}, "spec": {"port": 3}});
    let uri = format!("{ENDS}/a?fieldManager=two");
    let applied = bed.patch(&uri, "application/apply-patch+yaml", &body).await;
    assert_eq!(applied.code, 500, "whether it conflicts cannot be told: {}", applied.text());
}

#[tokio::test]
async fn another_storage_version_leaves_what_is_stored_readable() {
    let (bed, hook) = Bed::ends().await;
    bed.end("old", 1).await;
    bed.end("new", 2).await;
    bed.define(&json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": false},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": true}]))
        .await;
    let object = bed.get(&format!("{DEFINITIONS}/{NAME}")).await.json();
    assert_eq!(object["status"]["storedVersions"], json!(["v1", "v1beta1"]));
    hook.asked();
    assert_eq!(bed.get(&format!("{ENDS}/old")).await.json()["spec"]["port"], 1);
    assert!(hook.asked().is_empty(), "it is in that version still");
    assert_eq!(bed.get(&format!("{BETA}/old")).await.json()["spec"]["hostPort"], "a:1");
    assert_eq!(bed.patch(&format!("{ENDS}/new"), MERGE, &json!({"spec": {"port": 3}})).await.code, 200);
    // Forms are forgotten with the definition that they were made by: what is left is what is stored.
    bed.define(&json!([{"op": "add", "path": "/spec/versions/2/deprecated", "value": true}])).await;
    hook.is(Mood::Ill);
    for (uri, code) in [
        (format!("{ENDS}/old"), 200),
        (format!("{BETA}/old"), 500),
        (format!("{ENDS}/new"), 500),
        (format!("{BETA}/new"), 200),
    ] {
        assert_eq!(bed.get(&uri).await.code.as_u16(), code, "{uri}");
    }
}

#[tokio::test]
async fn another_webhook_is_asked_from_its_definition_on() {
    let (bed, first) = Bed::ends().await;
    bed.end("a", 1).await;
    let mut watch = bed.watch(&format!("{BETA}?watch=1")).await;
    assert_eq!(next(&mut watch).await.unwrap()["type"], "ADDED");
    let version = bed.get(BETA).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let second = Hook::start();
    bed.define(&json!([{"op": "replace", "path": "/spec/conversion", "value": second.config()}])).await;
    drop(first);
    assert_eq!(next(&mut watch).await, None, "it would go on asking the first");
    assert_eq!(bed.get(&format!("{BETA}/a")).await.code, 200);
    bed.end("b", 2).await;
    let mut resumed = bed.watch(&format!("{BETA}?watch=1&resourceVersion={version}")).await;
    assert_eq!(next(&mut resumed).await.unwrap()["object"]["spec"]["hostPort"], "a:2", "and misses nothing");
    assert_eq!(second.asked(), [1, 1]);
    bed.define(&json!([{"op": "replace", "path": "/spec/conversion", "value": {"strategy": "None"}}])).await;
    let plain = bed.get(&format!("{BETA}/a")).await.json();
    assert_eq!(
        (&plain["apiVersion"], &plain["spec"]),
        (&json!("example.com/v1beta1"), &json!({"replicas": 1}))
    );
}

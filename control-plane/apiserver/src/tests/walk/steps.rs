//! What is done with one kind, and what must come of it.

use super::*;

const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON: &str = "application/json-patch+json";
/// Whatever the kind's own default is, dependents (there are none) are no reason to stay.
const BACKGROUND: &str = "propagationPolicy=Background";

/// One kind on its way through the verbs.
pub(super) struct Walk<'a> {
    bed: &'a Bed,
    kind: &'a Kind,
    sample: Sample,
    list: String,
    one: String,
    /// The collection, of which only the sample is selected.
    only: String,
}

impl<'a> Walk<'a> {
    pub(super) fn new(bed: &'a Bed, kind: &'a Kind) -> Self {
        let sample = fixture(kind);
        let list = collection(kind);
        let name = sample.object["metadata"]["name"].as_str().expect("a fixture has a name");
        let one = format!("{list}/{name}");
        let only = format!("{list}?fieldSelector=metadata.name%3D{name}");
        Self { bed, kind, sample, list, one, only }
    }

    async fn send(&self, method: &str, uri: &str, form: &str, body: &Value) -> Got {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.bed.send_as(walker(), method, uri, &[("content-type", form)], &text).await
    }

    /// Must succeed with this code.
    async fn ok(&self, method: &str, uri: &str, form: &str, body: &Value, code: u16) -> Value {
        let got = self.send(method, uri, form, body).await;
        assert!(got.code == code, "{method} {uri}: {} {}\nwith {body}", got.code, got.text());
        got.json()
    }

    async fn get(&self, uri: &str) -> Value {
        self.ok("GET", uri, "application/json", &Value::Null, 200).await
    }

    /// In protobuf it is the same; custom kinds have no messages.
    async fn same_in_protobuf(&self, uri: &str, object: &Value) {
        let got = self.bed.send_as(walker(), "GET", uri, &protobuf::ACCEPT, "").await;
        if self.kind.custom.is_some() {
            assert_eq!(got.code, 406, "{uri}: {}", got.text());
            return;
        }
        assert_eq!(got.code, 200, "{uri}");
        protobuf::assert_same(&protobuf::object(&got.bytes), object);
    }

    async fn put(&self, uri: &str, body: &Value) -> Value {
        self.ok("PUT", uri, "application/json", body, 200).await
    }

    async fn create(&self) -> Value {
        self.ok("POST", &self.list, "application/json", &self.sample.object, 201).await
    }

    pub(super) async fn create_read_and_watch(&self) {
        let uri = format!("{}&watch=1", self.only);
        let strict = format!("{}?fieldValidation=Strict&dryRun=All", self.list);
        self.ok("POST", &strict, "application/json", &self.sample.object, 201).await;
        let empty = self.get(&self.only).await;
        assert_eq!(empty["kind"], &*self.kind.list_kind);
        assert_eq!(empty["items"], json!([]), "{}: a dry run stores nothing", self.kind.plural);
        let watch = self.bed.open(walker(), "GET", &uri, &[], "").await;
        let made = self.create().await;
        let metadata = &made["metadata"];
        assert_eq!(
            (&made["kind"], &made["apiVersion"]),
            (&json!(self.kind.kind), &json!(self.kind.api_version()))
        );
        assert!(metadata["uid"].is_string() && metadata["creationTimestamp"].is_string(), "{made}");
        assert_eq!(
            metadata["generation"].as_i64(),
            self.kind.strategy.has_generation().then_some(1),
            "{}",
            self.kind.plural
        );
        assert_eq!(self.get(&self.one).await, made);
        self.same_in_protobuf(&self.one, &made).await;
        assert_eq!(self.get(&self.only).await["items"], json!([made]));
        let seen = first_event(watch).await;
        assert_eq!((&seen["type"], &seen["object"]), (&json!("ADDED"), &made));
        let again = self.send("POST", &self.list, "application/json", &self.sample.object).await;
        assert!(again.code == 409 && again.message().contains("already exists"), "{}", again.text());
    }

    pub(super) async fn update_and_patch(&self) {
        let mut object = self.get(&self.one).await;
        object["metadata"]["labels"]["by"] = json!("put");
        let put = self.put(&self.one, &object).await;
        assert_eq!(put["metadata"]["labels"]["by"], "put", "{put}");
        assert_ne!(put["metadata"]["resourceVersion"], object["metadata"]["resourceVersion"]);
        assert_eq!(put["metadata"]["generation"], object["metadata"]["generation"], "labels are not counted");
        let stale = self.send("PUT", &self.one, "application/json", &object).await;
        assert!(stale.code == 409, "{}: {}", self.kind.plural, stale.text());
        let merge = json!({"metadata": {"labels": {"by": "patch"}}});
        let json = json!([{"op": "replace", "path": "/metadata/labels/by", "value": "json"}]);
        for (form, body, by) in
            [(MERGE, &merge, "patch"), (JSON, &json, "json"), (STRATEGIC, &merge, "patch")]
        {
            if form == STRATEGIC && self.kind.custom.is_some() {
                let refused = self.send("PATCH", &self.one, form, body).await;
                assert!(refused.code == 415, "{}: {}", self.kind.plural, refused.text());
                continue;
            }
            let patched = self.ok("PATCH", &self.one, form, body, 200).await;
            assert_eq!(patched["metadata"]["labels"]["by"], by, "{form}");
            assert_eq!(self.get(&self.one).await, patched);
        }
    }

    /// The status is written on its own path alone, and nothing else is written there.
    pub(super) async fn status(&self) {
        let uri = format!("{}/status", self.one);
        let before = self.get(&uri).await;
        let status = self.sample.status.as_ref();
        let status = status.unwrap_or_else(|| panic!("{}: the fixture has no status", self.kind.plural));
        let mut patch = status.clone();
        patch["spec"] = Value::Null;
        let after = self.ok("PATCH", &uri, MERGE, &patch, 200).await;
        assert_eq!(after["spec"], before["spec"], "{}", self.kind.plural);
        assert_eq!(after["metadata"]["generation"], before["metadata"]["generation"]);
        for (key, value) in status["status"].as_object().expect("a status") {
            assert_eq!(&after["status"][key], value, "{}", self.kind.plural);
        }
        assert_eq!(self.put(&uri, &after).await, after);
        self.same_in_protobuf(&uri, &after).await;
        let elsewhere = self.ok("PATCH", &self.one, MERGE, &json!({"status": null}), 200).await;
        assert_eq!(elsewhere["status"], after["status"], "{}: only through /status", self.kind.plural);
    }

    pub(super) async fn scale(&self) {
        let uri = format!("{}/scale", self.one);
        let mut scale = self.get(&uri).await;
        assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
        assert!(scale["status"]["selector"].as_str().is_some_and(|text| text.contains('=')), "{scale}");
        let path = if self.kind.custom.is_some() { "/spec/size" } else { "/spec/replicas" };
        scale["spec"]["replicas"] = json!(5);
        assert_eq!(self.put(&uri, &scale).await["spec"]["replicas"], 5);
        let patched = self.ok("PATCH", &uri, MERGE, &json!({"spec": {"replicas": 7}}), 200).await;
        assert_eq!((&patched["kind"], &patched["spec"]["replicas"]), (&json!("Scale"), &json!(7)));
        let object = self.get(&self.one).await;
        assert_eq!(object.pointer(path), Some(&json!(7)));
        let generation = object["metadata"]["generation"].as_i64();
        assert_eq!(generation, Some(3), "each change of replicas counts");
    }

    pub(super) async fn delete(&self) {
        let uri = format!("{}?{BACKGROUND}", self.one);
        self.ok("DELETE", &uri, "application/json", &Value::Null, 200).await;
        let gone = self.send("GET", &self.one, "application/json", &Value::Null).await;
        if self.kind.plural == "namespaces" {
            // It stays until somebody has emptied it.
            assert_eq!(gone.json()["status"]["phase"], "Terminating");
            return;
        }
        assert!(gone.code == 404 && gone.message().contains("not found"), "{}", gone.text());
    }

    pub(super) async fn delete_collection(&self) {
        let mut object = self.sample.object.clone();
        object["metadata"]["labels"] = json!({"which": "this"});
        self.ok("POST", &self.list, "application/json", &object, 201).await;
        let uri = |which: &str| format!("{}?{BACKGROUND}&labelSelector=which%3D{which}", self.list);
        let none = self.ok("DELETE", &uri("other"), "application/json", &Value::Null, 200).await;
        assert_eq!(none["items"], json!([]));
        let one = self.ok("DELETE", &uri("this"), "application/json", &Value::Null, 200).await;
        assert_eq!(one["items"].as_array().map(Vec::len), Some(1), "{one}");
        assert_eq!(self.get(&self.only).await["items"], json!([]));
    }
}

async fn first_event(response: Response<Body>) -> Value {
    assert_eq!(response.status(), 200);
    let (mut body, mut text) = (response.into_body(), String::new());
    while !text.contains('\n') {
        let frame =
            tokio::time::timeout(Duration::from_secs(10), body.frame()).await.expect("an event comes");
        let data = frame.expect("the watch goes on").unwrap().into_data().unwrap();
        text.push_str(std::str::from_utf8(&data).unwrap());
    }
    serde_json::from_str(text.lines().next().expect("there is a line")).unwrap()
}

//! Webhooks in their place: a registry whose chain asks a TLS server of the test.

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use keelson_admission::{Chain, Config};
use keelson_auth::{UserInfo, authz::Authorizer};
use keelson_registry::{
    Annotations, Context, ConversionWebhooks, DeleteOptions, KindTable, Registry, RegistryConfig, Status,
};
use keelson_store::model::Model;
use keelson_webhook::{
    Client, Resolve, ResolveError, Transport,
    testing::{TestServer, answer, body},
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

struct Fixed(SocketAddr);

impl Resolve for Fixed {
    fn resolve(&self, _: &str, _: &str, _: u16) -> Result<SocketAddr, ResolveError> {
        Ok(self.0)
    }
}

/// A registry, and a webhook server that keeps what it was asked.
struct Bed {
    registry: Arc<Registry>,
    hook: TestServer,
    asked: Arc<Mutex<Vec<Value>>>,
}

/// What the server says to a path and a request; None says nothing at all.
type Says = fn(&str, &Value) -> Option<Value>;

fn allowed() -> Option<Value> {
    Some(json!({"allowed": true}))
}

fn patched(patch: Value) -> Option<Value> {
    Some(json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())}))
}

impl Bed {
    async fn new(says: Says) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = asked.clone();
        let hook = TestServer::start("hooks.default.svc", None, move |request| {
            let kept = kept.clone();
            async move {
                let path = request.uri().path().to_owned();
                let mut review: Value = serde_json::from_slice(&body(request).await).unwrap();
                let mut request = review["request"].take();
                let response = says(&path, &request);
                let uid = request["uid"].clone();
                request["path"] = json!(path);
                kept.lock().unwrap().push(request);
                let Some(mut response) = response else { return std::future::pending().await };
                response["uid"] = uid;
                review["response"] = response;
                answer(200, review.to_string())
            }
        });
        let registry =
            Registry::open(Arc::new(Model::default()), KindTable::builtin(), RegistryConfig::default()).await;
        let registry = registry.unwrap();
        let client = Client::new(Arc::new(Transport::new(Arc::new(Fixed(hook.address)), None)));
        registry.set_admission(Chain::over(
            &registry,
            Arc::new(Authorizer::new()),
            Config::default(),
            client,
        ));
        let bed = Self { registry, hook, asked };
        let mut namespace = named("ns");
        namespace["metadata"]["labels"] = json!({"team": "a"});
        bed.create("namespaces", "", namespace).await.unwrap();
        bed
    }

    fn context(&self) -> Context {
        Context::new(Arc::new(UserInfo::authenticated("root", ["system:masters"])))
    }

    async fn create(&self, plural: &str, namespace: &str, object: Value) -> Result<Value, Status> {
        self.create_in(&self.context(), plural, namespace, object).await
    }

    async fn create_in(
        &self,
        context: &Context,
        plural: &str,
        namespace: &str,
        mut object: Value,
    ) -> Result<Value, Status> {
        let kind = self.registry.table().iter().find(|kind| kind.plural == plural).unwrap().clone();
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.kind.as_ref().into();
        let namespace = (!namespace.is_empty()).then_some(namespace);
        let stored = self.registry.create(context, &kind, namespace, None, None, object).await?;
        Ok(stored.body.to_value())
    }

    /// Configures webhooks `(name, path, changes)`.
    async fn configure(&self, plural: &str, hooks: &[(&str, &str, Value)]) {
        let hooks: Vec<Value> =
            hooks.iter().map(|(name, path, change)| self.webhook(name, path, change)).collect();
        let mut object = named(&format!("{plural}-{}", hooks.len()));
        object["webhooks"] = json!(hooks);
        self.create(plural, "", object).await.unwrap();
    }

    fn webhook(&self, name: &str, path: &str, change: &Value) -> Value {
        let service = json!({"namespace": "default", "name": "hooks", "path": path});
        let mut hook = json!({
            "name": format!("{name}.hooks.example.com"),
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "timeoutSeconds": 1,
            "clientConfig": {"service": service, "caBundle": STANDARD.encode(&self.hook.ca_pem)},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}],
        });
        for (key, value) in change.as_object().into_iter().flatten() {
            hook[key] = value.clone();
        }
        hook
    }

    fn paths(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|request| request["path"].as_str().unwrap().to_owned()).collect()
    }
}

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

const MUTATING: &str = "mutatingwebhookconfigurations";
const VALIDATING: &str = "validatingwebhookconfigurations";

#[tokio::test]
async fn a_request_is_told_whole_and_a_denial_is_told_back() {
    let bed = Bed::new(|_, _| {
        Some(json!({"allowed": false, "warnings": ["mind the gap"], "status": {"code": 403, "message": "no maps today"}}))
    })
    .await;
    bed.configure(VALIDATING, &[("a", "/a", json!({}))]).await;
    let context = Context { field_manager: "me".into(), ..bed.context() };
    let refused = bed.create_in(&context, "configmaps", "ns", named("m")).await.unwrap_err();
    let wanted = r#"admission webhook "a.hooks.example.com" denied the request: no maps today"#;
    assert_eq!((refused.code, refused.message.as_str()), (403, wanted));
    assert_eq!(context.warnings.take(), ["mind the gap"]);
    let asked = bed.asked.lock().unwrap()[0].clone();
    let core = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    let resource = json!({"group": "", "version": "v1", "resource": "configmaps"});
    let rows = [
        ("kind", core.clone()),
        ("requestKind", core),
        ("resource", resource.clone()),
        ("requestResource", resource),
        ("operation", json!("CREATE")),
        ("name", json!("m")),
        ("namespace", json!("ns")),
        ("dryRun", json!(false)),
        ("oldObject", Value::Null),
    ];
    for (key, wanted) in rows {
        assert_eq!(asked[key], wanted, "{key}");
    }
    assert_eq!(asked["userInfo"]["username"], "root");
    assert_eq!(asked["object"]["metadata"]["name"], "m");
    assert_eq!(asked["options"]["kind"], "CreateOptions");
    assert_eq!(asked["options"]["fieldManager"], "me");
}

#[tokio::test]
async fn webhooks_change_objects_one_after_the_other_and_again_where_they_wish() {
    let bed = Bed::new(|path, request| {
        let seen = request["object"]["data"]["b"].is_string();
        match path {
            "/a" if seen => patched(json!([{"op": "add", "path": "/data/a", "value": "saw b"}])),
            "/a" => patched(json!([{"op": "add", "path": "/data", "value": {"a": "first"}}])),
            "/b" => patched(json!([
                {"op": "add", "path": "/data/b", "value": "after a"},
                {"op": "add", "path": "/bogus", "value": {"x": 1}},
                {"op": "add", "path": "/metadata/uid", "value": "mine"},
            ])),
            _ => allowed(),
        }
    })
    .await;
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    bed.configure(MUTATING, &[("a", "/a", again), ("b", "/b", json!({}))]).await;
    let stored = bed.create("configmaps", "ns", named("m")).await.unwrap();
    assert_eq!(stored["data"], json!({"a": "saw b", "b": "after a"}));
    assert_eq!(stored.get("bogus"), None);
    assert_ne!(stored["metadata"]["uid"], "mine");
    assert_eq!(bed.paths(), ["/a", "/b", "/a"]);
}

#[tokio::test]
async fn a_webhook_that_cannot_be_asked_fails_or_is_passed_over_by_its_policy() {
    let bed = Bed::new(|path, _| match path {
        "/hang" => None,
        "/garbage" => Some(json!({"allowed": "maybe"})),
        "/move" => patched(json!([{"op": "replace", "path": "/metadata/namespace", "value": "other"}])),
        "/kind" => patched(json!([{"op": "replace", "path": "/kind", "value": "Secret"}])),
        _ => patched(json!([{"op": "remove", "path": "/nothing"}])),
    })
    .await;
    let only = |name: &str, policy: &str| json!({"failurePolicy": policy, "objectSelector": {"matchLabels": {"to": name}}});
    let rows = [
        (
            "hang",
            "Fail",
            Some(
                "failed to call webhook: Post \"https://hooks.default.svc:443/hang?timeout=1s\": context deadline exceeded",
            ),
        ),
        ("garbage", "Fail", Some("received invalid webhook response: response.allowed is not a boolean")),
        ("garbage", "Ignore", None),
        ("broken", "Ignore", Some("sent a patch that does not apply: ")),
        (
            "move",
            "Fail",
            Some("the namespace of the provided object does not match the namespace sent on the request"),
        ),
        ("kind", "Fail", Some("attempted to change the kind of the object")),
    ];
    for (name, policy, wanted) in rows {
        let plural = MUTATING;
        let id = format!("{name}{policy}").to_lowercase();
        let mut object = named(&id);
        let hook = bed.webhook(name, &format!("/{name}"), &only(&id, policy));
        object["webhooks"] = json!([hook]);
        bed.create(plural, "", object).await.unwrap();
        let mut map = named(&id);
        map["metadata"]["labels"] = json!({"to": id});
        let got = bed.create("configmaps", "ns", map).await;
        match (got, wanted) {
            (Ok(_), None) => {}
            (Err(status), Some(wanted)) => assert!(status.message.contains(wanted), "{id}: {status}"),
            (got, wanted) => panic!("{id}: {got:?}, wanted {wanted:?}"),
        }
    }
}

#[tokio::test]
async fn only_webhooks_that_are_about_a_request_are_asked() {
    let bed = Bed::new(|_, _| allowed()).await;
    let elsewhere = json!({"namespaceSelector": {"matchLabels": {"team": "b"}}});
    let here = json!({"namespaceSelector": {"matchLabels": {"team": "a"}}});
    let everything = json!({"rules": [
        {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["*"]},
    ]});
    let effects = json!({"objectSelector": {"matchLabels": {"dry": "no"}}});
    bed.configure(
        VALIDATING,
        &[
            ("elsewhere", "/elsewhere", elsewhere),
            ("here", "/here", here),
            ("everything", "/everything", everything),
            ("effects", "/effects", effects),
        ],
    )
    .await;
    // Configurations themselves are never put before webhooks.
    bed.create(VALIDATING, "", named("empty")).await.unwrap();
    assert_eq!(bed.paths(), [""; 0]);
    bed.create("configmaps", "ns", named("m")).await.unwrap();
    let mut paths = bed.paths();
    paths.sort();
    assert_eq!(paths, ["/everything", "/here"]);
    bed.asked.lock().unwrap().clear();
    let kind = bed.registry.table().by_resource("", "v1", "configmaps").unwrap().clone();
    let options = DeleteOptions { grace_period_s: Some(0), ..DeleteOptions::default() };
    bed.registry.delete(&bed.context(), &kind, Some("ns"), "m", &options).await.unwrap();
    let asked = bed.asked.lock().unwrap()[0].clone();
    assert_eq!((&asked["operation"], &asked["object"]), (&json!("DELETE"), &Value::Null));
    assert_eq!(asked["oldObject"]["metadata"]["name"], "m");
    assert_eq!(asked["options"]["gracePeriodSeconds"], 0);
}

#[tokio::test]
async fn match_conditions_say_what_a_webhook_is_asked_about() {
    let bed = Bed::new(|_, _| allowed()).await;
    let condition = |expression: &str| json!([{ "name": "c", "expression": expression }]);
    let rows = [
        ("mine", "object.metadata.name.startsWith('mine')", "Fail"),
        ("others", "request.userInfo.username != 'root'", "Fail"),
        ("broken", "object.data.absent == 'x'", "Ignore"),
        (
            "may-not",
            "!authorizer.group('').resource('configmaps').namespace('ns').check('get').allowed()",
            "Fail",
        ),
    ];
    for (name, expression, policy) in rows {
        let change = json!({ "matchConditions": condition(expression), "failurePolicy": policy });
        let mut object = named(name);
        object["webhooks"] = json!([bed.webhook(name, &format!("/{name}"), &change)]);
        bed.create(VALIDATING, "", object).await.unwrap();
    }
    bed.create("configmaps", "ns", named("yours")).await.unwrap();
    assert_eq!(bed.paths(), [""; 0], "root may get it");
    bed.create("configmaps", "ns", named("mine-1")).await.unwrap();
    assert_eq!(bed.paths(), ["/mine"]);

    let change =
        json!({ "matchConditions": condition("object.data.absent == 'x'"), "failurePolicy": "Fail" });
    let mut object = named("strict");
    object["webhooks"] = json!([bed.webhook("strict", "/strict", &change)]);
    bed.create(VALIDATING, "", object).await.unwrap();
    let refused = bed.create("configmaps", "ns", named("yours-too")).await.unwrap_err();
    assert!(refused.code == 403 && refused.message.contains("no such key: data"), "{refused}");
}

#[tokio::test]
async fn the_audit_log_learns_who_changed_what() {
    let bed = Bed::new(|path, _| match path {
        "/patch" => {
            let mut says = patched(json!([{"op": "add", "path": "/data", "value": {"by": "hook"}}]))?;
            says["auditAnnotations"] = json!({"why": "because"});
            Some(says)
        }
        "/silent" => None,
        _ => allowed(),
    })
    .await;
    let ignore = json!({"failurePolicy": "Ignore"});
    let hooks = [("one", "/patch", json!({})), ("two", "/", json!({})), ("three", "/silent", ignore.clone())];
    bed.configure("mutatingwebhookconfigurations", &hooks).await;
    bed.configure("validatingwebhookconfigurations", &[("four", "/silent", ignore)]).await;
    let noted = async |name: &str, bodies: bool| {
        let context = Context { annotations: Annotations::kept(bodies), ..bed.context() };
        bed.create_in(&context, "configmaps", "ns", named(name)).await.unwrap();
        context.annotations.all()
    };
    let whole = noted("m", true).await;
    let json = |key: &str| -> Value { serde_json::from_str(&whole[key]).unwrap() };
    let by = |webhook: &str, mutated: bool| json!({"configuration": "mutatingwebhookconfigurations-3", "webhook": webhook, "mutated": mutated});
    assert_eq!(json("mutation.webhook.admission.k8s.io/round_0_index_0"), by("one.hooks.example.com", true));
    assert_eq!(json("mutation.webhook.admission.k8s.io/round_0_index_1"), by("two.hooks.example.com", false));
    let patch = json("patch.webhook.admission.k8s.io/round_0_index_0");
    assert_eq!(patch["patch"][0]["value"], json!({"by": "hook"}));
    assert_eq!(patch["patchType"], "JSONPatch");
    assert_eq!(whole["one.hooks.example.com/why"], "because");
    for (kind, index, webhook) in [("mutating", 2, "three"), ("validating", 0, "four")] {
        let key = format!("failed-open.{kind}.webhook.admission.k8s.io/round_0_index_{index}");
        assert_eq!(whole[&key], format!("{webhook}.hooks.example.com"));
    }
    let brief = noted("n", false).await;
    assert!(!brief.keys().any(|key| key.starts_with("patch.")), "{brief:?}");
}

/// Calls the field that has the words `of-VERSION` in the version that is asked for.
struct Renames;

#[async_trait]
impl ConversionWebhooks for Renames {
    async fn ask(&self, _: &Value, review: Bytes) -> Result<Bytes, String> {
        let mut review: Value = serde_json::from_slice(&review).map_err(|error| error.to_string())?;
        let to = review["request"]["desiredAPIVersion"].clone();
        let mut objects = review["request"]["objects"].take();
        for object in objects.as_array_mut().unwrap() {
            let word = object["spec"].as_object().unwrap().values().next().unwrap().clone();
            let field = to.as_str().unwrap().replace("example.com/", "of-");
            object["spec"] = json!({ field: word });
            object["apiVersion"] = to.clone();
        }
        let uid = review["request"]["uid"].clone();
        review["response"] =
            json!({"uid": uid, "result": {"status": "Success"}, "convertedObjects": objects});
        Ok(review.to_string().into())
    }
}

/// Tabs in v1, which is stored, and v2.
async fn define_tabs(bed: &Bed) {
    let version = |name: &str| {
        let spec = json!({"type": "object", "properties": {format!("of-{name}"): {"type": "string"}}});
        let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
        json!({"name": name, "served": true, "storage": name == "v1", "schema": schema})
    };
    let names = json!({"plural": "tabs", "singular": "tab", "kind": "Tab", "listKind": "TabList"});
    let client = json!({"url": "https://nowhere.example"});
    let definition = json!({
        "metadata": {"name": "tabs.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version("v1"), version("v2")],
            "conversion": {"strategy": "Webhook",
                "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}}},
    });
    let mut made = bed.create("customresourcedefinitions", "", definition).await.unwrap();
    made["status"]["acceptedNames"] = names;
    made["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
    let table = bed.registry.table();
    let kind = table.by_resource("apiextensions.k8s.io", "v1", "customresourcedefinitions").unwrap();
    bed.registry.update(&bed.context(), kind, None, "tabs.example.com", Some("status"), made).await.unwrap();
}

#[tokio::test]
async fn a_custom_object_is_shown_in_the_version_that_a_webhook_is_about() {
    let bed = Bed::new(|path, request| match path {
        "/change" if request["kind"]["version"] == "v2" => {
            patched(json!([{"op": "replace", "path": "/spec/of-v2", "value": "by the hook"}]))
        }
        _ => allowed(),
    })
    .await;
    bed.registry.set_conversion(Arc::new(Renames));
    define_tabs(&bed).await;
    let about = |version: &str| {
        json!({"matchPolicy": "Equivalent", "rules": [{"apiGroups": ["example.com"], "apiVersions": [version],
            "resources": ["tabs"], "operations": ["*"]}]})
    };
    bed.configure(MUTATING, &[("change", "/change", about("v2"))]).await;
    bed.configure(VALIDATING, &[("look", "/look", about("v2"))]).await;
    let table = bed.registry.table();
    let kind = table.by_resource("example.com", "v1", "tabs").unwrap();
    let mut tab = named("a");
    tab["apiVersion"] = json!("example.com/v1");
    tab["kind"] = json!("Tab");
    tab["spec"] = json!({"of-v1": "mine"});
    let made = bed.registry.create(&bed.context(), kind, Some("ns"), None, None, tab).await.unwrap();
    assert_eq!(made.body.to_value()["spec"], json!({"of-v1": "by the hook"}));
    let asked = bed.asked.lock().unwrap();
    let seen: Vec<(&Value, &Value)> =
        asked.iter().map(|request| (&request["path"], &request["object"]["spec"])).collect();
    let (mine, changed) = (json!({"of-v2": "mine"}), json!({"of-v2": "by the hook"}));
    assert_eq!(seen, [(&json!("/change"), &mine), (&json!("/look"), &changed)]);
    assert_eq!(asked[1]["requestKind"]["version"], "v1");
}

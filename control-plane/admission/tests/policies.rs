//! Policies over a registry: from their creation to what becomes of a write.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use keelson_admission::{Chain, Config};
use keelson_auth::UserInfo;
use keelson_auth::authz::Authorizer;
use keelson_registry::{
    Annotations, Attributes, Context, DeleteOptions, KindTable, Operation, Options, PatchType, Registry,
    RegistryConfig, Status,
};
use keelson_store::model::Model;
use keelson_webhook::{Client, Resolve, ResolveError, Transport};
use serde_json::{Value, json};

fn nobody() -> Client {
    struct Nowhere;
    impl Resolve for Nowhere {
        fn resolve(&self, _: &str, name: &str, _: u16) -> Result<SocketAddr, ResolveError> {
            Err(ResolveError::NotFound(name.to_owned()))
        }
    }
    Client::new(Arc::new(Transport::new(Arc::new(Nowhere), None)))
}

struct World {
    registry: Arc<Registry>,
    context: Context,
}

impl World {
    async fn new() -> Self {
        let registry =
            Registry::open(Arc::new(Model::default()), KindTable::builtin(), RegistryConfig::default()).await;
        let registry = registry.unwrap();
        registry.set_admission(Chain::over(
            &registry,
            Arc::new(Authorizer::new()),
            Config::default(),
            nobody(),
        ));
        let context = Context::new(Arc::new(UserInfo::authenticated("root", ["system:masters"])));
        let world = Self { registry, context };
        let mut namespace = named("ns");
        namespace["metadata"]["labels"] = json!({ "env": "prod" });
        world.create("namespaces", "", namespace).await.unwrap();
        world
    }

    async fn create(&self, plural: &str, namespace: &str, mut object: Value) -> Result<Value, Status> {
        let kind = self.registry.table().iter().find(|kind| kind.plural == plural).unwrap().clone();
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.kind.to_string().into();
        let namespace = (!namespace.is_empty()).then_some(namespace);
        let stored = self.registry.create(&self.context, &kind, namespace, None, None, object).await?;
        Ok(stored.body.to_value())
    }

    async fn delete(&self, plural: &str, namespace: &str, name: &str) -> Result<(), Status> {
        let kind = self.registry.table().iter().find(|kind| kind.plural == plural).unwrap().clone();
        let namespace = (!namespace.is_empty()).then_some(namespace);
        self.registry.delete(&self.context, &kind, namespace, name, &DeleteOptions::default()).await.map(drop)
    }

    async fn patch(&self, plural: &str, name: &str, patch: Value) -> Result<Value, Status> {
        let kind = self.registry.table().iter().find(|kind| kind.plural == plural).unwrap().clone();
        let body = patch.to_string().into();
        let patched =
            self.registry.patch(&self.context, &kind, Some("ns"), name, None, PatchType::Merge, body).await?;
        Ok(patched.body.to_value())
    }

    /// A validating policy on ConfigMaps with a binding of the same name.
    async fn validating(&self, name: &str, spec: Value, binding: Value) {
        self.policy("validating", name, spec, binding).await;
    }

    async fn policy(&self, sort: &str, name: &str, spec: Value, binding: Value) {
        let rule = json!({
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE", "DELETE"], "resources": ["configmaps"],
        });
        let mut policy = named(name);
        policy["spec"] = json!({ "matchConstraints": { "resourceRules": [rule] } });
        merge(&mut policy["spec"], spec);
        self.create(&format!("{sort}admissionpolicies"), "", policy).await.unwrap();
        let mut bound = named(name);
        bound["spec"] = json!({ "policyName": name });
        if sort == "validating" {
            bound["spec"]["validationActions"] = json!(["Deny"]);
        }
        merge(&mut bound["spec"], binding);
        self.create(&format!("{sort}admissionpolicybindings"), "", bound).await.unwrap();
    }

    async fn map(&self, name: &str, data: Value) -> Result<Value, Status> {
        let mut map = named(name);
        map["data"] = data;
        self.create("configmaps", "ns", map).await
    }
}

fn merge(into: &mut Value, from: Value) {
    for (key, value) in from.as_object().unwrap() {
        into[key] = value.clone();
    }
}

fn named(name: &str) -> Value {
    json!({ "metadata": { "name": name } })
}

fn refused(result: Result<Value, Status>) -> (u16, String) {
    let status = result.expect_err("the policy refuses it");
    (status.code, status.message)
}

#[tokio::test]
async fn a_denial_is_told_as_upstream_tells_it() {
    let world = World::new().await;
    let validations = json!([{ "expression": "int(object.data.size) < 10", "message": "too large" }]);
    world.validating("small", json!({ "validations": validations }), json!({})).await;
    world.map("good", json!({ "size": "9" })).await.unwrap();
    let denied = "configmaps \"bad\" is forbidden: ValidatingAdmissionPolicy 'small' with binding 'small' denied request: ";
    let rows = [
        (json!({ "size": "10" }), "too large".to_owned()),
        (
            json!({}),
            "expression 'int(object.data.size) < 10' resulted in error: no such key: size".to_owned(),
        ),
    ];
    for (data, why) in rows {
        assert_eq!(refused(world.map("bad", data).await), (422, format!("{denied}{why}")));
    }
    // The object that is deleted is the old one, and the policy is about deletions, too.
    let error = world.delete("configmaps", "ns", "good").await.unwrap_err();
    assert!(error.message.contains("resulted in error: no such"), "{}", error.message);
    // It holds until it is gone.
    world.delete("validatingadmissionpolicybindings", "", "small").await.unwrap();
    world.map("bad", json!({ "size": "10" })).await.unwrap();
}

#[tokio::test]
async fn policies_judge_also_what_could_not_be_written() {
    let world = World::new().await;
    world
        .validating("small", json!({ "validations": [{ "expression": "'size' in object.data" }] }), json!({}))
        .await;
    let made = world.map("one", json!({ "size": "1" })).await.unwrap();
    let mut again = named("two");
    again["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"].clone();
    let refusal = world.create("configmaps", "ns", again.clone()).await.unwrap_err();
    assert!(refusal.message.contains("ValidatingAdmissionPolicy 'small'"), "{refusal}");
    again["data"] = json!({ "size": "1" });
    let refusal = world.create("configmaps", "ns", again).await.unwrap_err();
    assert_eq!(refusal.message, "resourceVersion should not be set on objects to be created");
}

#[tokio::test]
async fn what_a_validation_says_decides_message_and_code() {
    let rows = [
        (json!({}), 422, "failed expression: object.data.a == 'x'"),
        (json!({ "message": "must be x" }), 422, "must be x"),
        (json!({ "message": "must be x", "messageExpression": "'is ' + object.data.a" }), 422, "is b"),
        (json!({ "message": "must be x", "messageExpression": "object.data.none" }), 422, "must be x"),
        (json!({ "message": "must be x", "messageExpression": "'a\\nb'" }), 422, "must be x"),
        (json!({ "reason": "Forbidden" }), 403, "failed expression: object.data.a == 'x'"),
        (json!({ "reason": "Unauthorized" }), 401, "failed expression: object.data.a == 'x'"),
        (json!({ "reason": "RequestEntityTooLarge" }), 413, "failed expression: object.data.a == 'x'"),
    ];
    for (more, code, message) in rows {
        let world = World::new().await;
        let mut validation = json!({ "expression": "object.data.a == 'x'" });
        merge(&mut validation, more);
        world.validating("p", json!({ "validations": [validation] }), json!({})).await;
        let (found, text) = refused(world.map("m", json!({ "a": "b" })).await);
        assert!(
            found == code && text.ends_with(&format!("denied request: {message}")),
            "{code} {message}: {found} {text}"
        );
    }
}

#[tokio::test]
async fn expressions_see_the_request_its_namespace_and_the_authorizer() {
    let world = World::new().await;
    let holds = [
        "request.operation == 'CREATE' && request.kind.kind == 'ConfigMap' && request.resource.resource == 'configmaps'",
        "request.namespace == 'ns' && request.name == 'm' && request.userInfo.username == 'root' && !request.dryRun",
        "'system:masters' in request.userInfo.groups && oldObject == null && object.kind == 'ConfigMap'",
        "namespaceObject.metadata.labels.env == 'prod' && namespaceObject.metadata.name == 'ns'",
        "authorizer.requestResource.check('delete').allowed()",
        "!authorizer.serviceAccount('ns', 'nobody').group('').resource('secrets').namespace('ns').check('get').allowed()",
        "variables.twice == 'xx' && request.options.kind == 'CreateOptions'",
    ];
    let validations: Vec<Value> =
        holds.iter().map(|expression| json!({ "expression": expression })).collect();
    let variables = json!([
        { "name": "once", "expression": "object.data.a" },
        { "name": "twice", "expression": "variables.once + variables.once" },
    ]);
    let creation = json!({ "name": "new", "expression": "request.operation == 'CREATE'" });
    let spec = json!({ "validations": validations, "variables": variables, "matchConditions": [creation] });
    world.validating("p", spec, json!({})).await;
    world.map("m", json!({ "a": "x" })).await.unwrap();
    world.delete("configmaps", "ns", "m").await.unwrap();
}

#[tokio::test]
async fn parameters_come_from_the_object_that_the_binding_names() {
    let world = World::new().await;
    let spec = json!({
        "paramKind": { "apiVersion": "v1", "kind": "ConfigMap" },
        "matchConditions": [{ "name": "no-limits", "expression": "!object.metadata.name.startsWith('limit')" }],
        "validations": [{
            "expression": "int(object.data.size) <= int(params.data.max)",
            "messageExpression": "'at most ' + params.data.max",
        }],
    });
    let reference =
        |name: &str, action: &str| json!({ "paramRef": { "name": name, "parameterNotFoundAction": action } });
    world.validating("p", spec, reference("limits", "Deny")).await;
    let big = || json!({ "size": "7" });
    let (_, text) = refused(world.map("m", big()).await);
    let missing = "denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert!(text.ends_with(missing), "{text}");
    world.delete("validatingadmissionpolicybindings", "", "p").await.unwrap();
    world.map("limits", json!({ "max": "5" })).await.unwrap();

    let bind = async |name: &str, more: Value| {
        let mut binding = named(name);
        binding["spec"] = json!({ "policyName": "p", "validationActions": ["Deny"] });
        merge(&mut binding["spec"], more);
        world.create("validatingadmissionpolicybindings", "", binding).await.unwrap();
    };
    bind("named", reference("limits", "Deny")).await;
    assert!(
        refused(world.map("m", big()).await).1.ends_with("with binding 'named' denied request: at most 5")
    );
    // What the parameters say now counts.
    world.patch("configmaps", "limits", json!({ "data": { "max": "8" } })).await.unwrap();
    world.map("m", big()).await.unwrap();
    bind("absent", reference("none", "Allow")).await;
    world.map("n", big()).await.unwrap();
    let mut strict = named("limit-strict");
    strict["metadata"]["labels"] = json!({ "strict": "yes" });
    strict["data"] = json!({ "max": "1" });
    world.create("configmaps", "ns", strict).await.unwrap();
    let selector = json!({ "matchLabels": { "strict": "yes" } });
    bind("selected", json!({ "paramRef": { "selector": selector, "parameterNotFoundAction": "Deny" } }))
        .await;
    assert!(
        refused(world.map("o", big()).await).1.ends_with("with binding 'selected' denied request: at most 1")
    );
}

#[tokio::test]
async fn a_policy_warns_ignores_its_failures_and_is_not_asked_where_it_does_not_match() {
    let world = World::new().await;
    let never = json!([{ "expression": "false", "message": "never" }]);
    world
        .validating(
            "warn",
            json!({ "validations": never }),
            json!({ "validationActions": ["Warn", "Audit"] }),
        )
        .await;
    let other = json!({ "matchResources": { "namespaceSelector": { "matchLabels": { "env": "test" } } } });
    world.validating("elsewhere", json!({ "validations": never }), other).await;
    let failing = json!([{ "expression": "object.none.none" }]);
    world
        .validating("ignored", json!({ "validations": failing, "failurePolicy": "Ignore" }), json!({}))
        .await;
    world.map("m", json!({})).await.unwrap();
    let warned = world.context.warnings.take();
    assert_eq!(warned, ["Validation failed for ValidatingAdmissionPolicy 'warn' with binding 'warn': never"]);
    let here = json!({ "matchResources": { "namespaceSelector": { "matchLabels": { "env": "prod" } } } });
    world.validating("here", json!({ "validations": never }), here).await;
    assert!(refused(world.map("n", json!({})).await).1.contains("'here' denied request: never"));
}

#[tokio::test]
async fn the_audit_log_learns_what_policies_say() {
    let mut world = World::new().await;
    let never = json!([{ "expression": "true" }, { "expression": "false", "message": "never" }]);
    let annotations = json!([{ "key": "size", "valueExpression": "string(size(object.data))" }]);
    let spec = json!({ "validations": never, "auditAnnotations": annotations });
    for name in ["one", "two"] {
        world.validating(name, spec.clone(), json!({ "validationActions": ["Audit"] })).await;
    }
    world.context.annotations = Annotations::kept(false);
    world.map("m", json!({ "a": "b" })).await.unwrap();
    let noted = world.context.annotations.all();
    assert_eq!((&*noted["one/size"], &*noted["two/size"]), ("1", "1"));
    let failures: Value =
        serde_json::from_str(&noted["validation.policy.admission.k8s.io/validation_failure"]).unwrap();
    let failure = |policy: &str| {
        json!({ "message": "never", "policy": policy, "binding": policy, "expressionIndex": 1,
                "validationActions": ["Audit"] })
    };
    assert_eq!(failures, json!([failure("one"), failure("two")]));
}

#[tokio::test]
async fn nobody_is_kept_from_mending_a_policy() {
    let world = World::new().await;
    let all = json!({ "resourceRules": [{ "apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"] }] });
    let spec = json!({ "matchConstraints": all, "validations": [{ "expression": "false" }] });
    world.validating("locked", spec, json!({})).await;
    refused(world.map("m", json!({})).await);
    world.delete("validatingadmissionpolicies", "", "locked").await.unwrap();
    world.map("m", json!({})).await.unwrap();
}

#[tokio::test]
async fn mutations_apply_and_patch_one_after_the_other() {
    let world = World::new().await;
    let apply = |expression: &str| json!({ "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": expression } });
    let patch =
        |expression: &str| json!({ "patchType": "JSONPatch", "jsonPatch": { "expression": expression } });
    let creations = json!([{ "name": "new", "expression": "request.operation == 'CREATE'" }]);
    let spec = |mutations: Value, again: &str| json!({ "mutations": mutations, "reinvocationPolicy": again, "matchConditions": creations });
    let count = "Object{data: {'count': string(size(object.metadata.?labels.orValue({})))}}";
    world.policy("mutating", "a-count", spec(json!([apply(count)]), "IfNeeded"), json!({})).await;
    let mutations = json!([
        apply("Object{metadata: Object.metadata{labels: {'seen': 'yes'}}}"),
        patch(
            "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('example.com/by'), value: request.userInfo.username}]"
        ),
    ]);
    world.policy("mutating", "b-labels", spec(mutations, "Never"), json!({})).await;
    let made = world.map("m", json!({ "a": "b" })).await.unwrap();
    assert_eq!(made["metadata"]["labels"], json!({ "seen": "yes", "example.com/by": "root" }));
    // The first was asked once more, as the second changed what it had seen.
    assert_eq!(made["data"], json!({ "a": "b", "count": "2" }));

    let wrong = json!([patch("[JSONPatch{op: 'replace', path: '/metadata/name', value: 'other'}]")]);
    world.policy("mutating", "c-name", spec(wrong, "Never"), json!({})).await;
    let (code, text) = refused(world.map("n", json!({})).await);
    assert_eq!(
        (
            code,
            text.ends_with(
                "policy 'c-name' with binding 'c-name' denied request: must not change metadata.name"
            )
        ),
        (422, true),
        "{text}"
    );
    world.delete("configmaps", "ns", "m").await.unwrap();
}

/// What it costs to have the plugins, where no policy is about the request: printed, and bounded far above what was seen.
#[tokio::test]
async fn a_request_that_no_policy_matches_costs_next_to_nothing() {
    const REQUESTS: u32 = 5000;
    const NANOS_MAX: u128 = 200_000;
    let world = World::new().await;
    let chain = Chain::over(&world.registry, Arc::new(Authorizer::new()), Config::default(), nobody());
    let kind = world.registry.table().by_resource("", "v1", "secrets").unwrap().clone();
    let secret = named("s");
    let attributes = Attributes {
        user: &world.context.user,
        kind: &kind,
        subresource: "",
        namespace: "ns",
        name: "s",
        operation: Operation::Create,
        dry_run: false,
        old: None,
        options: Options::default(),
        warnings: &world.context.warnings,
        annotations: &world.context.annotations,
        now: world.context.now,
    };
    let measured = async || {
        let start = Instant::now();
        for _ in 0..REQUESTS {
            chain.validate(&attributes, Some(&secret)).await.unwrap();
        }
        (start.elapsed() / REQUESTS).as_nanos()
    };
    measured().await;
    let without = measured().await;
    for index in 0..10 {
        let validations = json!([{ "expression": "false" }]);
        world.validating(&format!("p{index}"), json!({ "validations": validations }), json!({})).await;
    }
    let with = measured().await;
    eprintln!("{without} ns without policies, {with} ns with ten that are about something else");
    assert!(with < NANOS_MAX, "{without} {with}");
}

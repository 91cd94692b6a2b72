//! Tables: sets and their form, what changes are, what an apply comes to.

use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::types::Schemas;

fn ty(definition: &str) -> TypeRef<'static> {
    Schemas::builtin().definition(definition).expect("an embedded definition")
}

fn deployment() -> TypeRef<'static> {
    ty("io.k8s.api.apps.v1.Deployment")
}

fn pod_spec() -> TypeRef<'static> {
    ty("io.k8s.api.core.v1.PodSpec")
}

fn text(set: &FieldSet) -> String {
    let mut out = Vec::new();
    set.encode(&mut out);
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn set(fields: &Value) -> FieldSet {
    FieldSet::decode(&fields.to_string()).expect("a FieldsV1")
}

#[test]
fn fields_v1_is_written_as_it_is_read() {
    for form in [
        r#"{}"#,
        r#"{"f:metadata":{"f:labels":{".":{},"f:app":{}}}}"#,
        r#"{"f:a\"b\\c\u0001":{}}"#,
        r#"{"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}},"k:{\"containerPort\":443,\"protocol\":\"TCP\"}":{}}}"#,
        r#"{"f:finalizers":{"v:\"a\"":{},"v:\"b\"":{}},"f:numbers":{"v:2":{},"v:10":{},"v:true":{}}}"#,
        r#"{"f:list":{"i:0":{},"i:11":{}}}"#,
    ] {
        assert_eq!(text(&FieldSet::decode(form).expect(form)), form);
    }
    // Out of order, and with an empty member spelled out.
    let loose = FieldSet::decode(r#"{"f:b":{".":{}},"f:a":{"f:y":{},"f:x":{}}}"#).expect("a FieldsV1");
    assert_eq!(text(&loose), r#"{"f:a":{"f:x":{},"f:y":{}},"f:b":{}}"#);
    for wrong in ["[]", r#"{"x":{}}"#, r#"{"q:x":{}}"#, r#"{"k:[]":{}}"#, r#"{"i:x":{}}"#, r#"{"f:a":1}"#] {
        assert!(FieldSet::decode(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn sets_combine_by_members() {
    let a = set(&json!({"f:x": {".": {}, "f:y": {}}, "f:z": {}}));
    let b = set(&json!({"f:x": {"f:y": {}, "f:w": {}}}));
    assert_eq!(a.union(&b), set(&json!({"f:x": {".": {}, "f:w": {}, "f:y": {}}, "f:z": {}})));
    assert_eq!(a.difference(&b), set(&json!({"f:x": {}, "f:z": {}})));
    assert_eq!(a.intersection(&b), set(&json!({"f:x": {"f:y": {}}})));
    assert!(a.overlaps(&b) && !a.difference(&b).overlaps(&b));
    assert!(a.is_within(&a.union(&b)) && !a.is_within(&b));
    assert!(a.difference(&a).is_empty());
    let paths: Vec<String> = a.paths().iter().map(ToString::to_string).collect();
    assert_eq!(paths, [".x", ".x.y", ".z"]);
    assert!(a.has(&["x"]) && a.has(&["x", "y"]) && !b.has(&["x"]) && !a.has(&["q"]));
    assert_eq!(FieldSet::of_path(&["spec", "replicas"]), set(&json!({"f:spec": {"f:replicas": {}}})));
    let items = set(&json!({"f:c": {"k:{\"name\":\"a\",\"n\":1}": {"f:image": {}}, "v:\"q\"": {}}}));
    let paths: Vec<String> = items.paths().iter().map(ToString::to_string).collect();
    assert_eq!(paths, [r#".c[n=1,name="a"].image"#, r#".c[="q"]"#]);
}

/// Every sort of list and map, as they are owned.
#[test]
fn an_object_has_the_fields_that_its_schema_tells_apart() {
    let rows = [
        // A structure is its properties, a map its entries.
        (
            "io.k8s.api.core.v1.ConfigMap",
            json!({"metadata": {"labels": {"a": "1"}}, "data": {"k": "v"}, "immutable": true}),
            json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:data": {"f:k": {}}, "f:immutable": {}}),
        ),
        // A set of scalars; an atomic list within a keyed one.
        (
            "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
            json!({"finalizers": ["b", "a"], "ownerReferences": [{"uid": "u", "name": "n"}]}),
            json!({"f:finalizers": {"v:\"a\"": {}, "v:\"b\"": {}}, "f:ownerReferences": {"k:{\"uid\":\"u\"}": {}}}),
        ),
        // Keyed lists, with the key's default where it is absent; an atomic list of scalars; empty objects are leaves.
        (
            "io.k8s.api.core.v1.PodSpec",
            json!({"containers": [{"name": "c", "args": ["x"], "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]}],
                "volumes": [{"name": "v", "emptyDir": {}}], "nodeSelector": {"a": "b"}, "tolerations": [{"key": "x"}]}),
            json!({
                "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:args": {}, "f:ports": {
                    "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}},
                    "k:{\"containerPort\":53,\"protocol\":\"UDP\"}": {".": {}, "f:containerPort": {}, "f:protocol": {}},
                }}},
                "f:volumes": {"k:{\"name\":\"v\"}": {".": {}, "f:name": {}, "f:emptyDir": {}}},
                "f:nodeSelector": {}, "f:tolerations": {},
            }),
        ),
        // A type that is atomic wherever it is used, and a property for which it is not.
        (
            "io.k8s.api.apps.v1.DeploymentSpec",
            json!({"selector": {"matchLabels": {"a": "b"}}}),
            json!({"f:selector": {}}),
        ),
        (
            "io.k8s.api.core.v1.PersistentVolumeSpec",
            json!({"claimRef": {"name": "n"}, "capacity": {"storage": "1Gi"}}),
            json!({"f:claimRef": {"f:name": {}}, "f:capacity": {"f:storage": {}}}),
        ),
        // Null says something; an empty list of items nothing.
        (
            "io.k8s.api.core.v1.PodSpec",
            json!({"hostname": null, "volumes": [], "tolerations": []}),
            json!({"f:hostname": {}, "f:tolerations": {}}),
        ),
    ];
    for (definition, object, expected) in rows {
        assert_eq!(text(&set_of(ty(definition), &object)), text(&set(&expected)), "{definition} {object}");
    }
    // Without a schema objects merge and lists do not.
    let deduced = place::set_of(Place::deduced(), &json!({"a": {"b": 1, "c": [1]}, "d": {}})).below;
    assert_eq!(text(&deduced), r#"{"f:a":{".":{},"f:b":{},"f:c":{}},"f:d":{}}"#);
}

fn changes(definition: &str, old: Value, new: Value) -> [String; 3] {
    let found = compare(Place::of(ty(definition)), &old, &new);
    [&found.added, &found.modified, &found.removed].map(text)
}

#[test]
fn a_change_is_what_came_what_changed_and_what_went() {
    let spec = "io.k8s.api.core.v1.PodSpec";
    let containers = |image: &str| json!({"containers": [{"name": "a", "image": image}, {"name": "b"}]});
    let rows = [
        (spec, containers("1"), containers("1"), ["{}", "{}", "{}"]),
        (
            spec,
            containers("1"),
            containers("2"),
            ["{}", r#"{"f:containers":{"k:{\"name\":\"a\"}":{"f:image":{}}}}"#, "{}"],
        ),
        // Order says nothing.
        (
            spec,
            containers("1"),
            json!({"containers": [{"name": "b"}, {"name": "a", "image": "1"}]}),
            ["{}", "{}", "{}"],
        ),
        (
            spec,
            containers("1"),
            json!({"containers": [{"name": "b"}, {"name": "c"}]}),
            [
                r#"{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:name":{}}}}"#,
                "{}",
                r#"{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:image":{},"f:name":{}}}}"#,
            ],
        ),
        // An atomic list is modified whole.
        (
            spec,
            json!({"tolerations": [{"key": "a"}]}),
            json!({"tolerations": [{"key": "a"}, {"key": "b"}]}),
            ["{}", r#"{"f:tolerations":{}}"#, "{}"],
        ),
        // A map that comes is there itself, too; one that upstream's structures hold by value is not.
        (
            "io.k8s.api.apps.v1.Deployment",
            json!({"metadata": {}, "spec": {}}),
            json!({"metadata": {"labels": {"a": "1"}}, "spec": {"strategy": {"type": "Recreate"}, "template": {"spec": {"containers": [{"name": "c", "resources": {}}]}}}}),
            [
                r#"{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:strategy":{"f:type":{}},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:name":{},"f:resources":{}}}}}}}"#,
                "{}",
                "{}",
            ],
        ),
        // Several items of one key, which old objects may have, are one thing.
        (
            "io.k8s.api.core.v1.Container",
            json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}),
            json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "3"}]}),
            ["{}", r#"{"f:env":{"k:{\"name\":\"A\"}":{}}}"#, "{}"],
        ),
        (
            "io.k8s.api.core.v1.Container",
            json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}),
            json!({"env": [{"name": "A", "value": "1"}]}),
            [
                r#"{"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{},"f:value":{}}}}"#,
                "{}",
                r#"{"f:env":{"k:{\"name\":\"A\"}":{}}}"#,
            ],
        ),
    ];
    for (definition, old, new, expected) in rows {
        assert_eq!(changes(definition, old.clone(), new.clone()), expected, "{old} -> {new}");
    }
}

#[test]
fn what_is_created_is_added_as_upstream_has_it() {
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "annotations": {"x": "y"}},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "containers": [{"name": "c", "image": "i", "resources": {}, "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
                "securityContext": {}, "dnsPolicy": "ClusterFirst"}}},
    });
    let expected = json!({
        "f:apiVersion": {}, "f:kind": {},
        "f:metadata": {"f:name": {}, "f:annotations": {".": {}, "f:x": {}}},
        "f:spec": {"f:replicas": {}, "f:selector": {},
            "f:strategy": {"f:type": {}, "f:rollingUpdate": {".": {}, "f:maxSurge": {}}},
            "f:template": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {
                "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:image": {}, "f:resources": {}, "f:ports": {
                    ".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:protocol": {}}}}},
                "f:securityContext": {}, "f:dnsPolicy": {}}}},
    });
    assert_eq!(text(&created(Place::of(deployment()), &object).added), text(&set(&expected)));
}

struct Only(TypeRef<'static>);

impl Versions for Only {
    fn show<'v>(&self, object: &'v Value, from: &str, to: &str) -> Option<(Place<'_>, Cow<'v, Value>)> {
        (from == "v1" && to == "v1").then(|| (Place::of(self.0), Cow::Borrowed(object)))
    }
}

/// One apply: what is there, what was applied last, what is applied now, what others own.
fn apply(
    definition: TypeRef<'static>,
    live: &Value,
    last: Option<&Value>,
    config: &Value,
    others: &[Value],
    force: bool,
) -> Result<Applied, Vec<String>> {
    let owner = |set: FieldSet| Owner { version: "v1".to_owned(), set };
    let last = last.map(|last| owner(set_of(definition, last)));
    let others: Vec<Owner> = others.iter().map(|fields| owner(set(fields))).collect();
    let versions = Only(definition);
    let keep = |_: &str| true;
    let apply = Apply {
        versions: &versions,
        version: "v1",
        live,
        config,
        keep: &keep,
        last: last.as_ref(),
        others: &others,
        force,
    };
    apply
        .run()
        .map_err(|conflicts| conflicts.iter().map(|one| format!("{} {}", one.owner, one.path)).collect())
}

fn containers(items: Value) -> Value {
    json!({"containers": items})
}

#[test]
fn a_configuration_is_merged_into_what_is_there() {
    let rows = [
        // Maps by key, keyed lists by item, atomic ones whole.
        (
            json!({"containers": [{"name": "a", "image": "1", "args": ["x"]}], "nodeSelector": {"a": "1"}, "hostname": "h"}),
            json!({"containers": [{"name": "a", "args": ["y"]}], "nodeSelector": {"b": "2"}}),
            json!({"containers": [{"name": "a", "image": "1", "args": ["y"]}], "nodeSelector": {"b": "2"}, "hostname": "h"}),
        ),
        // The configuration's order for its items; the others keep their place.
        (
            containers(json!([{"name": "x"}, {"name": "a"}, {"name": "y"}, {"name": "b"}, {"name": "z"}])),
            containers(json!([{"name": "b"}, {"name": "new"}, {"name": "a"}])),
            containers(
                json!([{"name": "x"}, {"name": "y"}, {"name": "b"}, {"name": "z"}, {"name": "new"}, {"name": "a"}]),
            ),
        ),
        (containers(json!([])), containers(json!([{"name": "a"}])), containers(json!([{"name": "a"}]))),
        // Nothing said of a list that merges leaves it.
        (containers(json!([{"name": "a"}])), containers(Value::Null), containers(json!([{"name": "a"}]))),
        // The same quantity in other words is the same.
        (
            json!({"overhead": {"cpu": "100m"}}),
            json!({"overhead": {"cpu": "0.1", "memory": 1024}}),
            json!({"overhead": {"cpu": "100m", "memory": "1024"}}),
        ),
    ];
    for (live, config, expected) in rows {
        let applied = apply(pod_spec(), &live, None, &config, &[], false).expect("no others");
        assert_eq!(applied.object, expected, "{live} + {config}");
    }
    let meta = ty("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    let live = json!({"finalizers": ["theirs", "ours"]});
    let applied = apply(meta, &live, None, &json!({"finalizers": ["ours", "new"]}), &[], false);
    assert_eq!(applied.expect("no others").object, json!({"finalizers": ["theirs", "ours", "new"]}));
}

#[test]
fn what_is_applied_no_longer_goes_unless_somebody_owns_it() {
    let both = containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1", "args": ["x"]}]));
    let only_a = containers(json!([{"name": "a"}]));
    let rows = [
        // A list item and a field of one that stays.
        (both.clone(), both.clone(), only_a.clone(), vec![], containers(json!([{"name": "a"}]))),
        // Another owns a field of the item that goes, but not the item: it goes.
        (
            both.clone(),
            both.clone(),
            only_a.clone(),
            vec![json!({"f:containers": {"k:{\"name\":\"b\"}": {"f:image": {}}}})],
            containers(json!([{"name": "a"}])),
        ),
        // Another owns the item: only what is owned by nobody else goes.
        (
            both.clone(),
            both.clone(),
            only_a.clone(),
            vec![json!({"f:containers": {"k:{\"name\":\"b\"}": {".": {}, "f:name": {}, "f:image": {}}}})],
            containers(json!([{"name": "a"}, {"name": "b", "image": "1"}])),
        ),
        // What nobody ever owned stays within what stays, and goes with the structure that only the applier wanted.
        (
            json!({"dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["x"]}, "hostname": "h"}),
            json!({"dnsConfig": {"nameservers": ["1.1.1.1"]}, "hostname": "h"}),
            json!({"hostname": "h"}),
            vec![],
            json!({"hostname": "h"}),
        ),
        (
            json!({"dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["x"]}}),
            json!({"dnsConfig": {"nameservers": ["1.1.1.1"]}}),
            json!({}),
            vec![json!({"f:dnsConfig": {"f:searches": {}}})],
            json!({"dnsConfig": {"searches": ["x"]}}),
        ),
        // Entries of a map one by one, and the map with its last one.
        (
            json!({"overhead": {"cpu": "1", "memory": "1Gi"}}),
            json!({"overhead": {"cpu": "1", "memory": "1Gi"}}),
            json!({"overhead": {"cpu": "1"}}),
            vec![],
            json!({"overhead": {"cpu": "1"}}),
        ),
        (json!({"overhead": {"cpu": "1"}}), json!({"overhead": {"cpu": "1"}}), json!({}), vec![], json!({})),
    ];
    for (live, last, config, others, expected) in rows {
        let applied = apply(pod_spec(), &live, Some(&last), &config, &others, false).expect("no conflicts");
        assert_eq!(applied.object, expected, "{live} {last} -> {config}, others {others:?}");
    }
}

#[test]
fn another_owner_with_another_value_is_in_the_way() {
    let live = json!({"hostname": "theirs", "containers": [{"name": "a", "image": "1"}], "tolerations": [{"key": "a"}]});
    let theirs = json!({"f:hostname": {}, "f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:image": {}}}, "f:tolerations": {}});
    // Equal values are shared.
    let same =
        apply(pod_spec(), &live, None, &json!({"hostname": "theirs"}), std::slice::from_ref(&theirs), false);
    let same = same.expect("equal values are shared");
    assert_eq!((text(&same.owns), same.others), (r#"{"f:hostname":{}}"#.to_owned(), vec![None]));
    let config = json!({"hostname": "ours", "containers": [{"name": "a", "image": "2"}], "tolerations": [{"key": "b"}]});
    let refused = apply(pod_spec(), &live, None, &config, std::slice::from_ref(&theirs), false);
    assert_eq!(
        refused.expect_err("three conflicts"),
        [r#"0 .containers[name="a"].image"#, "0 .hostname", "0 .tolerations"]
    );
    let forced =
        apply(pod_spec(), &live, None, &config, std::slice::from_ref(&theirs), true).expect("forced");
    assert_eq!(forced.object, config);
    let left = forced.others[0].as_ref().map(text);
    assert_eq!(left.as_deref(), Some(r#"{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:name":{}}}}"#));
    // Who owns in a version that is no more is not in the way, and owns nothing.
    let versions = Only(pod_spec());
    let gone = Owner { version: "v0".to_owned(), set: set(&theirs) };
    let keep = |_: &str| true;
    let apply = Apply {
        versions: &versions,
        version: "v1",
        live: &live,
        config: &config,
        keep: &keep,
        last: None,
        others: &[gone],
        force: false,
    };
    assert_eq!(apply.run().expect("no conflict").others, [Some(FieldSet::default())]);
}

#[test]
fn what_cannot_be_owned_is_refused_in_upstreams_words() {
    let rows = [
        (json!({"spek": {}}), ".spek: field not declared in schema"),
        (json!({"spec": {"replicas": "3"}}), ".spec.replicas: expected numeric (int or float), got string"),
        (json!({"spec": {"paused": 1}}), ".spec.paused: expected boolean, got 1"),
        (
            json!({"spec": {"template": {"spec": {"hostname": 5}}}}),
            ".spec.template.spec.hostname: expected string, got 5",
        ),
        (json!({"spec": []}), ".spec: expected map, got []"),
        (
            json!({"spec": {"template": {"spec": {"containers": {}}}}}),
            ".spec.template.spec.containers: expected list, got {}",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c"}, {"name": "c"}]}}}}),
            r#".spec.template.spec.containers: duplicate entries for key [name="c"]"#,
        ),
        (
            json!({"metadata": {"finalizers": ["a", "a"]}}),
            r#".metadata.finalizers: duplicate entries for key [="a"]"#,
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}]}]}}}}),
            r#".spec.template.spec.containers[name="c"].ports: duplicate entries for key [containerPort=80,protocol="TCP"]"#,
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"image": "i"}]}}}}),
            ".spec.template.spec.containers: element 0: associative list with keys has an element that omits all key \
             fields [\"name\"] (and doesn't have default values for any key fields)",
        ),
    ];
    for (config, expected) in rows {
        let errors = check(deployment(), &config).expect_err("it is wrong");
        assert_eq!(errors.to_string(), expected, "{config}");
    }
    let two = check(deployment(), &json!({"a": 1, "b": 2})).expect_err("two mistakes");
    assert_eq!(
        two.to_string(),
        "errors:\n  .a: field not declared in schema\n  .b: field not declared in schema"
    );
    assert!(
        check(deployment(), &json!({"spec": {"replicas": null, "template": {"spec": {"volumes": []}}}}))
            .is_ok()
    );
}

fn spec() -> impl Strategy<Value = Value> {
    let container = ("[a-d]", "[1-3]", prop::collection::vec("[p-r]", 0..2));
    let map = prop::collection::btree_map("[a-c]", "[1-2]", 0..3);
    (prop::collection::vec(container, 0..4), map, prop::option::of("[x-z]")).prop_map(
        |(list, labels, host)| {
            let mut seen = std::collections::BTreeSet::new();
            let unique = list.into_iter().filter(|(name, ..)| seen.insert(name.clone()));
            let items: Vec<Value> = unique
                .map(|(name, image, args)| json!({"name": name, "image": image, "args": args}))
                .collect();
            let mut spec = json!({"containers": items, "overhead": labels});
            if let Some(host) = host {
                spec["hostname"] = json!(host);
            }
            spec
        },
    )
}

proptest! {
    #[test]
    fn what_changed_is_what_the_sets_say(old in spec(), new in spec()) {
        let place = Place::of(pod_spec());
        let change = compare(place, &old, &new);
        prop_assert!(change.is_empty() || old != new);
        let back = compare(place, &new, &old);
        prop_assert_eq!(&change.added, &back.removed);
        prop_assert_eq!(&change.modified, &back.modified);
        // The short ways come to the same.
        let (ours, theirs) = (set_of(pod_spec(), &old), change.written());
        prop_assert_eq!(ours.overlaps_text(&text(&theirs)).expect("our own form"), ours.overlaps(&theirs));
        prop_assert_eq!(theirs.overlaps_text(&text(&ours)).expect("our own form"), ours.overlaps(&theirs));
        prop_assert_eq!(theirs.is_within(&ours), theirs.difference(&ours).is_empty());
        let mut less = ours.clone();
        less.subtract(&theirs);
        prop_assert_eq!(&less, &ours.difference(&theirs));
        let form = text(&theirs);
        prop_assert_eq!(text(&FieldSet::decode(&form).expect("our own form")), form);
    }

    #[test]
    fn applying_twice_is_applying_once_and_nothing_takes_it_back(live in spec(), config in spec()) {
        let once = apply(pod_spec(), &live, None, &config, &[], false).expect("no others");
        let twice = apply(pod_spec(), &once.object, Some(&config), &config, &[], false).expect("no others");
        prop_assert_eq!(&once.object, &twice.object);
        prop_assert_eq!(&once.owns, &twice.owns);
        // With nothing applied any more, what is left is what the configuration did not say.
        let gone = apply(pod_spec(), &twice.object, Some(&config), &json!({}), &[], false).expect("no others");
        prop_assert!(!set_of(pod_spec(), &gone.object).overlaps(&set_of(pod_spec(), &config)));
    }
}

//! The examples of the RFCs and of the strategic-merge-patch documents, and the laws that all patches obey.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{JSON_PATCH_OPERATIONS_MAX, PatchError};
use crate::types::{Schemas, TypeRef};

fn ty(group: &str, kind: &str) -> TypeRef<'static> {
    Schemas::builtin().kind(group, "v1", kind).expect("a built-in kind")
}

fn strategic(group: &str, kind: &str, original: &Value, patch: &Value) -> Result<Value, PatchError> {
    super::strategic(ty(group, kind), original.clone(), patch.to_string().as_bytes())
}

#[test]
fn json_patch_does_what_the_rfc_says() {
    let original = json!({"a": {"b": [1, 2]}, "c": "x"});
    for (patch, expected) in [
        (json!([{"op": "add", "path": "/a/b/1", "value": 9}]), json!({"a": {"b": [1, 9, 2]}, "c": "x"})),
        (json!([{"op": "add", "path": "/a/b/-", "value": 9}]), json!({"a": {"b": [1, 2, 9]}, "c": "x"})),
        (json!([{"op": "remove", "path": "/c"}]), json!({"a": {"b": [1, 2]}})),
        (json!([{"op": "replace", "path": "/c", "value": null}]), json!({"a": {"b": [1, 2]}, "c": null})),
        (json!([{"op": "move", "from": "/c", "path": "/a/d"}]), json!({"a": {"b": [1, 2], "d": "x"}})),
        (
            json!([{"op": "copy", "from": "/c", "path": "/d"}]),
            json!({"a": {"b": [1, 2]}, "c": "x", "d": "x"}),
        ),
        (json!([{"op": "test", "path": "/c", "value": "x"}]), original.clone()),
        (json!([{"op": "test", "path": "/metadata/finalizers", "value": null}]), original.clone()),
        (json!([]), original.clone()),
    ] {
        assert_eq!(super::json(&original, patch.to_string().as_bytes()), Ok(expected), "{patch}");
    }
}

#[test]
fn a_bad_json_patch_says_why_and_with_which_status() {
    let original = json!({"a": 1});
    let many = json!(vec![json!({"op": "test", "path": "/a", "value": 1}); JSON_PATCH_OPERATIONS_MAX + 1]);
    let doubling: Vec<Value> = std::iter::once(json!({"op": "add", "path": "/b", "value": "x".repeat(1000)}))
        .chain((0..40).map(|i| json!({"op": "copy", "from": "", "path": format!("/c{i}")})))
        .collect();
    for (patch, code) in [
        (json!({}), 400),
        (json!([{"op": "dance", "path": "/a"}]), 400),
        (json!([{"op": "remove", "path": "/x"}]), 422),
        (json!([{"op": "test", "path": "/a", "value": 2}]), 422),
        (json!([{"op": "replace", "path": "/x/y", "value": 2}]), 422),
        (many, 413),
        (json!(doubling), 413),
    ] {
        let error = super::json(&original, patch.to_string().as_bytes()).expect_err("a bad patch");
        assert_eq!(error.code(), code, "{error}");
    }
    let error =
        super::json(&original, br#"[{"op":"test","path":"/a","value":2}]"#).expect_err("the test fails");
    assert_eq!(
        error.to_string(),
        "the server rejected our request due to an error in our request: test /a: value did not match"
    );
}

#[test]
fn merge_patch_does_what_the_rfc_says() {
    let original = json!({"a": {"b": 1, "c": 2}, "l": [1, 2]});
    let patch = json!({"a": {"b": null, "d": {"e": null, "f": 1}}, "l": [3]});
    assert_eq!(
        super::merge(original.clone(), patch.to_string().as_bytes()),
        Ok(json!({"a": {"c": 2, "d": {"f": 1}}, "l": [3]}))
    );
    assert_eq!(super::merge(original.clone(), b"[]").map_err(|e| e.code()), Err(400));
    assert_eq!(super::merge(original.clone(), b"{").map_err(|e| e.code()), Err(400));
}

fn pod(containers: Value) -> Value {
    json!({"spec": {"containers": containers}})
}

#[test]
fn lists_merge_by_their_key() {
    let original = pod(json!([{"name": "a", "image": "1", "args": ["x"]}, {"name": "b", "image": "1"}]));
    for (what, patch, expected) in [
        (
            "an item is merged in place, atomic lists are replaced",
            json!([{"name": "b", "image": "2", "args": ["y"]}]),
            json!([{"name": "a", "image": "1", "args": ["x"]}, {"name": "b", "image": "2", "args": ["y"]}]),
        ),
        (
            "an item is added",
            json!([{"name": "c", "image": null, "env": [{"name": "E", "$patch": "delete"}]}]),
            json!([{"name": "c", "env": []}, {"name": "a", "image": "1", "args": ["x"]}, {"name": "b", "image": "1"}]),
        ),
        (
            "an item is deleted",
            json!([{"name": "a", "$patch": "delete"}]),
            json!([{"name": "b", "image": "1"}]),
        ),
        ("the list is replaced", json!([{"$patch": "replace"}, {"name": "z"}]), json!([{"name": "z"}])),
        (
            "an item is replaced",
            json!([{"name": "a", "$patch": "delete"}, {"name": "a", "image": "9"}]),
            json!([{"name": "a", "image": "9"}, {"name": "b", "image": "1"}]),
        ),
        (
            "a field of an item goes",
            json!([{"name": "a", "args": null}]),
            json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]),
        ),
    ] {
        let got = strategic("", "Pod", &original, &pod(patch)).expect(what);
        assert_eq!(got, pod(expected), "{what}");
    }
}

#[test]
fn lists_without_a_rule_are_replaced() {
    let original = json!({"spec": {"tolerations": [{"key": "a"}]}});
    let patch = json!({"spec": {"tolerations": [{"key": "b"}]}});
    assert_eq!(strategic("", "Pod", &original, &patch), Ok(patch));
}

#[test]
fn objects_obey_their_directives() {
    let original = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let merged = |patch: Value| {
        strategic("apps", "Deployment", &original, &json!({"spec": {"strategy": patch}}))
            .map(|v| v["spec"]["strategy"].clone())
    };
    assert_eq!(merged(json!({"$retainKeys": ["type"], "type": "Recreate"})), Ok(json!({"type": "Recreate"})));
    assert_eq!(merged(json!({"$patch": "replace", "type": "Recreate"})), Ok(json!({"type": "Recreate"})));
    assert_eq!(merged(json!({"$patch": "delete"})), Ok(json!({})));
    let error = merged(json!({"$retainKeys": ["x"], "type": "Recreate"})).expect_err("type is not retained");
    assert_eq!((error.to_string().as_str(), error.code()), ("invalid patch format of retainKeys", 400));
    assert!(merged(json!({"$patch": "dance"})).is_err());
}

#[test]
fn scalars_merge_as_sets() {
    let original = json!({"metadata": {"finalizers": ["a", "b"]}});
    for (patch, expected) in [
        (json!({"finalizers": ["c", "a"]}), json!(["c", "a", "b"])),
        (json!({"$deleteFromPrimitiveList/finalizers": ["a"]}), json!(["b"])),
        (json!({"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}), json!(["b", "c"])),
        (
            json!({"$setElementOrder/finalizers": ["c", "b"], "$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}),
            json!(["c", "b"]),
        ),
    ] {
        let got = strategic("", "Pod", &original, &json!({"metadata": patch})).expect("a good patch");
        let mut got: Vec<String> =
            serde_json::from_value(got["metadata"]["finalizers"].clone()).expect("texts");
        let mut expected: Vec<String> = serde_json::from_value(expected).expect("texts");
        if patch.get("$setElementOrder/finalizers").is_none() {
            got.sort();
            expected.sort();
        }
        assert_eq!(got, expected, "{patch}");
    }
}

#[test]
fn the_order_of_the_patch_wins_and_unnamed_items_keep_their_place() {
    let named = |names: &[&str]| json!(names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>());
    let original = pod(named(&["a", "b", "c", "d"]));
    let patch = json!({"spec": {"$setElementOrder/containers": named(&["d", "a"]), "containers": [{"name": "a", "image": "2"}]}});
    let got = strategic("", "Pod", &original, &patch).expect("a good patch");
    let names: Vec<&str> = got["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|c| c["name"].as_str())
        .collect();
    assert_eq!(names, ["b", "c", "d", "a"]);

    let patch =
        json!({"spec": {"$setElementOrder/containers": named(&["c", "x"]), "containers": [{"name": "x"}]}});
    let got = strategic("", "Pod", &original, &patch).expect("a good patch");
    assert_eq!(got["spec"]["containers"], named(&["a", "b", "c", "x", "d"]));

    let patch =
        json!({"spec": {"$setElementOrder/containers": named(&["a"]), "containers": [{"name": "z"}]}});
    let error = strategic("", "Pod", &original, &patch).expect_err("z is not in the order");
    assert!(error.to_string().starts_with("The order in patch list:"), "{error}");
}

#[test]
fn an_item_without_its_merge_key_is_refused() {
    let error = strategic("", "Pod", &pod(json!([{"name": "a"}])), &pod(json!([{"image": "x"}])))
        .expect_err("no name");
    assert_eq!(error.code(), 422);
    assert_eq!(error.to_string(), "map: {\"image\":\"x\"} does not contain declared merge key: name");
}

#[test]
fn maps_of_texts_merge_and_null_removes() {
    let original = json!({"metadata": {"labels": {"a": "1", "b": "2"}}});
    let patch = json!({"metadata": {"labels": {"a": null, "c": "3"}, "annotations": {"x": null, "y": "z"}}});
    assert_eq!(
        strategic("", "Pod", &original, &patch),
        Ok(json!({"metadata": {"labels": {"b": "2", "c": "3"}, "annotations": {"y": "z"}}}))
    );
}

#[test]
fn only_objects_with_a_schema_take_strategic_patches() {
    let pod = ty("", "Pod");
    let labels = pod.child(pod.property("kind").expect("every object has a kind"));
    assert_eq!(super::strategic(labels, json!({}), b"{}").map_err(|e| e.code()), Err(415));
    assert_eq!(super::strategic(pod, json!({}), b"[]").map_err(|e| e.code()), Err(400));
}

/// Small JSON documents without nulls.
fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (0i64..5).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from)
    ];
    let inner = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..3)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[a-c]", inner, 0..3).prop_map(|m| Value::Object(m.into_iter().collect()))
}

fn containers() -> impl Strategy<Value = Value> {
    let container = ("[a-e]", "[x-z]", prop::collection::vec("[p-r]", 0..3));
    prop::collection::vec(container, 0..5).prop_map(|list| {
        let mut seen = std::collections::BTreeSet::new();
        let unique = list.into_iter().filter(|(name, ..)| seen.insert(name.clone()));
        pod(unique.map(|(name, image, args)| json!({"name": name, "image": image, "args": args})).collect())
    })
}

proptest! {
    #[test]
    fn merging_a_patch_twice_is_merging_it_once(original in document(), patch in document()) {
        let bytes = patch.to_string().into_bytes();
        let once = super::merge(original.clone(), &bytes).expect("an object");
        prop_assert_eq!(super::merge(once.clone(), &bytes), Ok(once));
    }

    #[test]
    fn a_document_merged_into_nothing_is_itself(patch in document()) {
        prop_assert_eq!(super::merge(json!({}), patch.to_string().as_bytes()), Ok(patch));
    }

    #[test]
    fn replacing_the_whole_document_gives_it(original in document(), other in document()) {
        let patch = json!([{"op": "replace", "path": "", "value": other}]);
        prop_assert_eq!(super::json(&original, patch.to_string().as_bytes()), Ok(other));
    }

    #[test]
    fn a_strategic_patch_is_idempotent_and_keeps_every_name(original in containers(), patch in containers()) {
        let once = strategic("", "Pod", &original, &patch).expect("a good patch");
        prop_assert_eq!(strategic("", "Pod", &once, &patch), Ok(once.clone()));
        let names = |v: &Value| -> std::collections::BTreeSet<String> {
            v["spec"]["containers"].as_array().into_iter().flatten().map(|c| c["name"].to_string()).collect()
        };
        let both: std::collections::BTreeSet<String> = names(&original).union(&names(&patch)).cloned().collect();
        prop_assert_eq!(names(&once), both);
        prop_assert_eq!(strategic("", "Pod", &original, &original), Ok(original));
    }
}

#[test]
fn what_a_patch_touches_is_plain_or_nobody_knows() {
    let touched =
        |patch: &str| super::touched(patch.as_bytes()).map(|names| names.into_iter().collect::<Vec<_>>());
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    assert_eq!(touched(r#"{"status":{"$patch":"replace"},"metadata":null}"#), names(&["metadata", "status"]));
    assert_eq!(touched("{}"), names(&[]));
    for patch in [r#"{"$patch":"replace","spec":{}}"#, r#"{"$retainKeys":["spec"]}"#, "[]", "{"] {
        assert_eq!(touched(patch), None, "{patch}");
    }
}

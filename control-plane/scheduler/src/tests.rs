//! Decisions as tables: who may have the pod, who gets it, and what is said if nobody does.

use crate::{
    cluster::{Cache, PodInfo},
    decide::{Decision, decide},
    plugins::{Plugin, Plugins},
    watch::node_helps,
};
use keelson_harness::{
    Change,
    views::{Node, Pod},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

fn merge(target: &mut Value, change: &Value) {
    match (target, change) {
        (Value::Object(target), Value::Object(change)) => {
            for (key, value) in change {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (target, change) => *target = change.clone(),
    }
}

/// A node with 4 CPUs, 8 GiB and room for 110 pods.
fn node(name: &str, change: Value) -> Arc<Node> {
    let mut object = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}},
    });
    merge(&mut object, &change);
    Arc::new(serde_json::from_str(&object.to_string()).unwrap())
}

fn pod(name: &str, change: Value) -> Arc<Pod> {
    let mut object = json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": "web"}}, "spec": {}});
    merge(&mut object, &change);
    Arc::new(serde_json::from_str(&object.to_string()).unwrap())
}

fn requests(cpu: &str, memory: &str) -> Value {
    json!({"spec": {"containers": [{"resources": {"requests": {"cpu": cpu, "memory": memory}}}]}})
}

fn cache(nodes: &[Arc<Node>], placed: &[Arc<Pod>]) -> Cache {
    let mut cache = Cache::default();
    nodes.iter().for_each(|n| cache.set_node(n));
    placed.iter().for_each(|p| cache.add(p));
    cache
}

/// The node's name, or the message.
fn verdict(cache: &Cache, pod: &Arc<Pod>) -> Result<String, String> {
    match decide(&PodInfo::new(pod.clone()), &cache.snapshot(), 0, &mut |_| 0) {
        Decision::Node(name) => Ok(name.to_string()),
        Decision::None(diagnosis) => Err(diagnosis.message),
    }
}

fn on(node: &str, mut change: Value) -> Value {
    merge(&mut change, &json!({"spec": {"nodeName": node}}));
    change
}

#[test]
fn each_filter_says_no_in_its_own_words() {
    let affinity = |terms: Value| {
        json!({"spec": {"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}})
    };
    let taint =
        |effect: &str| json!({"spec": {"taints": [{"key": "gpu", "value": "yes", "effect": effect}]}});
    let tolerates = json!({"spec": {"tolerations": [{"key": "gpu", "operator": "Exists"}]}});
    let port = json!({"spec": {"containers": [{"ports": [{"containerPort": 80, "hostPort": 80}]}]}});
    let small = json!({"status": {"allocatable": {"pods": "1"}}});
    let unaffine = "node(s) didn't match Pod's node affinity/selector";
    let untolerated = "node(s) had untolerated taint {gpu: yes}";
    let rows: Vec<(Value, Vec<Value>, Value, Option<&str>)> = vec![
        (json!({}), vec![], json!({}), None),
        (json!({"spec": {"unschedulable": true}}), vec![], json!({}), Some("node(s) were unschedulable")),
        (taint("NoSchedule"), vec![], json!({}), Some(untolerated)),
        (taint("NoExecute"), vec![], json!({}), Some(untolerated)),
        (taint("PreferNoSchedule"), vec![], json!({}), None),
        (taint("NoSchedule"), vec![], tolerates, None),
        (json!({}), vec![], json!({"spec": {"nodeSelector": {"disk": "ssd"}}}), Some(unaffine)),
        (
            json!({"metadata": {"labels": {"disk": "ssd"}}}),
            vec![],
            json!({"spec": {"nodeSelector": {"disk": "ssd"}}}),
            None,
        ),
        (json!({}), vec![], affinity(json!([{}])), Some(unaffine)),
        (
            json!({}),
            vec![],
            affinity(
                json!([{}, {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["w"]}]}]),
            ),
            None,
        ),
        (
            json!({"metadata": {"labels": {"cores": "8"}}}),
            vec![],
            affinity(json!([{"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}])),
            None,
        ),
        (json!({}), vec![requests("3", "1Gi")], requests("2", "1Gi"), Some("Insufficient cpu")),
        (json!({}), vec![requests("2", "1Gi")], requests("2", "1Gi"), None),
        (json!({}), vec![requests("4", "8Gi")], json!({}), None),
        (
            json!({}),
            vec![],
            json!({"spec": {"containers": [{"resources": {"requests": {"example.com/gpu": "1"}}}]}}),
            Some("Insufficient example.com/gpu"),
        ),
        (small, vec![json!({})], json!({}), Some("Too many pods")),
        (
            json!({}),
            vec![port.clone()],
            port.clone(),
            Some("node(s) didn't have free ports for the requested pod ports"),
        ),
        (json!({}), vec![json!({})], port, None),
    ];
    for (node_change, placed, wanted, expected) in rows {
        let placed: Vec<_> =
            placed.into_iter().enumerate().map(|(i, c)| pod(&format!("old{i}"), on("w", c))).collect();
        let cache = cache(&[node("w", node_change.clone())], &placed);
        let found = verdict(&cache, &pod("new", wanted.clone()));
        let expected = match expected {
            None => Ok("w".to_owned()),
            Some(reason) => Err(format!("0/1 nodes are available: 1 {reason}.")),
        };
        assert_eq!(found, expected, "{node_change} {wanted}");
    }
}

#[test]
fn the_message_counts_nodes_by_reason() {
    let taint = json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}});
    let nodes = [node("1", taint.clone()), node("2", taint), node("3", json!({}))];
    let cache = cache(&nodes, &[]);
    let expected = "0/3 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 2 node(s) had untolerated taint {a: }.";
    assert_eq!(verdict(&cache, &pod("p", requests("9", "90Gi"))), Err(expected.to_owned()));
    let none = Cache::default();
    assert_eq!(verdict(&none, &pod("p", json!({}))), Err("no nodes available to schedule pods".to_owned()));
    let claim = json!({"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}});
    let refused = verdict(&cache, &pod("p", claim)).unwrap_err();
    assert!(refused.contains(r#"persistentvolumeclaim "data" cannot be bound"#), "{refused}");
}

#[test]
fn replicas_of_one_set_go_to_different_nodes_even_if_one_is_emptier() {
    let owner = json!({"metadata": {"ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true}]}});
    let nodes = [
        node("a", json!({"status": {"allocatable": {"cpu": "8", "memory": "16Gi"}}})),
        node("b", json!({})),
        node("c", json!({})),
    ];
    let busy: Vec<_> = ["b", "c"].map(|n| pod(&format!("busy-{n}"), on(n, requests("2", "3Gi")))).into();
    let mut cache = cache(&nodes, &busy);
    let mut used = Vec::new();
    for i in 0..3 {
        let pod = pod(&format!("web-{i}"), owner.clone());
        let name = verdict(&cache, &pod).unwrap();
        cache.assume(&Arc::new(PodInfo::new(pod)), &name.as_str().into());
        used.push(name);
    }
    used.sort();
    assert_eq!(used, ["a", "b", "c"]);
}

#[test]
fn scores_prefer_room_wishes_and_untainted_nodes() {
    let prefer = json!({"spec": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 10, "preference": {"matchExpressions": [{"key": "fast", "operator": "Exists"}]}}]}}}});
    let soft = json!({"spec": {"taints": [{"key": "x", "effect": "PreferNoSchedule"}]}});
    let fast = json!({"metadata": {"labels": {"fast": ""}}});
    let rows = [
        (
            [node("a", json!({})), node("b", json!({}))],
            vec![pod("p", on("a", requests("2", "4Gi")))],
            json!({}),
            "b",
        ),
        ([node("a", json!({})), node("b", fast)], vec![pod("p", on("b", requests("1", "2Gi")))], prefer, "b"),
        (
            [node("a", soft), node("b", json!({}))],
            vec![pod("p", on("b", requests("2", "4Gi")))],
            json!({}),
            "b",
        ),
    ];
    for (nodes, placed, wanted, expected) in rows {
        assert_eq!(verdict(&cache(&nodes, &placed), &pod("new", wanted)), Ok(expected.to_owned()));
    }
}

#[test]
fn spread_constraints_are_kept() {
    let zone = |name: &str, zone: &str| node(name, json!({"metadata": {"labels": {"zone": zone}}}));
    let nodes = [zone("a1", "a"), zone("a2", "a"), zone("b1", "b"), node("none", json!({}))];
    let rule = json!({"spec": {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]}});
    let placed = [pod("1", on("a1", json!({})))];
    assert_eq!(verdict(&cache(&nodes, &placed), &pod("new", rule.clone())), Ok("b1".to_owned()));
    let closed = [
        zone("a1", "a"),
        node("b1", json!({"metadata": {"labels": {"zone": "b"}}, "spec": {"unschedulable": true}})),
    ];
    let refused = verdict(&cache(&closed, &placed), &pod("new", rule)).unwrap_err();
    assert!(refused.contains("1 node(s) didn't match pod topology spread constraints,"), "{refused}");
}

#[test]
fn pods_are_kept_together_and_apart() {
    let term =
        json!([{"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"}]);
    let required = |kind: &str, term: &Value| json!({"spec": {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": term}}}});
    let db = json!({"metadata": {"labels": {"app": "db"}}});
    let nodes = [node("a", json!({})), node("b", json!({}))];
    let with_db = cache(&nodes, &[pod("db", on("b", db.clone()))]);
    assert_eq!(verdict(&with_db, &pod("p", required("podAffinity", &term))), Ok("b".to_owned()));
    assert_eq!(verdict(&with_db, &pod("p", required("podAntiAffinity", &term))), Ok("a".to_owned()));
    let refused = verdict(&cache(&nodes, &[]), &pod("p", required("podAffinity", &term))).unwrap_err();
    assert!(refused.contains("2 node(s) didn't match pod affinity rules"), "{refused}");

    // The first of a group that wants to be with itself may go anywhere.
    let mut own = required("podAffinity", &term);
    merge(&mut own, &db);
    assert!(verdict(&cache(&nodes, &[]), &pod("p", own)).is_ok());

    // What is there keeps others away.
    let mut hermit = required(
        "podAntiAffinity",
        &json!([{"labelSelector": {"matchLabels": {"app": "web"}},
                                                          "topologyKey": "kubernetes.io/hostname"}]),
    );
    merge(&mut hermit, &db);
    let with_hermit = cache(&nodes[..1], &[pod("hermit", on("a", hermit))]);
    let refused = verdict(&with_hermit, &pod("p", json!({}))).unwrap_err();
    assert!(refused.contains("node(s) didn't satisfy existing pods anti-affinity rules"), "{refused}");
}

#[test]
fn terms_reach_other_namespaces_only_when_they_say_so() {
    let term = |extra: Value| {
        let mut term =
            json!({"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"});
        merge(&mut term, &extra);
        json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}})
    };
    let db = pod("db", on("a", json!({"metadata": {"namespace": "other", "labels": {"app": "db"}}})));
    let mut cache = cache(&[node("a", json!({}))], &[db]);
    let labels = BTreeMap::from([("team".to_owned(), "x".to_owned())]);
    cache.set_namespace(&"other".into(), Some(Arc::new(labels)));
    let rows = [
        (json!({}), true),
        (json!({"namespaces": ["other"]}), false),
        (json!({"namespaceSelector": {}}), false),
        (json!({"namespaceSelector": {"matchLabels": {"team": "x"}}}), false),
        (json!({"namespaceSelector": {"matchLabels": {"team": "y"}}}), true),
    ];
    for (extra, fits) in rows {
        assert_eq!(verdict(&cache, &pod("p", term(extra.clone()))).is_ok(), fits, "{extra}");
    }
}

#[test]
fn an_assumed_pod_counts_until_it_is_forgotten_and_a_confirmed_one_stays() {
    let mut cache = cache(&[node("a", json!({}))], &[]);
    let (big, waiting) = (pod("big", requests("4", "1Gi")), pod("w", requests("1", "1Gi")));
    cache.assume(&Arc::new(PodInfo::new(big.clone())), &"a".into());
    assert!(verdict(&cache, &waiting).is_err());
    cache.forget("big");
    assert!(verdict(&cache, &waiting).is_ok());
    cache.assume(&Arc::new(PodInfo::new(big)), &"a".into());
    cache.add(&pod("big", on("a", requests("4", "1Gi"))));
    cache.forget("big");
    assert!(verdict(&cache, &waiting).is_err(), "the watch has confirmed it");
    cache.remove("big");
    assert!(verdict(&cache, &waiting).is_ok());
}

#[test]
fn pods_count_on_a_node_that_comes_back() {
    let mut cache = cache(&[], &[pod("early", on("a", requests("4", "1Gi")))]);
    assert_eq!(verdict(&cache, &pod("p", json!({}))), Err("no nodes available to schedule pods".to_owned()));
    cache.set_node(&node("a", json!({})));
    assert!(verdict(&cache, &pod("p", requests("1", "1Gi"))).is_err());
    cache.remove_node(&"a".into());
    cache.remove("early");
    cache.set_node(&node("a", json!({})));
    assert!(verdict(&cache, &pod("p", requests("1", "1Gi"))).is_ok());
}

#[test]
fn an_event_helps_those_that_it_concerns() {
    let change = |old: Value, new: Value| Change { old: Some(node("a", old)), new: Some(node("a", new)) };
    let taint = json!({"spec": {"taints": [{"key": "x", "effect": "NoSchedule"}]}});
    let rows = [
        (change(json!({}), json!({})), Plugins::default()),
        (change(json!({}), json!({"status": {"conditions": []}})), Plugins::default()),
        (
            change(json!({}), json!({"status": {"allocatable": {"cpu": "9"}}})),
            Plugins::of(&[Plugin::NodeResourcesFit]),
        ),
        (change(taint, json!({})), Plugins::of(&[Plugin::TaintToleration, Plugin::PodTopologySpread])),
        (Change { old: None, new: Some(node("a", json!({}))) }, Plugins::ALL),
    ];
    for (change, expected) in rows {
        assert_eq!(node_helps(&change), expected, "{change:?}");
    }
}

#[test]
fn a_large_cluster_is_sampled_from_changing_starts() {
    let nodes: Vec<_> = (0..400).map(|i| node(&format!("w{i:03}"), json!({}))).collect();
    let cache = cache(&nodes, &[]);
    let at =
        |start: usize| match decide(&PodInfo::new(pod("p", json!({}))), &cache.snapshot(), start, &mut |_| 0)
        {
            Decision::Node(name) => name.to_string(),
            Decision::None(diagnosis) => diagnosis.message,
        };
    assert_eq!((at(0), at(390)), ("w000".to_owned(), "w390".to_owned()));
}

//! The Deployment's steps as tables, and whole rollouts in a world where pods become ready one step later.

use super::{
    bounds::{self, Bounds, bounds},
    plan::{Plan, Set, Snapshot, plan},
    revision, status, template,
};
use keelson_harness::{
    Timestamp,
    views::{Deployment, ReplicaSet},
};
use serde_json::{Value, json};
use std::sync::Arc;

fn now() -> Timestamp {
    Timestamp::from_unix(1_800_000_000)
}

fn deployment(replicas: i32, image: &str, change: Value) -> Deployment {
    let mut object = json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "d", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "progressDeadlineSeconds": 600,
                 "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": image}]}}},
    });
    json_patch_merge(&mut object, change);
    serde_json::from_str(&object.to_string()).unwrap()
}

fn json_patch_merge(target: &mut Value, change: Value) {
    match (target, change) {
        (Value::Object(target), Value::Object(change)) => {
            for (key, value) in change {
                json_patch_merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, change) => *target = change,
    }
}

/// The sets of a Deployment as the API would show them.
#[derive(Default)]
struct World {
    sets: Vec<Arc<ReplicaSet>>,
    /// Images whose pods never become ready.
    broken: Vec<&'static str>,
    made: i64,
}

impl World {
    fn step(&mut self, deployment: &Deployment) -> Plan {
        let with_pods = |set: &ReplicaSet| set.status.replicas > 0;
        let snapshot = Snapshot { deployment, sets: &self.sets, with_pods: &with_pods, now: now() };
        plan(&snapshot).unwrap()
    }

    /// Sizes as planned; pods of earlier sizes are ready by now.
    fn apply(&mut self, plan: &Plan) {
        let mut sets = Vec::new();
        for set in plan.old.iter().chain(&plan.new).filter(|s| !s.delete) {
            sets.push(Arc::new(self.object(set)));
        }
        self.sets = sets;
    }

    fn object(&mut self, set: &Set) -> ReplicaSet {
        let (template, status, created) = match &set.existing {
            Some(s) => {
                let template: Value = serde_json::from_str(s.spec.template.get()).unwrap();
                let healthy = !self.broken.iter().any(|b| s.spec.template.get().contains(b));
                let ready = if healthy { s.spec.replicas.min(set.replicas) } else { 0 };
                let status = json!({"replicas": set.replicas, "readyReplicas": ready, "availableReplicas": ready,
                                    "observedGeneration": 1});
                (template, status, s.metadata.creation_timestamp.unwrap())
            }
            None => {
                self.made += 1;
                let template = set.template.as_ref().unwrap().template.clone();
                (template, json!({}), Timestamp::from_unix(1_000_000 + self.made))
            }
        };
        let object = json!({
            "metadata": {"name": set.name, "namespace": "n", "uid": set.name, "generation": 1,
                         "creationTimestamp": created, "annotations": set.annotations},
            "spec": {"replicas": set.replicas, "selector": {}, "template": template,
                     "minReadySeconds": set.min_ready_seconds},
            "status": status,
        });
        serde_json::from_str(&object.to_string()).unwrap()
    }

    /// Steps until nothing changes; the number of pods stays within the bounds at every step.
    fn settle(&mut self, deployment: &mut Deployment) {
        let limits = bounds(deployment);
        let had = self.available();
        for _ in 0..100 {
            let plan = self.step(deployment);
            let changed = plan.old.iter().chain(&plan.new).any(|s| s.is_changed() || s.delete);
            let same_status = plan.status == deployment.status;
            deployment.status = plan.status.clone();
            let before: Vec<_> = self.sets.iter().map(|s| s.status.clone()).collect();
            self.apply(&plan);
            let total: i32 = self.sets.iter().map(|s| s.spec.replicas).sum();
            assert!(total <= deployment.spec.replicas + limits.surge, "{total} pods");
            if had >= deployment.spec.replicas {
                let available = self.available();
                assert!(available >= deployment.spec.replicas - limits.unavailable, "{available} available");
            }
            let after: Vec<_> = self.sets.iter().map(|s| s.status.clone()).collect();
            if !changed && same_status && before == after {
                return;
            }
        }
        panic!("no end after 100 steps");
    }

    fn available(&self) -> i32 {
        self.sets.iter().map(|s| s.status.available_replicas).sum()
    }

    /// Image and replicas of each set that has any, sorted.
    fn sizes(&self) -> Vec<(String, i32)> {
        let image = |s: &ReplicaSet| {
            let t: Value = serde_json::from_str(s.spec.template.get()).unwrap();
            t["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
        };
        let mut sizes: Vec<_> =
            self.sets.iter().filter(|s| s.spec.replicas > 0).map(|s| (image(s), s.spec.replicas)).collect();
        sizes.sort();
        sizes
    }

    fn revisions(&self) -> Vec<i64> {
        let mut all: Vec<i64> = self.sets.iter().map(|s| revision::revision(&s.metadata)).collect();
        all.sort_unstable();
        all
    }
}

fn sizes(rows: &[(&str, i32)]) -> Vec<(String, i32)> {
    rows.iter().map(|(image, n)| (image.to_string(), *n)).collect()
}

fn strategy(surge: Value, unavailable: Value) -> Value {
    json!({"spec": {"strategy": {"type": "RollingUpdate",
                                 "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}})
}

#[test]
fn percentages_round_to_the_safe_side_and_never_to_a_standstill() {
    let rows = [
        (10, json!({}), Bounds { surge: 3, unavailable: 2 }),
        (3, json!({}), Bounds { surge: 1, unavailable: 0 }),
        (1, strategy(json!(0), json!("25%")), Bounds { surge: 0, unavailable: 1 }),
        (4, strategy(json!("50%"), json!(1)), Bounds { surge: 2, unavailable: 1 }),
        (2, strategy(json!(0), json!(5)), Bounds { surge: 0, unavailable: 2 }),
        (5, json!({"spec": {"strategy": {"type": "Recreate"}}}), Bounds { surge: 0, unavailable: 0 }),
    ];
    for (replicas, change, expected) in rows {
        assert_eq!(bounds(&deployment(replicas, "a", change.clone())), expected, "{replicas} {change}");
    }
}

#[test]
fn a_rollout_keeps_its_bounds_and_ends_complete() {
    let strategies = [
        json!({}),
        strategy(json!(1), json!(0)),
        strategy(json!(0), json!(1)),
        strategy(json!("100%"), json!(0)),
    ];
    for change in strategies {
        let mut world = World::default();
        let mut first = deployment(5, "a", change.clone());
        world.settle(&mut first);
        assert_eq!(world.sizes(), sizes(&[("a", 5)]));
        let mut second = deployment(5, "b", change);
        second.status = first.status.clone();
        second.metadata.generation = 2;
        world.settle(&mut second);
        assert_eq!(world.sizes(), sizes(&[("b", 5)]));
        assert!(status::is_complete(&second, &second.status));
        let progressing = second.status.conditions.iter().find(|c| c.r#type == "Progressing").unwrap();
        assert_eq!(progressing.reason, "NewReplicaSetAvailable");
        assert_eq!(world.revisions(), [1, 2]);
    }
}

#[test]
fn a_broken_template_leaves_enough_of_the_old_pods() {
    let mut world = World::default();
    let mut first = deployment(4, "a", json!({}));
    world.settle(&mut first);
    world.broken.push("bad");
    let mut second = deployment(4, "bad", json!({}));
    second.status = first.status.clone();
    world.settle(&mut second);
    assert_eq!(world.sizes(), sizes(&[("a", 3), ("bad", 2)]), "25 % of each");
    assert!(!status::is_complete(&second, &second.status));

    // A third template takes the place of the pods that never were ready.
    let mut third = deployment(4, "c", json!({}));
    third.status = second.status.clone();
    world.settle(&mut third);
    assert_eq!(world.sizes(), sizes(&[("c", 4)]));
}

#[test]
fn going_back_to_an_old_template_makes_its_set_the_newest_revision() {
    let mut world = World::default();
    for image in ["a", "b", "a"] {
        let mut d = deployment(2, image, json!({}));
        world.settle(&mut d);
    }
    assert_eq!(world.sets.len(), 2, "no third set");
    assert_eq!(world.revisions(), [2, 3]);
    let newest = world.sets.iter().find(|s| revision::revision(&s.metadata) == 3).unwrap();
    assert_eq!(newest.metadata.annotation("deployment.kubernetes.io/revision-history"), Some("1"));
}

#[test]
fn history_beyond_the_limit_is_deleted_oldest_first() {
    let mut world = World::default();
    for image in ["a", "b", "c", "d"] {
        let mut d = deployment(1, image, json!({"spec": {"revisionHistoryLimit": 2}}));
        world.settle(&mut d);
    }
    assert_eq!(world.revisions(), [2, 3, 4]);
}

#[test]
fn a_paused_deployment_scales_and_does_not_roll() {
    let mut world = World::default();
    let mut d = deployment(2, "a", json!({}));
    world.settle(&mut d);
    let mut paused = deployment(4, "b", json!({"spec": {"paused": true}}));
    paused.status = d.status.clone();
    world.settle(&mut paused);
    assert_eq!(world.sizes(), sizes(&[("a", 4)]));
    let progressing = paused.status.conditions.iter().find(|c| c.r#type == "Progressing").unwrap();
    assert_eq!(progressing.reason, "DeploymentPaused");
    let mut resumed = deployment(4, "b", json!({}));
    resumed.status = paused.status.clone();
    world.settle(&mut resumed);
    assert_eq!(world.sizes(), sizes(&[("b", 4)]));
}

#[test]
fn recreate_waits_until_the_old_pods_are_gone() {
    let recreate = json!({"spec": {"strategy": {"type": "Recreate"}}});
    let mut world = World::default();
    let mut first = deployment(3, "a", recreate.clone());
    world.settle(&mut first);
    let second = deployment(3, "b", recreate);
    let plan = world.step(&second);
    assert!(plan.new.is_none());
    assert_eq!(plan.old[0].replicas, 0);
    // Scaled to zero, but pods still run.
    let mut set = (*world.sets[0]).clone();
    set.spec.replicas = 0;
    world.sets = vec![Arc::new(set.clone())];
    assert!(world.step(&second).new.is_none());
    set.status.replicas = 0;
    world.sets = vec![Arc::new(set)];
    assert_eq!(world.step(&second).new.unwrap().replicas, 3);
}

#[test]
fn scaling_amid_a_rollout_is_shared_in_proportion() {
    // (old size, new size, before scaling allowed, after): "Proportional scaling" in the documentation.
    let bounded = strategy(json!(3), json!(2));
    let rows = [((8, 5), 10, 15, (11, 7)), ((8, 5), 10, 5, (5, 3)), ((3, 2), 4, 0, (0, 0))];
    for ((old, new), before, after, expected) in rows {
        let mut world = World::default();
        let mut first = deployment(before, "a", bounded.clone());
        world.settle(&mut first);
        world.broken.push("b");
        let second = deployment(before, "b", bounded.clone());
        let plan = world.step(&second);
        world.apply(&plan);
        let resize = |set: &Arc<ReplicaSet>, size: i32| {
            let mut set = (**set).clone();
            set.spec.replicas = size;
            Arc::new(set)
        };
        world.sets = vec![resize(&world.sets[0], old), resize(&world.sets[1], new)];
        let scaled = deployment(after, "b", bounded.clone());
        let plan = world.step(&scaled);
        assert_eq!((plan.old[0].replicas, plan.new.unwrap().replicas), expected, "{before} to {after}");
    }
}

#[test]
fn a_rollout_without_progress_is_reported_after_the_deadline() {
    let mut world = World::default();
    world.broken.push("a");
    let mut d = deployment(1, "a", json!({}));
    world.settle(&mut d);
    let with_pods = |_: &ReplicaSet| true;
    let later = now().after(std::time::Duration::from_secs(601));
    let plan =
        plan(&Snapshot { deployment: &d, sets: &world.sets, with_pods: &with_pods, now: later }).unwrap();
    let progressing = plan.status.conditions.iter().find(|c| c.r#type == "Progressing").unwrap();
    assert_eq!((&*progressing.status, &*progressing.reason), ("False", "ProgressDeadlineExceeded"));
    assert_eq!(plan.recheck, None);
}

#[test]
fn what_typed_clients_add_makes_no_new_template() {
    let comparable = |template: Value| {
        let raw = serde_json::value::RawValue::from_string(template.to_string()).unwrap();
        template::comparable(&raw).unwrap()
    };
    let env = |divisor: Value| json!([{"valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": divisor}}}]);
    let plain = json!({"metadata": {"labels": {"app": "web"}},
                       "spec": {"containers": [{"image": "a", "env": env(json!("0"))}], "volumes": [{"emptyDir": {}}]}});
    let typed = json!({"metadata": {"creationTimestamp": null, "labels": {"app": "web", "pod-template-hash": "x"}},
                       "spec": {"containers": [{"image": "a", "resources": {}, "args": [], "env": env(Value::Null)}],
                                "volumes": [{"emptyDir": {}}]}});
    assert_eq!(comparable(plain.clone()), comparable(typed));
    let mut other = plain.clone();
    other["spec"]["volumes"] = json!([{"hostPath": {}}]);
    assert_ne!(comparable(plain), comparable(other));
}

#[test]
fn the_hash_depends_on_template_and_collisions_alone() {
    let template = |d: &Deployment| template::comparable(&d.spec.template).unwrap();
    let (a, b) = (template(&deployment(1, "a", json!({}))), template(&deployment(9, "b", json!({}))));
    assert_eq!(template::hash(&a, None), template::hash(&template(&deployment(7, "a", json!({}))), None));
    assert_ne!(template::hash(&a, None), template::hash(&b, None));
    assert_ne!(template::hash(&a, None), template::hash(&a, Some(1)));
}

#[test]
fn new_pods_fill_the_room_above() {
    let d = deployment(10, "a", json!({}));
    for (current, total, expected) in [(0, 10, 3), (3, 13, 3), (3, 11, 5), (9, 9, 10)] {
        assert_eq!(bounds::new_set_replicas(&d, current, total), expected);
    }
}

//! ClusterRole aggregation: a role with an aggregationRule has the rules of all roles that it selects.

use crate::shared::Shared;
use async_trait::async_trait;
use keelson_harness::{
    Informer, ObjectKey,
    api::{CLUSTER_ROLES, PatchKind},
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    views::{ClusterRole, MetaOnly},
};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) struct Aggregation {
    shared: Shared,
    roles: Arc<Informer<ClusterRole>>,
}

pub(crate) async fn run(shared: Shared) {
    let roles = shared.informers.cluster_roles();
    let shutdown = shared.shutdown.clone();
    let this = Arc::new(Aggregation { shared, roles: roles.clone() });
    let queue = Queue::<Aggregation>::default();
    let (me, q) = (this.clone(), queue.clone());
    // A role that changes may enter or leave any aggregate; there are few of those.
    roles.subscribe(&shutdown, move |_| {
        let aggregates = me.roles.all().into_iter().filter(|r| r.aggregation_rule.is_some());
        aggregates.for_each(|r| q.add(r.metadata.key()));
    });
    if roles.synced().await {
        controller::run(this, queue, shutdown).await;
    }
}

/// The union, by the names of the roles, each rule once.
fn aggregate(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Result<Vec<Value>, serde_json::Error> {
    let selectors = role.aggregation_rule.as_ref().map_or(&[][..], |r| &r.cluster_role_selectors);
    let selected = |r: &&Arc<ClusterRole>| {
        r.metadata.name != role.metadata.name && selectors.iter().any(|s| s.matches(&r.metadata.labels))
    };
    let mut sources: Vec<_> = all.iter().filter(selected).collect();
    sources.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut rules: Vec<Value> = Vec::new();
    for rule in sources.iter().flat_map(|r| &r.rules) {
        let rule = serde_json::from_str(rule.get())?;
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    Ok(rules)
}

#[async_trait]
impl Reconcile for Aggregation {
    type Key = ObjectKey;
    const NAME: &'static str = "clusterrole-aggregation";
    const WORKERS: usize = 1;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(role) = self.roles.get(key).filter(|r| r.aggregation_rule.is_some()) else {
            return Ok(Next::Wait);
        };
        let wanted = aggregate(&role, &self.roles.all())?;
        let have: Vec<Value> =
            role.rules.iter().map(|r| serde_json::from_str(r.get())).collect::<Result<_, _>>()?;
        if have == wanted {
            return Ok(Next::Wait);
        }
        let patch = json!({"metadata": {"resourceVersion": role.metadata.resource_version}, "rules": wanted});
        let api = &self.shared.api;
        api.patch::<MetaOnly>(&CLUSTER_ROLES, None, &key.name, None, PatchKind::Merge, &patch).await?;
        Ok(Next::Wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str, json: Value) -> Arc<ClusterRole> {
        let mut object = json!({"metadata": {"name": name}});
        object.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        object["metadata"]["labels"] = object["labels"].take();
        Arc::new(serde_json::from_str(&object.to_string()).unwrap())
    }

    #[test]
    fn an_aggregate_has_each_rule_of_the_selected_roles_once() {
        let (read, write) = (json!({"verbs": ["get"]}), json!({"verbs": ["create"]}));
        let all = [
            role("b", json!({"labels": {"to": "view"}, "rules": [read, write]})),
            role("a", json!({"labels": {"to": "view"}, "rules": [read]})),
            role("c", json!({"labels": {"to": "none"}, "rules": [{"verbs": ["*"]}]})),
            role(
                "view",
                json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "view"}}]}}),
            ),
        ];
        assert_eq!(aggregate(&all[3], &all).unwrap(), [read, write]);
        let empty = role("e", json!({"aggregationRule": {"clusterRoleSelectors": [{}]}}));
        assert!(aggregate(&empty, &all).unwrap().is_empty(), "an empty selector selects nothing");
    }
}

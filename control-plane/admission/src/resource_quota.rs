//! ResourceQuota: what a request would take is charged to the quotas of its namespace, or refused.
//!
//! ```text
//!   request ── usage, less the old object's ──▶ each quota: concerned? stated? enough left?
//!                                                  │ yes                         │ no
//!                                 compare-and-swap on its status         403 with the sums
//! ```
//! A charge is written before the object is, so two requests can never both take the last of something. What was charged
//! for an object that then failed to be written is given back by the controller, which recounts. Requests of one
//! namespace are charged one after the other here; those of other API servers meet at the compare.
//!
//! Rules: upstream's `apiserver/pkg/admission/plugin/resourcequota`.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use keelson_quota::{amounts, shown, source_of};
use keelson_registry::{Attributes, Operation, Status};
use keelson_semantics::{Quantity, ResourceList};
use parking_lot::Mutex;
use serde_json::Value;

use crate::plugin::{Plugin, forbidden, is, text};
use crate::{Lookup, Wanted};

/// How often a quota that others write meanwhile is read anew.
const ATTEMPTS_MAX: usize = 16;

type Turn = tokio::sync::Mutex<()>;

#[derive(Default)]
pub(crate) struct ResourceQuota {
    /// Whose turn it is, by namespace; only namespaces with a request under way are kept.
    turns: Mutex<HashMap<String, Weak<Turn>>>,
}

#[async_trait]
impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    /// Events are counted by nobody, as upstream.
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        let kind = attributes.kind;
        !attributes.namespace.is_empty()
            && kind.is_stored()
            && !is(attributes, "", "events")
            && match attributes.operation {
                Operation::Create => attributes.subresource.is_empty(),
                Operation::Update => {
                    keelson_quota::changes_by_update(&kind.group, &kind.plural, attributes.subresource)
                }
                Operation::Delete | Operation::Connect => false,
            }
    }

    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        let Some(object) = object else { return Ok(()) };
        if lookup.list(Wanted::ResourceQuota, attributes.namespace).await?.is_empty() {
            return Ok(());
        }
        let turn = self.turn(attributes.namespace);
        let _mine = turn.lock().await;
        let mut charged: Vec<String> = Vec::new();
        for _ in 0..ATTEMPTS_MAX {
            let mut quotas = lookup.list(Wanted::ResourceQuota, attributes.namespace).await?;
            // What is charged already is not to be judged once more.
            quotas.retain(|quota| !charged.iter().any(|uid| uid == text(quota, "/metadata/uid")));
            let mut contended = false;
            for charge in charges(attributes, object, &quotas)? {
                if attributes.dry_run {
                    continue;
                }
                if lookup.charge(charge.quota, &charge.used).await? {
                    charged.push(text(charge.quota, "/metadata/uid").to_owned());
                } else {
                    contended = true;
                }
            }
            if !contended {
                return Ok(());
            }
        }
        Err(Status::conflict(
            &attributes.kind.group_resource(),
            text(object, "/metadata/name"),
            format!(
                "the quotas of its namespace were written by others {ATTEMPTS_MAX} times; please try again"
            ),
        ))
    }
}

impl ResourceQuota {
    fn turn(&self, namespace: &str) -> Arc<Turn> {
        let mut turns = self.turns.lock();
        if let Some(turn) = turns.get(namespace).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Turn::default());
        turns.insert(namespace.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

/// What a quota's status.used becomes.
struct Charge<'a> {
    quota: &'a Value,
    used: ResourceList,
}

/// What the request comes to in each quota that is about it; a refusal when one of them has not enough left.
fn charges<'a>(
    attributes: &Attributes<'_>,
    object: &Value,
    quotas: &'a [Value],
) -> Result<Vec<Charge<'a>>, Status> {
    let (group, plural) = attributes.kind.resource();
    let refuse = |why: String| Err(forbidden(attributes, Some(object), why));
    let mut concerned = Vec::new();
    for quota in quotas {
        let (hard, used) = (amounts(quota, "status", "hard"), amounts(quota, "status", "used"));
        // Until the controller has seen a quota, and what there is already, nothing is held to it; as upstream.
        let names: Vec<&str> = hard
            .keys()
            .map(String::as_str)
            .filter(|name| {
                source_of(name).is_some_and(|source| (source.group, source.plural) == (group, plural))
            })
            .collect();
        if names.is_empty() || !keelson_quota::matches(quota, group, plural, object) {
            continue;
        }
        let name = text(quota, "/metadata/name");
        if let Some(missing) = keelson_quota::unstated(group, plural, object, &names) {
            return refuse(format!("failed quota: {name}: {missing}"));
        }
        if names.iter().any(|name| !used.contains_key(*name)) {
            return refuse(format!("status unknown for quota: {name}, resources: {}", names.join(",")));
        }
        concerned.push((quota, name, hard, used));
    }
    if concerned.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = keelson_quota::usage(group, plural, object, attributes.now);
    let negative: Vec<&str> =
        wanted.iter().filter(|(_, amount)| amount.is_negative()).map(|(name, _)| name.as_str()).collect();
    if !negative.is_empty() {
        return refuse(format!("quota usage is negative for resource(s): {}", negative.join(",")));
    }
    let more = more(&wanted, attributes);
    let mut charges = Vec::new();
    for (quota, name, hard, used) in concerned {
        let asked: ResourceList = only(&more, |name| hard.contains_key(name));
        if asked.is_empty() {
            continue;
        }
        let mut after = used.clone();
        keelson_semantics::resources::add(&mut after, &asked);
        let over = |name: &str| asked[name] > Quantity::ZERO && after[name] > hard[name];
        let exceeding = only(&asked, over);
        if !exceeding.is_empty() {
            let of = |list: &ResourceList| shown(&only(list, |name| exceeding.contains_key(name)));
            return refuse(format!(
                "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
                shown(&exceeding),
                of(&used),
                of(&hard)
            ));
        }
        charges.push(Charge { quota, used: after });
    }
    Ok(charges)
}

/// What the object takes beyond what its old state had, without what does not change.
fn more(wanted: &ResourceList, attributes: &Attributes<'_>) -> ResourceList {
    let mut more = wanted.clone();
    if let Some(old) = attributes.old {
        let (group, plural) = attributes.kind.resource();
        for (name, amount) in keelson_quota::usage(group, plural, old, attributes.now) {
            *more.entry(name).or_default() -= amount;
        }
    }
    more.retain(|_, amount| !amount.is_zero());
    more
}

fn only(list: &ResourceList, keep: impl Fn(&str) -> bool) -> ResourceList {
    list.iter().filter(|(name, _)| keep(name)).map(|(name, amount)| (name.clone(), *amount)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, Request};
    use serde_json::json;

    fn quota(hard: Value, used: Value) -> Value {
        json!({"metadata": {"namespace": "ns", "name": "q", "uid": "u", "resourceVersion": "1"},
               "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
    }

    fn cluster(hard: Value, used: Value) -> Cluster {
        Cluster::default().with(Wanted::ResourceQuota, quota(hard, used))
    }

    fn pod(cpu: &str) -> Request {
        let containers = json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}}]);
        Request::create(
            "",
            "pods",
            "ns",
            json!({"metadata": {"name": "p"}, "spec": {"containers": containers}}),
        )
    }

    fn service(kind: &str) -> Value {
        json!({"metadata": {"name": "s"}, "spec": {"type": kind, "ports": [{"port": 80}]}})
    }

    #[tokio::test]
    async fn what_fits_is_charged_and_what_does_not_is_refused_in_upstreams_words() {
        let zero = json!({"cpu": "0", "pods": "0"});
        let rows = [
            (json!({"cpu": "2", "pods": "5"}), zero.clone(), Ok(json!({"cpu": "2", "pods": "1"}))),
            (
                json!({"cpu": "2", "pods": "5"}),
                json!({"cpu": "1", "pods": "1"}),
                Err("exceeded quota: q, requested: cpu=2, used: cpu=1, limited: cpu=2"),
            ),
            (
                json!({"cpu": "1", "pods": "0"}),
                zero.clone(),
                Err("exceeded quota: q, requested: cpu=2,pods=1, used: cpu=0,pods=0, limited: cpu=1,pods=0"),
            ),
            (
                json!({"cpu": "2", "limits.cpu": "2"}),
                json!({"cpu": "0", "limits.cpu": "0"}),
                Err("failed quota: q: must specify limits.cpu for: c"),
            ),
            (json!({"cpu": "2"}), json!({}), Err("status unknown for quota: q, resources: cpu")),
            (json!({"count/secrets": "0"}), json!({}), Ok(Value::Null)),
        ];
        for (hard, used, expected) in rows {
            let cluster = cluster(hard.clone(), used);
            let outcome = pod("2").validate(&ResourceQuota::default(), &cluster).await;
            match (outcome, expected) {
                (Ok(()), Ok(charged)) => assert_eq!(cluster.charged("q"), charged, "{hard}"),
                (Err(status), Err(why)) => {
                    assert_eq!(status.message, format!("pods \"p\" is forbidden: {why}"));
                    assert_eq!((status.code, cluster.charged("q")), (403, Value::Null));
                }
                (outcome, _) => panic!("{hard}: {outcome:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_quota_that_others_write_is_read_again() {
        let cluster = cluster(json!({"pods": "5"}), json!({"pods": "0"})).contended(3);
        pod("1").validate(&ResourceQuota::default(), &cluster).await.unwrap();
        assert_eq!(cluster.charged("q"), json!({"pods": "1"}));
    }

    #[tokio::test]
    async fn an_update_is_charged_for_the_difference() {
        let hard = json!({"services": "1", "services.nodeports": "1"});
        let rows = [
            ("ClusterIP", "NodePort", "0", Ok(json!({"services": "1", "services.nodeports": "1"}))),
            ("NodePort", "ClusterIP", "1", Ok(json!({"services": "1", "services.nodeports": "0"}))),
            ("ClusterIP", "ClusterIP", "1", Ok(Value::Null)),
            (
                "ClusterIP",
                "NodePort",
                "1",
                Err(
                    "exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1",
                ),
            ),
        ];
        for (old, new, ports, expected) in rows {
            let cluster = cluster(hard.clone(), json!({"services": "1", "services.nodeports": ports}));
            let request = Request::create("", "services", "ns", service(new)).update(service(old));
            let outcome = request.validate(&ResourceQuota::default(), &cluster).await;
            let outcome = outcome.map(|()| cluster.charged("q")).map_err(|status| status.message);
            let expected = expected.map_err(|why| format!("services \"s\" is forbidden: {why}"));
            assert_eq!(outcome, expected, "{old} to {new}");
        }
    }

    #[tokio::test]
    async fn objects_of_any_kind_are_counted() {
        for (group, plural, name) in
            [("", "secrets", "secrets"), ("apps", "deployments", "count/deployments.apps")]
        {
            let cluster = cluster(json!({name: "1"}), json!({name: "1"}));
            let request = Request::create(group, plural, "ns", json!({"metadata": {"name": "x"}}));
            let status = request.validate(&ResourceQuota::default(), &cluster).await.unwrap_err();
            let said = format!("exceeded quota: q, requested: {name}=1, used: {name}=1, limited: {name}=1");
            assert!(status.message.ends_with(&said), "{}", status.message);
        }
    }
}

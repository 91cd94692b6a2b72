//! DefaultTolerationSeconds: how long a pod stays on a node that fails, unless it says so itself.

use async_trait::async_trait;
use keelson_registry::{Attributes, Operation, Status};
use serde_json::{Value, json};

use crate::plugin::{Plugin, is, list, list_mut, text};
use crate::{Config, Lookup};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

pub(crate) struct DefaultTolerationSeconds {
    pub(crate) config: Config,
}

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        is(attributes, "", "pods")
            && attributes.subresource.is_empty()
            && matches!(attributes.operation, Operation::Create | Operation::Update)
    }

    async fn mutate(&self, _: &Attributes<'_>, pod: &mut Value, _: &dyn Lookup) -> Result<(), Status> {
        let Config { not_ready_toleration_seconds, unreachable_toleration_seconds } = self.config;
        for (key, seconds) in
            [(NOT_READY, not_ready_toleration_seconds), (UNREACHABLE, unreachable_toleration_seconds)]
        {
            if tolerates(pod, key) {
                continue;
            }
            let Some(spec) = pod.get_mut("spec") else { return Ok(()) };
            if let Some(tolerations) = list_mut(spec, "tolerations") {
                tolerations.push(json!({
                    "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds,
                }));
            }
        }
        Ok(())
    }
}

/// Upstream's test: the key or none, the effect or none, whatever the operator and value.
fn tolerates(pod: &Value, key: &str) -> bool {
    list(pod, "/spec/tolerations").any(|toleration| {
        let (own, effect) = (text(toleration, "/key"), text(toleration, "/effect"));
        (own.is_empty() || own == key) && (effect.is_empty() || effect == "NoExecute")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, Request};

    #[tokio::test]
    async fn what_a_pod_says_itself_stays() {
        let plugin = DefaultTolerationSeconds {
            config: Config { not_ready_toleration_seconds: 7, ..Config::default() },
        };
        let own = json!({ "key": NOT_READY, "operator": "Exists", "effect": "NoExecute" });
        let added = |key: &str, seconds| json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds });
        let rows = [
            (json!(null), json!([added(NOT_READY, 7), added(UNREACHABLE, 300)])),
            (json!([own]), json!([own, added(UNREACHABLE, 300)])),
            (json!([{ "operator": "Exists" }]), json!([{ "operator": "Exists" }])),
            (
                json!([{ "operator": "Exists", "effect": "NoSchedule" }]),
                json!([{ "operator": "Exists", "effect": "NoSchedule" }, added(NOT_READY, 7), added(UNREACHABLE, 300)]),
            ),
        ];
        for (given, wanted) in rows {
            let pod = json!({ "metadata": {}, "spec": { "tolerations": given } });
            let admitted =
                Request::create("", "pods", "ns", pod).mutate(&plugin, &Cluster::default()).await.unwrap();
            assert_eq!(admitted["spec"]["tolerations"], wanted);
        }
    }

    #[tokio::test]
    async fn status_and_other_kinds_are_left_alone() {
        let plugin = DefaultTolerationSeconds { config: Config::default() };
        let body = json!({ "spec": {} });
        let request = Request::create("", "pods", "ns", body.clone()).update(body.clone()).at("status", "p");
        assert_eq!(request.mutate(&plugin, &Cluster::default()).await.unwrap(), body);
    }
}

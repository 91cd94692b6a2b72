//! FlowSchema and PriorityLevelConfiguration: whose requests wait where. The API server's gate follows them, keeps those that
//! every cluster has, and writes of each schema whether its level is there.

use crate::{
    meta,
    strategy::{Call, Strategy},
    validate::{Errors, flow_control as rules},
};
use keelson_flow::QUEUES_MAX;
use serde_json::Value;

/// FlowSchema.
pub struct FlowSchema;

/// PriorityLevelConfiguration.
pub struct PriorityLevel;

impl Strategy for FlowSchema {
    fn has_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        rules::flow_schema(object)
    }

    fn validate_status(&self, _call: &Call<'_>, new: &Value, _old: &Value) -> Errors {
        rules::status(&new["status"])
    }
}

impl Strategy for PriorityLevel {
    fn has_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        rules::priority_level(object)
    }

    fn validate_status(&self, _call: &Call<'_>, new: &Value, _old: &Value) -> Errors {
        rules::status(&new["status"])
    }

    fn warnings(&self, _call: &Call<'_>, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let queues = meta::number(new, &["spec", "limited", "limitResponse", "queuing", "queues"]);
        let many =
            queues.is_some_and(|queues| usize::try_from(queues).is_ok_and(|queues| queues > QUEUES_MAX));
        many.then(|| {
            format!("spec.limited.limitResponse.queuing.queues: a level has {QUEUES_MAX} queues here at most")
        })
        .into_iter()
        .collect()
    }
}

//! HorizontalPodAutoscaler: kept as autoscaling/v2, served as autoscaling/v1, too.

mod v1;

pub use v1::{AsV2, to_v2};

use super::idle;
use crate::{
    meta,
    strategy::{Call, Strategy},
    validate::{Errors, autoscaling, non_negative},
};
use keelson_schema::Path;
use serde_json::{Value, json};

/// HorizontalPodAutoscaler of autoscaling/v2.
pub struct HorizontalPodAutoscaler;

impl Strategy for HorizontalPodAutoscaler {
    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        meta::map_of(object).insert("status".to_owned(), json!({"desiredReplicas": 0}));
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        autoscaling::spec(&object["spec"])
    }

    fn validate_status(&self, _call: &Call<'_>, new: &Value, _old: &Value) -> Errors {
        let path = Path::new("status");
        let counts = ["currentReplicas", "desiredReplicas"];
        counts.iter().filter_map(|key| non_negative(&path, &new["status"], key)).collect()
    }

    fn warnings(&self, call: &Call<'_>, _new: &Value, old: Option<&Value>) -> Vec<String> {
        idle::warnings(call.kind, old)
    }
}

/// That of autoscaling/v1; the rules are those of the stored form.
pub struct HorizontalPodAutoscalerV1;

impl Strategy for HorizontalPodAutoscalerV1 {}

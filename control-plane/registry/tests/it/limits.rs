//! LimitRanges: bounds that contradict each other are refused, defaults follow from bounds.

use crate::fixture::{fixture, refused, sample};
use serde_json::{Value, json};

#[tokio::test]
async fn a_wrong_limit_range_is_refused_in_upstreams_words() {
    let limit = |limit: Value| json!({"spec": {"limits": [limit]}});
    let cpu = |amount: &str| json!({"cpu": amount});
    refused(
        "limitranges",
        [
            (limit(json!({"type": "Thing"})), "spec.limits[0].type: Invalid value: \"Thing\": must be a standard limit type"),
            (
                json!({"spec": {"limits": [{"type": "Pod", "max": cpu("1")}, {"type": "Pod", "min": cpu("1")}]}}),
                "spec.limits[1].type: Duplicate value: \"Pod\"",
            ),
            (limit(json!({"type": "Pod", "default": cpu("1")})), "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"),
            (
                limit(json!({"type": "PersistentVolumeClaim"})),
                "spec.limits[0].limits: Required value: either minimum or maximum storage value is required",
            ),
            (
                limit(json!({"type": "Pod", "min": cpu("2"), "max": cpu("1")})),
                "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
            ),
            (
                limit(json!({"type": "Container", "default": cpu("1"), "defaultRequest": cpu("2")})),
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"2\": default request value 2 is greater than default limit value 1",
            ),
            (
                limit(json!({"type": "Container", "default": cpu("3"), "max": cpu("2")})),
                "spec.limits[0].default[cpu]: Invalid value: \"3\": default value 3 is greater than max value 2",
            ),
            (limit(json!({"type": "Pod", "maxLimitRequestRatio": cpu("500m")})), "ratio 500m is less than 1"),
            (
                limit(json!({"type": "Pod", "min": cpu("1"), "max": cpu("2"), "maxLimitRequestRatio": cpu("3")})),
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"3\": ratio 3 is greater than max/min = 2.000000",
            ),
        ],
    )
    .await;
    let f = fixture().await;
    let made = f.made("limitranges", sample("limitranges")).await;
    let item = &made["spec"]["limits"][0];
    assert_eq!((&item["default"], &item["defaultRequest"]), (&cpu("2"), &cpu("2")));
}

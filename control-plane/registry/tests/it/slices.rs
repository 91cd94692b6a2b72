//! EndpointSlices through the store: what is refused, and how.

use crate::fixture::fixture;
use serde_json::{Value, json};

#[tokio::test]
async fn a_wrong_slice_is_refused_in_upstreams_words() {
    let f = fixture().await;
    let slice = |endpoint: Value| {
        let mut whole = json!({"addresses": ["10.0.0.1"]});
        whole.as_object_mut().expect("an object").extend(endpoint.as_object().cloned().unwrap_or_default());
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "a"},
               "addressType": "IPv4", "endpoints": [whole]})
    };
    let many: Vec<Value> = (0..9).map(|index| json!({"name": format!("z{index}")})).collect();
    let rows = [
        (json!({"addresses": ["fd00::1"]}), "must be a valid IPv4 address"),
        (json!({"nodeName": "A"}), "endpoints[0].nodeName: Invalid value: \"A\""),
        (json!({"hostname": "a.b"}), "endpoints[0].hostname: Invalid value: \"a.b\""),
        (
            json!({"hints": {"forZones": [{"name": "z"}, {"name": "z"}]}}),
            "endpoints[0].hints.forZones[1].name: Duplicate value: \"z\"",
        ),
        (
            json!({"hints": {"forNodes": [{"name": ""}]}}),
            "endpoints[0].hints.forNodes[0].name: Required value",
        ),
        (
            json!({"hints": {"forZones": many}}),
            "endpoints[0].hints.forZones: Too many: 9: must have at most 8 items",
        ),
    ];
    for (endpoint, message) in rows {
        let status = f.create("endpointslices", slice(endpoint)).await.map(|_| ()).expect_err("it is wrong");
        assert!(status.message.contains(message), "{status}");
    }
}

//! What is refused, by path.

use super::*;
use serde_json::json;

fn texts(errors: &Errors) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn claims() {
    let asked = |more: Value| {
        let mut exactly = json!({"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1});
        meta::map_of(&mut exactly).extend(more.as_object().unwrap().clone());
        json!({"requests": [{"name": "r", "exactly": exactly}]})
    };
    let with = |key: &str, value: Value| {
        let mut devices = asked(json!({}));
        devices[key] = value;
        devices
    };
    let at = "spec.devices.requests[0]";
    let name = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    let rows = [
        (asked(json!({})), vec![]),
        (
            json!({"requests": [{"name": "r"}]}),
            vec![format!("{at}: Required value: exactly one of `exactly` or `firstAvailable` is required")],
        ),
        (asked(json!({"deviceClassName": ""})), vec![format!("{at}.exactly.deviceClassName: Required value")]),
        (asked(json!({"count": 0})), vec![format!("{at}.exactly.count: Invalid value: 0: must be greater than zero")]),
        (
            asked(json!({"allocationMode": "All"})),
            vec![format!("{at}.exactly.count: Invalid value: 1: must not be specified when allocationMode is 'All'")],
        ),
        (
            asked(json!({"adminAccess": true})),
            vec![format!("{at}.exactly.adminAccess: Forbidden: admin access to devices is not supported by this cluster yet")],
        ),
        (asked(json!({"selectors": [{}]})), vec![format!("{at}.exactly.selectors[0].cel: Required value")]),
        (
            asked(json!({"tolerations": [{"operator": "Exists", "value": "v"}]})),
            vec![format!("{at}.exactly.tolerations[0].value: Invalid value: \"v\": must be empty for operator `Exists`")],
        ),
        (
            with("constraints", json!([{"requests": ["x"], "matchAttribute": "numa"}])),
            vec![
                format!("spec.devices.constraints[0].requests[0]: Invalid value: \"x\": {name}"),
                "spec.devices.constraints[0].matchAttribute: Invalid value: \"numa\": a fully qualified name must be a domain and a name separated by a slash".to_owned(),
            ],
        ),
        (
            with("config", json!([{"requests": ["r"], "opaque": {"driver": "d.example.com", "parameters": 1}}])),
            vec!["spec.devices.config[0].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object".to_owned()],
        ),
    ];
    for (devices, wanted) in rows {
        let errors = claim_spec(&Path::new("spec"), &json!({"devices": devices.clone()}));
        assert_eq!(texts(&errors), wanted, "{devices}");
    }
    let wrong = asked(json!({"selectors": [{"cel": {"expression": "device.driver"}}]}));
    let errors = texts(&claim_spec(&Path::new("spec"), &json!({"devices": wrong})));
    assert!(errors.len() == 1 && errors[0].contains("selectors[0].cel.expression"), "{errors:?}");
    let many: Vec<_> = (0..33).map(|n| json!({"name": format!("r{n}"), "exactly": {}})).collect();
    let errors = texts(&claim_spec(&Path::new("spec"), &json!({"devices": {"requests": many}})));
    assert_eq!(errors, ["spec.devices.requests: Too many: 33: must have at most 32 items"]);
}

#[test]
fn slices() {
    let sample = |change: &dyn Fn(&mut Value)| {
        let mut object = json!({"spec": {
            "driver": "d.example.com", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1, "generation": 1},
            "devices": [{"name": "a", "attributes": {"x": {"int": 1}}, "capacity": {"m": {"value": "4Gi"}}}],
        }});
        change(&mut object["spec"]);
        object
    };
    type Row<'a> = (&'a dyn Fn(&mut Value), &'a [&'a str]);
    let rows: &[Row<'_>] = &[
        (&|_| {}, &[]),
        (
            &|spec| spec["allNodes"] = json!(true),
            &[
                "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set",
            ],
        ),
        (
            &|spec| spec["pool"]["resourceSliceCount"] = json!(0),
            &["spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero"],
        ),
        (
            &|spec| spec["devices"][0]["attributes"]["x"] = json!({"int": 1, "bool": true}),
            &[
                "spec.devices[0].attributes[x]: Invalid value: {\"bool\":true,\"int\":1}: exactly one value must be specified",
            ],
        ),
        (
            &|spec| spec["devices"][0]["attributes"]["x"] = json!({"version": "1.2"}),
            &[
                "spec.devices[0].attributes[x].version: Invalid value: \"1.2\": must be a string compatible with semver.org spec 2.0.0",
            ],
        ),
        (
            &|spec| spec["devices"][0]["capacity"]["m"]["requestPolicy"] = json!({}),
            &["spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true"],
        ),
        (
            &|spec| spec["devices"][0]["taints"] = json!([{"key": "k", "effect": "Never"}]),
            &[
                "spec.devices[0].taints[0].effect: Unsupported value: \"Never\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"",
            ],
        ),
    ];
    for (change, wanted) in rows {
        let object = sample(change);
        assert_eq!(texts(&slice(&object, None)), *wanted, "{object}");
    }
    let (old, new) = (sample(&|_| {}), sample(&|spec| spec["driver"] = json!("e.example.com")));
    assert_eq!(
        texts(&slice(&new, Some(&old))),
        ["spec.driver: Invalid value: \"e.example.com\": field is immutable"]
    );
}

#[test]
fn an_allocation_stands_and_only_its_devices_have_a_status() {
    let claim = |status: Value| json!({"spec": {"devices": {"requests": [{"name": "r", "exactly": {}}]}}, "status": status});
    let allocation = |device: &str| json!({"devices": {"results": [{"request": "r", "driver": "d.example.com", "pool": "p", "device": device}]}});
    let found = |new: Value, old: Value| texts(&status(&claim(new), &claim(old)));
    let reserved = json!([{"resource": "pods", "name": "p", "uid": "1"}]);
    assert_eq!(found(json!({"allocation": allocation("a"), "reservedFor": reserved}), json!({})), [""; 0]);
    assert_eq!(
        found(json!({"reservedFor": reserved}), json!({})),
        ["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"]
    );
    let changed = found(json!({"allocation": allocation("b")}), json!({"allocation": allocation("a")}));
    assert!(changed.len() == 1 && changed[0].starts_with("status.allocation: Invalid value"), "{changed:?}");
    let other = json!([{"driver": "d.example.com", "pool": "p", "device": "b"}]);
    assert_eq!(
        found(json!({"allocation": allocation("a"), "devices": other}), json!({})),
        ["status.devices[0]: Invalid value: \"d.example.com/p/b\": must be an allocated device in the claim"]
    );
}

//! Services through their types and families: what each write takes, keeps, gives back and refuses.

use crate::fixture::{Fixture, dual, fixture};
use keelson_registry::{DeleteOptions, ListOptions, Status};
use serde_json::{Value, json};

fn service(name: &str, spec: Value) -> Value {
    let mut body = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "a"}},
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        body["spec"][key.as_str()] = value.clone();
    }
    body
}

async fn addresses(f: &Fixture) -> Vec<String> {
    f.names("ipaddresses", ListOptions::default()).await
}

async fn refused(f: &Fixture, body: Value) -> Status {
    match f.create("services", body.clone()).await {
        Err(status) => status,
        Ok(_) => panic!("it was taken: {body}"),
    }
}

fn node_port(service: &Value, index: usize) -> i64 {
    service["spec"]["ports"][index]["nodePort"].as_i64().unwrap_or_default()
}

#[tokio::test]
async fn families_follow_from_policy_addresses_and_cluster() {
    let (single, dual) = (fixture().await, dual().await);
    let v4 = json!(["IPv4"]);
    let both = json!(["IPv4", "IPv6"]);
    let rows = [
        (&single, json!({}), "SingleStack", &v4, 1),
        (&single, json!({"ipFamilyPolicy": "PreferDualStack"}), "PreferDualStack", &v4, 1),
        (&single, json!({"clusterIP": "None"}), "SingleStack", &v4, 0),
        (&single, json!({"clusterIP": "None", "selector": null}), "RequireDualStack", &both, 0),
        (&dual, json!({}), "SingleStack", &v4, 1),
        (&dual, json!({"ipFamilies": ["IPv6"]}), "SingleStack", &json!(["IPv6"]), 1),
        (&dual, json!({"ipFamilyPolicy": "PreferDualStack"}), "PreferDualStack", &both, 2),
        (&dual, json!({"ipFamilyPolicy": "RequireDualStack"}), "RequireDualStack", &both, 2),
        (
            &dual,
            json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}),
            "RequireDualStack",
            &json!(["IPv6", "IPv4"]),
            2,
        ),
        (&dual, json!({"clusterIP": "fd00:96::77"}), "SingleStack", &json!(["IPv6"]), 1),
        (
            &dual,
            json!({"ipFamilyPolicy": "PreferDualStack", "clusterIP": "fd00:96::78",
                   "clusterIPs": ["fd00:96::78", "10.96.0.78"]}),
            "PreferDualStack",
            &json!(["IPv6", "IPv4"]),
            2,
        ),
    ];
    for (index, (f, spec, policy, families, count)) in rows.into_iter().enumerate() {
        let before = addresses(f).await.len();
        let made = f.made("services", service(&format!("s{index}"), spec.clone())).await;
        assert_eq!(made["spec"]["ipFamilyPolicy"], policy, "{spec}");
        assert_eq!(&made["spec"]["ipFamilies"], families, "{spec}");
        assert_eq!(made["spec"]["clusterIPs"][0], made["spec"]["clusterIP"], "{spec}");
        assert_eq!(addresses(f).await.len() - before, count, "{spec}");
        f.delete("services", &format!("s{index}"), DeleteOptions::default()).await.expect("it is there");
        assert_eq!(addresses(f).await.len(), before, "{spec}");
    }
}

#[tokio::test]
async fn a_second_address_comes_and_goes_and_the_first_stays() {
    let f = dual().await;
    let made = f.made("services", service("a", json!({}))).await;
    let first = made["spec"]["clusterIP"].clone();
    let more = json!({"spec": {"ipFamilyPolicy": "PreferDualStack"}});
    let more = f.patch("services", "a", None, more).await.expect("valid");
    assert_eq!(more["spec"]["clusterIPs"][0], first);
    assert_eq!(addresses(&f).await.len(), 2);
    let status =
        f.patch("services", "a", None, json!({"spec": {"clusterIPs": [first], "ipFamilies": ["IPv4"]}}));
    let status = status.await.expect_err("the policy must say so");
    for what in ["releasing the secondary clusterIP", "releasing the secondary ipFamily"] {
        assert!(status.message.contains(&format!("must be set to 'SingleStack' when {what}")), "{status}");
    }
    // A client that knows neither list nor policy changes nothing.
    let same = f.update("services", None, service("a", json!({}))).await.expect("valid").body.to_value();
    assert_eq!(same["spec"]["clusterIPs"], more["spec"]["clusterIPs"]);
    let less = json!({"spec": {"ipFamilyPolicy": "SingleStack"}});
    let less = f.patch("services", "a", None, less).await.expect("valid");
    assert_eq!(less["spec"]["clusterIPs"], json!([first]));
    assert_eq!(less["spec"]["ipFamilies"], json!(["IPv4"]));
    assert_eq!(addresses(&f).await, [first.as_str().expect("a text")]);
}

#[tokio::test]
async fn a_failed_write_gives_back_what_it_took() {
    let f = dual().await;
    f.made("services", service("a", json!({"clusterIP": "10.96.0.9"}))).await;
    // The second address can be had, the first cannot.
    let taken = json!({"ipFamilyPolicy": "RequireDualStack", "clusterIP": "fd00:96::9",
                       "clusterIPs": ["fd00:96::9", "10.96.0.9"]});
    refused(&f, service("b", taken)).await;
    // Both can be had, the name cannot.
    let status = refused(&f, service("a", json!({"ipFamilyPolicy": "RequireDualStack"}))).await;
    assert_eq!(status.code, 409, "{status}");
    let dry = f.create_with(&f.dry(), "services", service("c", json!({"type": "NodePort"}))).await;
    assert!(node_port(&dry.expect("valid").body.to_value(), 0) > 0);
    assert_eq!(addresses(&f).await, ["10.96.0.9"]);
}

#[tokio::test]
async fn node_ports_come_from_the_dynamic_band_then_from_the_static_one() {
    let f = dual().await;
    let mut given = Vec::new();
    for index in 0..20 {
        let made = f.made("services", service(&format!("s{index}"), json!({"type": "NodePort"}))).await;
        given.push(node_port(&made, 0));
    }
    assert!(given[..4].iter().all(|port| *port >= 30_016), "{given:?}");
    assert!(given[4..].iter().all(|port| *port < 30_016), "{given:?}");
    let status = refused(&f, service("full", json!({"type": "NodePort"}))).await;
    assert!(status.message.contains("failed to allocate a nodePort: range is full"), "{status}");
    f.delete("services", "s3", DeleteOptions::default()).await.expect("it is there");
    let again = f.made("services", service("again", json!({"type": "NodePort"}))).await;
    assert_eq!(node_port(&again, 0), given[3]);
}

#[tokio::test]
async fn protocols_of_one_service_share_a_number_and_services_never_do() {
    let f = fixture().await;
    let dns = json!([{"name": "u", "port": 53, "protocol": "UDP"}, {"name": "t", "port": 53, "nodePort": 30053},
                     {"name": "m", "port": 9153}]);
    let made = f.made("services", service("dns", json!({"type": "NodePort", "ports": dns}))).await;
    assert_eq!((node_port(&made, 0), node_port(&made, 1)), (30_053, 30_053));
    assert!(![0, 30_053].contains(&node_port(&made, 2)));
    for (port, word) in
        [(30_053, "provided port is already allocated"), (20, "The range of valid ports is 30000-32767")]
    {
        let other = json!({"type": "NodePort", "ports": [{"port": 1, "protocol": "UDP", "nodePort": port}]});
        let status = refused(&f, service("b", other)).await;
        let expected = format!("spec.ports[0].nodePort: Invalid value: {port}: provided port is");
        assert!(status.message.contains(&expected) && status.message.contains(word), "{status}");
    }
}

#[tokio::test]
async fn each_change_of_type_keeps_and_drops_what_upstream_does() {
    let f = fixture().await;
    let balanced =
        json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "loadBalancerClass": "a.b/c"});
    let made = f.made("services", service("a", balanced)).await;
    let ip = made["spec"]["clusterIP"].clone();
    let port = node_port(&made, 0);
    let health = made["spec"]["healthCheckNodePort"].as_i64().unwrap_or_default();
    assert!(port != 0 && health != 0 && port != health, "{made}");
    assert_eq!(made["spec"]["allocateLoadBalancerNodePorts"], true);
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    let status = f.patch("services", "a", Some("status"), status).await.expect("valid");
    assert_eq!(status["status"]["loadBalancer"]["ingress"][0]["ipMode"], "VIP");
    let to = |kind: &'static str, more: Value| {
        let mut spec = json!({"type": kind});
        spec.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        f.patch("services", "a", None, json!({"spec": spec}))
    };
    let status = to("LoadBalancer", json!({"loadBalancerClass": "d"})).await.expect_err("fixed");
    assert!(
        status.message.contains("spec.loadBalancerClass: Invalid value: \"d\": may not change once set"),
        "{status}"
    );

    let node = to("NodePort", json!({})).await.expect("valid");
    assert_eq!(node_port(&node, 0), port);
    for key in ["healthCheckNodePort", "allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        assert_eq!(node["spec"].get(key), None, "{key}");
    }
    assert_eq!(node["spec"]["externalTrafficPolicy"], "Local");
    assert_eq!(node["status"], json!({"loadBalancer": {}}));

    let plain = to("ClusterIP", json!({})).await.expect("valid");
    assert_eq!((node_port(&plain, 0), plain["spec"].get("externalTrafficPolicy")), (0, None));
    assert_eq!(plain["spec"]["clusterIP"], ip);

    let name = to("ExternalName", json!({"externalName": "example.com"})).await.expect("valid");
    for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        assert_eq!(name["spec"].get(key), None, "{key}");
    }
    assert!(addresses(&f).await.is_empty());
    let back = to("NodePort", json!({})).await.expect("valid");
    assert!(node_port(&back, 0) != 0 && addresses(&f).await.len() == 1);
}

#[tokio::test]
async fn node_ports_stay_with_the_names_of_their_ports() {
    let f = fixture().await;
    let ports = json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}]);
    let made = f.made("services", service("s", json!({"type": "NodePort", "ports": ports}))).await;
    let swapped = json!([{"name": "b", "port": 3}, {"name": "a", "port": 4}, {"name": "c", "port": 5}]);
    let next = service("s", json!({"type": "NodePort", "ports": swapped}));
    let next = f.update("services", None, next).await.expect("valid").body.to_value();
    assert_eq!((node_port(&next, 0), node_port(&next, 1)), (node_port(&made, 1), node_port(&made, 0)));
    assert!(node_port(&next, 2) != 0);
}

#[tokio::test]
async fn a_load_balancer_may_go_without_node_ports() {
    let f = fixture().await;
    let spec = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
                      "ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2, "nodePort": 30001}]});
    let made = f.made("services", service("a", spec)).await;
    assert_eq!((node_port(&made, 0), node_port(&made, 1)), (0, 30_001));
    let taken = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]});
    refused(&f, service("b", taken)).await;
}

#[tokio::test]
async fn what_is_wrong_is_told_in_upstreams_words() {
    let f = dual().await;
    let rows = [
        (
            json!({"clusterIPs": ["10.96.0.7"]}),
            "spec.clusterIPs: Invalid value: [\"10.96.0.7\"]: must be empty when `clusterIP` is not specified",
        ),
        (
            json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.8"]}),
            "first value must match `clusterIP`",
        ),
        (
            json!({"clusterIP": "None", "clusterIPs": ["None", "10.96.0.8"]}),
            "'None' must be the first and only value",
        ),
        (
            json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "10.96.0.8"], "ipFamilyPolicy": "PreferDualStack"}),
            "may specify no more than one IP for each IP family",
        ),
        (
            json!({"clusterIP": "10.96.0.7", "ipFamilies": ["IPv6"]}),
            "spec.clusterIPs[0]: Invalid value: \"10.96.0.7\": expected an IPv6 value as indicated by `ipFamilies[0]`",
        ),
        (
            json!({"ipFamilies": ["IPv4", "IPv6"]}),
            "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
        ),
        (json!({"ipFamilies": ["IPv4", "IPv4"]}), "spec.ipFamilies[1]: Duplicate value: \"IPv4\""),
        (json!({"type": "NodePort", "clusterIP": "None"}), "may not be set to 'None' for NodePort services"),
        (
            json!({"type": "LoadBalancer", "ports": [{"port": 10250}]}),
            "may not expose port 10250 externally since it is used by kubelet",
        ),
        (json!({"type": "X"}), "spec.type: Unsupported value: \"X\""),
        (
            json!({"ports": [{"port": 80, "nodePort": 30000}]}),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (json!({"ports": [{"port": 80, "appProtocol": "a b"}]}), "spec.ports[0].appProtocol"),
        (json!({"ports": [{"port": 80}, {"port": 81}]}), "spec.ports[0].name: Required value"),
        (json!({"externalIPs": ["127.0.0.1"]}), "may not be in the loopback range"),
        (
            json!({"loadBalancerSourceRanges": ["10.0.0.0/8"]}),
            "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ),
        (
            json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.1/8"]}),
            "spec.LoadBalancerSourceRanges[0]",
        ),
        (
            json!({"loadBalancerClass": "a"}),
            "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ),
        (json!({"allocateLoadBalancerNodePorts": true}), "spec.allocateLoadBalancerNodePorts: Forbidden"),
        (
            json!({"externalTrafficPolicy": "Local"}),
            "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
        ),
        (
            json!({"healthCheckNodePort": 30000}),
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ),
        (json!({"internalTrafficPolicy": "X"}), "spec.internalTrafficPolicy: Unsupported value: \"X\""),
        (
            json!({"trafficDistribution": "X"}),
            "spec.trafficDistribution: Unsupported value: \"X\": supported values: \"PreferClose\", \"PreferSameNode\", \"PreferSameZone\"",
        ),
        (
            json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}}),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400",
        ),
        (
            json!({"type": "ExternalName", "externalName": "a", "clusterIP": "10.96.0.7"}),
            "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
        ),
        (
            json!({"type": "ExternalName", "externalName": "a", "ipFamilies": ["IPv4"]}),
            "spec.ipFamilies: Forbidden: may not be set for ExternalName services",
        ),
    ];
    for (spec, message) in rows {
        let status = refused(&f, service("a", spec.clone())).await;
        assert!(status.message.contains(message), "{spec}: {status}");
    }
    assert!(addresses(&f).await.is_empty());
}

#[tokio::test]
async fn the_status_says_where_only_for_load_balancers() {
    let f = fixture().await;
    f.made("services", service("a", json!({}))).await;
    f.made("services", service("b", json!({"type": "LoadBalancer"}))).await;
    let rows = [
        (
            "a",
            json!({"ip": "192.0.2.1", "ipMode": "VIP"}),
            "may only be used when `spec.type` is \"LoadBalancer\"",
        ),
        (
            "b",
            json!({"hostname": "a.b", "ipMode": "VIP"}),
            "status.loadBalancer.ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set",
        ),
        (
            "b",
            json!({"ip": "192.0.2.1", "ipMode": "X"}),
            "Unsupported value: \"X\": supported values: \"Proxy\", \"VIP\"",
        ),
        (
            "b",
            json!({"ip": "x"}),
            "status.loadBalancer.ingress[0].ip: Invalid value: \"x\": must be a valid IP address",
        ),
        ("b", json!({"hostname": "192.0.2.1"}), "must be a DNS name, not an IP address"),
    ];
    for (name, entry, message) in rows {
        let patch = json!({"status": {"loadBalancer": {"ingress": [entry]}}});
        let status = f.patch("services", name, Some("status"), patch).await.expect_err("it is wrong");
        assert!(status.message.contains(message), "{status}");
    }
}

#[tokio::test]
async fn defaults_are_upstreams() {
    let f = fixture().await;
    let affine = json!({"sessionAffinity": "ClientIP", "ports": [{"port": 80, "protocol": "SCTP"}]});
    let made = f.made("services", service("a", affine)).await;
    assert_eq!(made["spec"]["sessionAffinityConfig"], json!({"clientIP": {"timeoutSeconds": 10800}}));
    assert_eq!(made["spec"]["internalTrafficPolicy"], "Cluster");
    assert_eq!(made["spec"]["ports"][0]["targetPort"], 80);
    let external = f.made("services", service("b", json!({"externalIPs": ["192.0.2.9"]}))).await;
    assert_eq!(external["spec"]["externalTrafficPolicy"], "Cluster");
    let plain = f.patch("services", "b", None, json!({"spec": {"externalIPs": null}})).await.expect("valid");
    assert_eq!(plain["spec"].get("externalTrafficPolicy"), None);
}

//! Inputs and what is said of them, in upstream's words (its `warnings_test.go` has the same cases).

use super::*;
use serde_json::json;

/// What is said of a pod with this spec, whose containers are complete enough to be looked at.
fn told(spec: &Value) -> Vec<String> {
    pod(&json!({"metadata": {"name": "a"}, "spec": spec}))
}

#[track_caller]
fn check(rows: impl IntoIterator<Item = (Value, Vec<&'static str>)>) {
    for (spec, expected) in rows {
        assert_eq!(told(&spec), expected, "{spec}");
    }
}

#[test]
fn a_common_pod_has_no_warnings() {
    let resources = json!({"cpu": "100m", "memory": "64Mi", "ephemeral-storage": "1G"});
    let container = json!({
        "name": "c", "image": "i", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}],
        "resources": {"requests": resources, "limits": resources},
    });
    let token = json!({"sources": [
        {"serviceAccountToken": {"path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace"}]}},
    ]});
    check([(
        json!({
            "nodeSelector": {"kubernetes.io/os": "linux"}, "overhead": resources, "terminationGracePeriodSeconds": 30,
            "initContainers": [container], "containers": [{"name": "d"}], "imagePullSecrets": [{"name": "s"}],
            "volumes": [{"name": "v", "projected": token}, {"name": "w", "emptyDir": {}}],
            "hostAliases": [{"ip": "1.1.1.1"}, {"ip": "fd00::1"}],
        }),
        vec![],
    )]);
}

#[test]
fn names_that_make_bad_hostnames_are_warned_of() {
    let told = pod(&json!({"metadata": {"name": "a.b"}, "spec": {}}));
    assert_eq!(
        told,
        [
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is \
          recommended: [must not contain dots]"
        ]
    );
}

#[test]
fn old_labels_of_nodes_are_warned_of() {
    let expression = |key: &str| json!({"matchExpressions": [{"key": "foo"}, {"key": key}]});
    check([
        (
            json!({"nodeSelector": {"beta.kubernetes.io/arch": "arm"}}),
            vec![
                r#"spec.nodeSelector[beta.kubernetes.io/arch]: deprecated since v1.14; use "kubernetes.io/arch" instead"#,
            ],
        ),
        (
            json!({"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [expression("beta.kubernetes.io/os")]}}}}),
            vec![
                r#"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[1].key: beta.kubernetes.io/os is deprecated since v1.14; use "kubernetes.io/os" instead"#,
            ],
        ),
        (
            json!({"affinity": {"nodeAffinity": {PREFERRED: [
                {"preference": expression("failure-domain.beta.kubernetes.io/region")},
            ]}}}),
            vec![
                r#"spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[1].key: failure-domain.beta.kubernetes.io/region is deprecated since v1.17; use "topology.kubernetes.io/region" instead"#,
            ],
        ),
        (
            json!({"topologySpreadConstraints": [{"topologyKey": "beta.kubernetes.io/instance-type", "labelSelector": {}}]}),
            vec![
                r#"spec.topologySpreadConstraints[0].topologyKey: beta.kubernetes.io/instance-type is deprecated since v1.17; use "node.kubernetes.io/instance-type" instead"#,
            ],
        ),
    ]);
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

#[test]
fn values_that_no_label_has_are_warned_of_where_nodes_are_preferred() {
    let term = json!({"matchExpressions": [{"key": "foo", "operator": "In", "values": ["bar", "-1"]}]});
    let told =
        told(&json!({"affinity": {"nodeAffinity": {PREFERRED: [{"weight": 10, "preference": term}]}}}));
    let [text] = &told[..] else { panic!("{told:?}") };
    assert!(
        text.starts_with(
            "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].\
             values[1]: -1 is invalid, a valid label must be an empty string or consist of alphanumeric characters"
        ),
        "{text}"
    );
}

#[test]
fn selectors_that_are_not_there_are_warned_of() {
    let terms = json!({
        REQUIRED: [{"labelSelector": {}}, {}],
        PREFERRED: [{"podAffinityTerm": {"labelSelector": {}}}, {"podAffinityTerm": {"labelSelector": null}}],
    });
    check([
        (
            json!({"topologySpreadConstraints": [{"labelSelector": {}}, {}]}),
            vec![
                "spec.topologySpreadConstraints[1].labelSelector: a null labelSelector results in matching no pod",
            ],
        ),
        (
            json!({"affinity": {"podAffinity": terms, "podAntiAffinity": terms}}),
            vec![
                "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[1].labelSelector: a null labelSelector results in matching no pod",
                "spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[1].podAffinityTerm.labelSelector: a null labelSelector results in matching no pod",
                "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[1].labelSelector: a null labelSelector results in matching no pod",
                "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[1].podAffinityTerm.labelSelector: a null labelSelector results in matching no pod",
            ],
        ),
    ]);
}

#[test]
fn annotations_that_fields_replaced_are_warned_of() {
    const SECCOMP: &str = r#"non-functional in v1.27+; use the "seccompProfile" field instead"#;
    const APP_ARMOR: &str = r#"deprecated since v1.30; use the "appArmorProfile" field instead"#;
    const SYSCTLS: &str = r#"non-functional in v1.11+; use the "sysctls" field instead"#;
    const PRIORITY: &str = r#"non-functional in v1.16+; use the "priorityClassName" field instead"#;
    let plain = json!({"containers": [{"name": "foo"}]});
    let own = json!({"containers": [{"name": "foo", "securityContext": {"seccompProfile": {}, "appArmorProfile": {}}}]});
    let pods = json!({"securityContext": {"seccompProfile": {}, "appArmorProfile": {}}, "containers": [{"name": "foo"}]});
    let rows = [
        ("foo", &plain, None),
        ("scheduler.alpha.kubernetes.io/critical-pod", &plain, Some(PRIORITY)),
        ("security.alpha.kubernetes.io/sysctls", &plain, Some(SYSCTLS)),
        ("security.alpha.kubernetes.io/unsafe-sysctls", &plain, Some(SYSCTLS)),
        ("seccomp.security.alpha.kubernetes.io/pod", &plain, Some(SECCOMP)),
        ("seccomp.security.alpha.kubernetes.io/pod", &pods, None),
        ("container.seccomp.security.alpha.kubernetes.io/foo", &plain, Some(SECCOMP)),
        ("container.seccomp.security.alpha.kubernetes.io/foo", &pods, Some(SECCOMP)),
        ("container.seccomp.security.alpha.kubernetes.io/foo", &own, None),
        ("container.seccomp.security.alpha.kubernetes.io/bar", &plain, None),
        ("container.apparmor.security.beta.kubernetes.io/foo", &plain, Some(APP_ARMOR)),
        ("container.apparmor.security.beta.kubernetes.io/foo", &pods, None),
        ("container.apparmor.security.beta.kubernetes.io/foo", &own, None),
    ];
    for (key, spec, expected) in rows {
        let mut notes = Notes::default();
        let given = json!({"metadata": {"annotations": {key: "x"}}, "spec": spec});
        template(&IN_SPEC, &given, &mut notes);
        let expected = expected.map(|text| format!("spec.template.metadata.annotations[{key}]: {text}"));
        assert_eq!(notes.into_texts(), Vec::from_iter(expected), "{given}");
    }
}

#[test]
fn volumes_that_are_no_more_are_warned_of() {
    let rows = [
        ("photonPersistentDisk", "photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+"),
        ("gitRepo", "gitRepo: deprecated in v1.11, and disabled by default in v1.33+"),
        ("scaleIO", "scaleIO: deprecated in v1.16, non-functional in v1.22+"),
        ("flocker", "flocker: deprecated in v1.22, non-functional in v1.25+"),
        ("storageos", "storageOS: deprecated in v1.22, non-functional in v1.25+"),
        ("quobyte", "quobyte: deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", "glusterfs: deprecated in v1.25, non-functional in v1.26+"),
        ("cephfs", "cephfs: deprecated in v1.28, non-functional in v1.31+"),
        ("rbd", "rbd: deprecated in v1.28, non-functional in v1.31+"),
    ];
    for (source, expected) in rows {
        let volumes = json!([{"name": "a", "emptyDir": {}}, {"name": "b", source: {}}]);
        assert_eq!(told(&json!({ "volumes": volumes })), [format!("spec.volumes[1].{expected}")]);
    }
    let claim = json!({"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": "200m"}}}}});
    check([(
        json!({"volumes": [{"name": "a", "ephemeral": claim}]}),
        vec![
            r#"spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources.requests[storage]: fractional byte value "200m" is invalid, must be an integer"#,
        ],
    )]);
}

#[test]
fn files_within_files_are_warned_of() {
    let items =
        |paths: &[&str]| paths.iter().map(|path| json!({"key": "k", "path": path})).collect::<Value>();
    let volume = |source: Value| {
        let mut volume = json!({"name": "v"});
        volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        json!({ "volumes": [volume] })
    };
    check([
        (volume(json!({"configMap": {"name": "foo", "items": items(&["a", "ab", "b/c", "b/cd"])}})), vec![]),
        (
            volume(json!({"configMap": {"name": "foo", "items": items(&["test", "test/"])}})),
            vec![r#"volume "v" (ConfigMap "foo"): overlapping paths: "test" with "test""#],
        ),
        (
            volume(json!({"secret": {"secretName": "foo", "items": items(&["test/app", "test"])}})),
            vec![r#"volume "v" (Secret "foo"): overlapping paths: "test" with "test/app""#],
        ),
        (
            volume(json!({"downwardAPI": {"items": items(&["test", "test/app"])}})),
            vec![r#"volume "v" (DownwardAPI): overlapping paths: "test/app" with "test""#],
        ),
        (
            volume(json!({"projected": {"sources": [
                {"clusterTrustBundle": {"signerName": "Test", "path": "test/test"}},
                {"downwardAPI": {"items": items(&["test"])}},
                {"secret": {"name": "Test", "items": items(&["other"])}},
                {"serviceAccountToken": {"path": "test"}},
                {},
            ]}})),
            vec![
                r#"volume "v" (Projected) has no sources provided"#,
                r#"volume "v" (Projected): overlapping paths: "test" (DownwardAPI) with "test/test" (ClusterTrustBundle "Test")"#,
                r#"volume "v" (Projected): overlapping paths: "test" (ServiceAccountToken) with "test/test" (ClusterTrustBundle "Test")"#,
                r#"volume "v" (Projected): overlapping paths: "test" (ServiceAccountToken) with "test" (DownwardAPI)"#,
            ],
        ),
    ]);
}

#[test]
fn hosts_and_pull_secrets_that_say_nothing_new_are_warned_of() {
    check([
        (
            json!({"hostAliases": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.1"}, {"ip": "::ffff:1.2.3.4"}],
                   "dnsConfig": {"nameservers": ["1.2.3.4", "05.06.07.08"]}}),
            vec![
                r#"spec.hostAliases[1].ip: duplicate ip "1.1.1.1""#,
                r#"spec.dnsConfig.nameservers[1]: non-standard IP address "05.06.07.08" will be considered invalid in a future Kubernetes release: use "5.6.7.8""#,
                r#"spec.hostAliases[2].ip: non-standard IP address "::ffff:1.2.3.4" will be considered invalid in a future Kubernetes release: use "1.2.3.4""#,
            ],
        ),
        (
            json!({"imagePullSecrets": [{"name": "a"}, {"name": "a"}, {}]}),
            vec![
                r#"spec.imagePullSecrets[1].name: duplicate name "a""#,
                r#"spec.imagePullSecrets[2].name: invalid empty name """#,
            ],
        ),
        (
            json!({"terminationGracePeriodSeconds": -1}),
            vec![
                "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
            ],
        ),
    ]);
}

#[test]
fn variables_that_hide_others_are_warned_of_in_all_containers() {
    let env = json!([
        {"name": "a", "value": "a"}, {"name": "a", "value": "other"}, {"name": "a", "value": "$(a)"},
        {"name": "a", "valueFrom": {}}, {"name": "a", "value": "$(a) $(a)"}, {"name": "b"},
    ]);
    let text = |list: &str, index: usize| {
        format!(
            r#"spec.{list}[0].env[{index}]: hides previous definition of "a", which may be dropped when using apply"#
        )
    };
    for list in LISTS {
        assert_eq!(
            told(&json!({list: [{ "env": env }]})),
            [1, 2, 3].map(|index| text(list, index)),
            "{list}"
        );
    }
}

#[test]
fn parts_of_bytes_are_warned_of() {
    let amounts = json!({"cpu": "100m", "memory": "4m", "ephemeral-storage": "1.5"});
    check([(
        json!({"overhead": amounts, "initContainers": [{"resources": {"requests": amounts}}],
               "containers": [{"resources": {"limits": amounts}}]}),
        vec![
            r#"spec.overhead[memory]: fractional byte value "4m" is invalid, must be an integer"#,
            r#"spec.overhead[ephemeral-storage]: fractional byte value "1500m" is invalid, must be an integer"#,
            r#"spec.initContainers[0].resources.requests[memory]: fractional byte value "4m" is invalid, must be an integer"#,
            r#"spec.initContainers[0].resources.requests[ephemeral-storage]: fractional byte value "1500m" is invalid, must be an integer"#,
            r#"spec.containers[0].resources.limits[memory]: fractional byte value "4m" is invalid, must be an integer"#,
            r#"spec.containers[0].resources.limits[ephemeral-storage]: fractional byte value "1500m" is invalid, must be an integer"#,
        ],
    )]);
    check([(json!({"overhead": {"memory": "8Ei"}}), vec![])]);
}

/// What is said of ports, each in a container of its own.
fn told_of_ports(ports: &[Value]) -> Vec<String> {
    let containers: Vec<_> = ports.iter().map(|port| json!({ "ports": [port] })).collect();
    told(&json!({ "containers": containers }))
}

#[test]
fn ports_in_each_others_way_are_warned_of() {
    let udp =
        |host: i64, ip: &str| json!({"containerPort": 80, "protocol": "UDP", "hostPort": host, "hostIP": ip});
    let rows = [
        (udp(80, ""), udp(81, ""), None),
        (udp(80, "10.0.0.1"), udp(80, "10.0.0.2"), None),
        (udp(0, ""), json!({"containerPort": 80, "protocol": "TCP"}), None),
        (udp(0, ""), json!({"containerPort": 81, "protocol": "UDP"}), None),
        (udp(0, ""), json!({"containerPort": 80, "protocol": "UDP"}), Some("duplicate")),
        (udp(80, "10.0.0.1"), udp(80, "10.0.0.1"), Some("duplicate")),
        (udp(80, ""), udp(0, ""), Some("overlapping")),
        (udp(80, ""), udp(80, "10.0.0.1"), Some("dangerously ambiguous")),
    ];
    for (first, second, expected) in rows {
        let text = |what: &str| {
            format!("spec.containers[1].ports[0]: {what} port definition with spec.containers[0].ports[0]")
        };
        let told = told_of_ports(&[first, second]);
        assert_eq!(told, Vec::from_iter(expected.map(text)));
    }
    assert_eq!(
        told_of_ports(&[udp(0, "10.0.0.1")]),
        [
            "spec.containers[0].ports[0]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:80 Protocol:UDP \
          HostIP:10.0.0.1}"
        ]
    );
}

#[test]
fn the_first_port_of_a_name_is_told() {
    let port = |number: i64| json!({"ports": [{"name": "test", "containerPort": number, "protocol": "TCP"}]});
    check([(
        json!({"initContainers": [port(80)], "containers": [port(8090)]}),
        vec![
            r#"spec.containers[0].ports[0]: duplicate port name "test" with spec.initContainers[0].ports[0], services and probes that select ports by name will use spec.initContainers[0].ports[0]"#,
        ],
    )]);
}

#[test]
fn no_list_is_too_long() {
    let ports: Vec<_> =
        (0..20_000).map(|index| json!({"containerPort": 80, "hostPort": index + 1})).collect();
    let env: Vec<_> = (0..20_000).map(|_| json!({"name": "A", "value": "x"})).collect();
    let told = told(&json!({"containers": [{"ports": ports, "env": env}]}));
    assert_eq!(told.len(), crate::context::WARNINGS_MAX);
}

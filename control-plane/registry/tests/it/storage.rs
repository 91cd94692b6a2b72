//! Volumes and what CSI drivers say of themselves: what is refused, what may change.

use crate::fixture::{changed, changes, fixture, refused, sample, statuses};
use serde_json::{Value, json};

fn spec(spec: Value) -> Value {
    json!({"spec": spec})
}

#[tokio::test]
async fn a_wrong_volume_is_refused_in_upstreams_words() {
    refused(
        "persistentvolumes",
        [
            (spec(json!({"hostPath": null})), "spec: Required value: must specify a volume type"),
            (spec(json!({"nfs": {"server": "s", "path": "/"}})), "spec.nfs: Forbidden: may not specify more than 1 volume type"),
            (spec(json!({"hostPath": {"path": "/a/../b"}})), "spec.hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"),
            (
                spec(json!({"hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle"})),
                "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
            ),
            (spec(json!({"hostPath": null, "local": {"path": "/a"}})), "metadata.annotations: Required value: Local volume requires node affinity"),
            (spec(json!({"hostPath": null, "nfs": {"server": "s", "path": "a"}})), "spec.nfs.path: Invalid value: \"a\": must be an absolute path"),
            (spec(json!({"hostPath": null, "csi": {"driver": "d", "volumeHandle": ""}})), "spec.csi.volumeHandle: Required value"),
            (spec(json!({"capacity": null})), "spec.capacity: Required value"),
            (spec(json!({"capacity": {"storage": "0"}})), "spec.capacity[storage]: Invalid value: \"0\": must be greater than zero"),
            (spec(json!({"capacity": {"cpu": "1"}})), "spec.capacity: Unsupported value: {\"cpu\":\"1\",\"storage\":\"1Gi\"}: supported values: \"storage\""),
            (spec(json!({"accessModes": []})), "spec.accessModes: Required value"),
            (
                spec(json!({"accessModes": ["ReadWriteOncePod", "ReadWriteOnce"]})),
                "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
            ),
            (
                spec(json!({"persistentVolumeReclaimPolicy": "X"})),
                "spec.persistentVolumeReclaimPolicy: Unsupported value: \"X\": supported values: \"Delete\", \"Recycle\", \"Retain\"",
            ),
            (spec(json!({"volumeMode": "X"})), "spec.volumeMode: Unsupported value: \"X\": supported values: \"Block\", \"Filesystem\""),
            (spec(json!({"storageClassName": "A"})), "spec.storageClassName: Invalid value: \"A\""),
            (spec(json!({"nodeAffinity": {}})), "spec.nodeAffinity.required: Required value: must specify required node constraints"),
            (
                spec(json!({"nodeAffinity": {"required": {"nodeSelectorTerms": []}}})),
                "spec.nodeAffinity.required.nodeSelectorTerms: Required value: must have at least one node selector term",
            ),
            (spec(json!({"volumeAttributesClassName": "fast"})), "spec.csi: Required value: has to be specified when using"),
        ],
    )
    .await;
    let terms = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}});
    changes(
        "persistentvolumes",
        [
            (spec(json!({"persistentVolumeReclaimPolicy": "Delete", "capacity": {"storage": "2Gi"}})), None),
            (spec(json!({"nodeAffinity": terms})), None),
            (spec(json!({"hostPath": {"path": "/other"}})), Some("spec.persistentvolumesource: Forbidden")),
            (
                spec(json!({"volumeMode": "Block"})),
                Some("spec.volumeMode: Invalid value: \"Block\": field is immutable"),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_volume_knows_since_when_it_is_in_its_phase() {
    let f = fixture().await;
    let made = f.made("persistentvolumes", sample("persistentvolumes")).await;
    assert_eq!(made["status"]["phase"], "Pending");
    let since = &made["status"]["lastPhaseTransitionTime"];
    assert!(since.is_string(), "{made}");
    assert_eq!(
        (&made["spec"]["persistentVolumeReclaimPolicy"], &made["spec"]["volumeMode"]),
        (&json!("Retain"), &json!("Filesystem"))
    );
    let told = json!({"status": {"phase": "Bound", "lastPhaseTransitionTime": "2026-01-01T00:00:00Z"}});
    let told = f.patch("persistentvolumes", "sample", Some("status"), told).await.expect("valid");
    assert_eq!(told["status"]["lastPhaseTransitionTime"], "2026-01-01T00:00:00Z");
    let untold = f
        .patch("persistentvolumes", "sample", Some("status"), json!({"status": {"phase": "Released"}}))
        .await;
    assert_ne!(untold.expect("valid")["status"]["lastPhaseTransitionTime"], "2026-01-01T00:00:00Z");
}

#[tokio::test]
async fn a_wrong_driver_is_refused_in_upstreams_words() {
    let token = |token: Value| spec(json!({"tokenRequests": [token]}));
    refused(
        "csidrivers",
        [
            (
                json!({"metadata": {"name": "d".repeat(64)}}),
                "metadata.name: Too long: may not be more than 63 bytes",
            ),
            (spec(json!({"fsGroupPolicy": "X"})), "spec.fsGroupPolicy: Unsupported value: \"X\""),
            (
                spec(json!({"volumeLifecycleModes": ["X"]})),
                "spec.volumeLifecycleModes: Unsupported value: \"X\"",
            ),
            (
                token(json!({"audience": "a", "expirationSeconds": 5})),
                "may not specify a duration less than 10 minutes",
            ),
            (
                spec(json!({"tokenRequests": [{"audience": "a"}, {"audience": "a"}]})),
                "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
            ),
            (spec(json!({"nodeAllocatableUpdatePeriodSeconds": 5})), "must be greater than or equal to 10"),
        ],
    )
    .await;
    changes(
        "csidrivers",
        [
            (spec(json!({"podInfoOnMount": true, "requiresRepublish": true})), None),
            (
                spec(json!({"attachRequired": true})),
                Some("spec.attachRequired: Invalid value: true: field is immutable"),
            ),
        ],
    )
    .await;
    let driver = |driver: Value| spec(json!({"drivers": [driver]}));
    refused(
        "csinodes",
        [
            (driver(json!({"name": "", "nodeID": "n"})), "spec.drivers[0].name: Required value"),
            (driver(json!({"name": "d", "nodeID": ""})), "spec.drivers[0].nodeID: Required value"),
            (driver(json!({"name": "d", "nodeID": "n".repeat(193)})), "must be 192 characters or less"),
            (
                driver(json!({"name": "d", "nodeID": "n", "topologyKeys": ["a", "a"]})),
                "topologyKeys[1]: Duplicate value: \"a\"",
            ),
            (
                driver(json!({"name": "d", "nodeID": "n", "allocatable": {"count": -1}})),
                "allocatable.count: Invalid value: -1",
            ),
        ],
    )
    .await;
    let own = |more: Value| driver(changed(&sample("csinodes")["spec"]["drivers"][0], &more));
    changes(
        "csinodes",
        [
            (own(json!({"allocatable": {"count": 5}})), None),
            (spec(json!({"drivers": []})), None),
            (own(json!({"nodeID": "other"})), Some("field is immutable")),
        ],
    )
    .await;
}

#[tokio::test]
async fn attachments_capacities_and_attributes_keep_to_their_rules() {
    refused(
        "volumeattachments",
        [
            (spec(json!({"attacher": ""})), "spec.attacher: Required value"),
            (
                spec(json!({"source": {"persistentVolumeName": null}})),
                "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
            ),
            (
                spec(json!({"source": {"persistentVolumeName": ""}})),
                "must specify non empty persistentVolumeName",
            ),
            (spec(json!({"nodeName": "A"})), "spec.nodeName: Invalid value: \"A\""),
        ],
    )
    .await;
    changes("volumeattachments", [(spec(json!({"nodeName": "other"})), Some("spec: Invalid value"))]).await;
    let long = json!({"attached": false, "attachError": {"message": "m".repeat(1025)}});
    statuses("volumeattachments", [(long, Some("status.attachError.message: Too long"))]).await;
    refused(
        "csistoragecapacities",
        [
            (json!({"storageClassName": ""}), "storageClassName: Invalid value: \"\""),
            (
                json!({"capacity": "-1"}),
                "capacity: Invalid value: \"-1\": must be greater than or equal to 0",
            ),
            (
                json!({"nodeTopology": {"matchLabels": {"a": "-"}}}),
                "nodeTopology.matchLabels: Invalid value: \"-\"",
            ),
        ],
    )
    .await;
    changes(
        "csistoragecapacities",
        [
            (json!({"capacity": "5Gi"}), None),
            (
                json!({"storageClassName": "slow"}),
                Some("storageClassName: Invalid value: \"slow\": field is immutable"),
            ),
        ],
    )
    .await;
    refused(
        "volumeattributesclasses",
        [
            (json!({"driverName": ""}), "driverName: Required value"),
            (
                json!({"parameters": null}),
                "parameters: Required value: must contain at least one key/value pair",
            ),
        ],
    )
    .await;
    changes(
        "volumeattributesclasses",
        [(
            json!({"parameters": {"iops": "1"}}),
            Some("parameters: Forbidden: updates to parameters are forbidden."),
        )],
    )
    .await;
}

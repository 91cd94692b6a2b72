"""The official Python client against a running API server: what its users do, with what they must see.

Reads KUBECONFIG; fails with a traceback at the first thing that is not as it should be.
"""

import base64
import threading
import time

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException

NAMESPACE = "python-client"
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "labels": {"app": "web"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "nginx", "image": "nginx:1", "ports": [{"containerPort": 80}]}]},
        },
    },
}
WIDGETS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.python.example.org"},
    "spec": {
        "group": "python.example.org",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["size"],
                                "properties": {
                                    "size": {"type": "integer", "minimum": 1},
                                    "color": {"type": "string", "default": "blue"},
                                },
                            },
                            "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
                        },
                    }
                },
            }
        ],
    },
}


def refused(code, call, *args, **kwargs):
    """The Status of a call that must be refused with this code."""
    try:
        call(*args, **kwargs)
    except ApiException as error:
        assert error.status == code, f"{error.status} instead of {code}: {error.body}"
        return error.body
    raise AssertionError(f"{call} was not refused")


def typed_objects(core, apps):
    apps.create_namespaced_deployment(NAMESPACE, DEPLOYMENT)
    read = apps.read_namespaced_deployment("web", NAMESPACE)
    assert read.spec.replicas == 2 and read.metadata.generation == 1, read
    assert read.spec.strategy.type == "RollingUpdate", "defaults are there"
    read.spec.replicas = 3
    replaced = apps.replace_namespaced_deployment("web", NAMESPACE, read)
    assert replaced.spec.replicas == 3 and replaced.metadata.generation == 2
    assert "the object has been modified" in refused(409, apps.replace_namespaced_deployment, "web", NAMESPACE, read)
    merged = apps.patch_namespaced_deployment("web", NAMESPACE, {"spec": {"replicas": 4}})
    assert merged.spec.replicas == 4
    scale = apps.read_namespaced_deployment_scale("web", NAMESPACE)
    scale.spec.replicas = 5
    assert apps.replace_namespaced_deployment_scale("web", NAMESPACE, scale).spec.replicas == 5
    body = [{"op": "replace", "path": "/spec/replicas", "value": 1}]
    assert apps.patch_namespaced_deployment("web", NAMESPACE, body).spec.replicas == 1
    assert '"reason":"NotFound"' in refused(404, core.read_namespaced_pod, "none", NAMESPACE).replace(" ", "")
    assert "AlreadyExists" in refused(409, apps.create_namespaced_deployment, NAMESPACE, DEPLOYMENT)
    secret = client.V1Secret(
        metadata=client.V1ObjectMeta(name="s"), data={"key": base64.b64encode(b"value").decode()}
    )
    core.create_namespaced_secret(NAMESPACE, secret)
    assert base64.b64decode(core.read_namespaced_secret("s", NAMESPACE).data["key"]) == b"value"


def lists_in_pages(core):
    for number in range(25):
        core.create_namespaced_config_map(
            NAMESPACE,
            client.V1ConfigMap(metadata=client.V1ObjectMeta(name=f"c{number:02}", labels={"half": str(number % 2)})),
        )
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(NAMESPACE, limit=7, _continue=token, label_selector="half=0")
        assert len(page.items) <= 7
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"c{number:02}" for number in range(0, 25, 2)], names
    one = core.list_namespaced_config_map(NAMESPACE, field_selector="metadata.name=c03")
    assert [item.metadata.name for item in one.items] == ["c03"]
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="half")
    left = core.list_namespaced_config_map(NAMESPACE, label_selector="half").items
    assert left == [], left


def watches(core):
    since = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version

    def change():
        core.create_namespaced_config_map(
            NAMESPACE, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="w"), data={"a": "1"})
        )
        core.patch_namespaced_config_map("w", NAMESPACE, {"data": {"a": "2"}})
        core.delete_namespaced_config_map("w", NAMESPACE)

    threading.Thread(target=change).start()
    seen, watcher = [], watch.Watch()
    for event in watcher.stream(
        core.list_namespaced_config_map, NAMESPACE, resource_version=since, timeout_seconds=30
    ):
        seen.append((event["type"], event["object"].data["a"]))
        if event["type"] == "DELETED":
            watcher.stop()
    assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")], seen


def anything_by_discovery(api):
    dyn = dynamic.DynamicClient(api)
    maps = dyn.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}, "data": {"a": "1"}}
    applied = maps.server_side_apply(body=body, namespace=NAMESPACE, field_manager="one")
    assert applied.metadata.managedFields[0].manager == "one"
    other = dict(body, data={"a": "2"})
    try:
        maps.server_side_apply(body=other, namespace=NAMESPACE, field_manager="two")
        raise AssertionError("a conflict was not told")
    except dynamic.exceptions.ConflictError as error:
        assert 'conflict with \\"one\\"' in error.body, error.body
    forced = maps.server_side_apply(body=other, namespace=NAMESPACE, field_manager="two", force_conflicts=True)
    assert forced.data.a == "2"


def custom_objects(api, extensions, custom):
    dyn = dynamic.DynamicClient(api)
    crds = dyn.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    crds.create(body=WIDGETS)
    deadline = time.monotonic() + 30
    while True:
        status = extensions.read_custom_resource_definition("widgets.python.example.org").status
        if any(c.type == "Established" and c.status == "True" for c in status.conditions or []):
            break
        assert time.monotonic() < deadline, status
    where = ("python.example.org", "v1", NAMESPACE, "widgets")
    widget = {"apiVersion": "python.example.org/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 3}}
    made = custom.create_namespaced_custom_object(*where, widget)
    assert made["spec"] == {"size": 3, "color": "blue"}, made
    assert "spec.size" in refused(
        422, custom.patch_namespaced_custom_object, *where, "w", {"spec": {"size": 0}}
    )
    custom.patch_namespaced_custom_object_status(*where, "w", {"status": {"ready": True}})
    assert custom.get_namespaced_custom_object(*where, "w")["status"] == {"ready": True}
    assert len(custom.list_cluster_custom_object("python.example.org", "v1", "widgets")["items"]) == 1
    custom.delete_namespaced_custom_object(*where, "w")
    refused(404, custom.get_namespaced_custom_object, *where, "w")
    crds.delete(name="widgets.python.example.org")


def rights(core):
    core.create_namespaced_service_account(
        NAMESPACE, client.V1ServiceAccount(metadata=client.V1ObjectMeta(name="robot"))
    )
    asked = client.AuthenticationV1TokenRequest(
        spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=3600)
    )
    token = core.create_namespaced_service_account_token("robot", NAMESPACE, asked).status.token
    admin = core.api_client.configuration
    as_robot = client.Configuration(host=admin.host)
    as_robot.ssl_ca_cert, as_robot.api_key = admin.ssl_ca_cert, {"authorization": f"Bearer {token}"}
    robot = client.ApiClient(as_robot)
    who = client.AuthenticationV1Api(robot).create_self_subject_review(client.V1SelfSubjectReview())
    assert who.status.user_info.username == f"system:serviceaccount:{NAMESPACE}:robot"
    body = refused(403, client.CoreV1Api(robot).list_namespaced_secret, NAMESPACE)
    assert 'cannot list resource \\"secrets\\"' in body, body
    review = client.V1SelfSubjectAccessReview(
        spec=client.V1SelfSubjectAccessReviewSpec(
            resource_attributes=client.V1ResourceAttributes(verb="create", resource="pods", namespace=NAMESPACE)
        )
    )
    assert not client.AuthorizationV1Api(robot).create_self_subject_access_review(review).status.allowed


def main():
    config.load_kube_config()
    api = client.ApiClient()
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "from-dict", "namespace": NAMESPACE}}
    utils.create_from_dict(api, manifest)
    typed_objects(core, apps)
    lists_in_pages(core)
    watches(core)
    anything_by_discovery(api)
    rights(core)
    custom_objects(api, client.ApiextensionsV1Api(api), client.CustomObjectsApi(api))
    core.delete_namespace(NAMESPACE)


if __name__ == "__main__":
    main()

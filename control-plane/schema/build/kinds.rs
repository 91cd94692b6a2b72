//! The kinds whose definitions are embedded: everything that is stable in 1.36, and what requests carry beside them.

use k8s_openapi::Resource;
use k8s_openapi::api;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

use crate::Definitions;

/// A kind and the definition that describes it.
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) definition: String,
}

fn kind<T: Resource + JsonSchema>() -> Kind {
    Kind { group: T::GROUP, version: T::VERSION, kind: T::KIND, definition: T::schema_name().into_owned() }
}

macro_rules! kinds {
    ($generator:ident; $($group:path { $($name:ident)* })*) => {{
        let mut kinds = Vec::new();
        $({
            use $group as group;
            $(
                $generator.subschema_for::<group::$name>();
                kinds.push(kind::<group::$name>());
            )*
        })*
        kinds
    }};
}

/// All definitions that the kinds reach, and the kinds.
pub(crate) fn collect() -> (Definitions, Vec<Kind>) {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let kinds = kinds! { generator;
        api::admissionregistration::v1 {
            MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration
            ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration
        }
        api::apps::v1 { ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet }
        api::authentication::v1 { SelfSubjectReview TokenRequest TokenReview }
        api::authorization::v1 {
            LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview
        }
        api::autoscaling::v1 { HorizontalPodAutoscaler Scale }
        api::autoscaling::v2 { HorizontalPodAutoscaler }
        api::batch::v1 { CronJob Job }
        api::certificates::v1 { CertificateSigningRequest }
        api::coordination::v1 { Lease }
        api::core::v1 {
            Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume
            PersistentVolumeClaim Pod PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount
        }
        api::discovery::v1 { EndpointSlice }
        api::events::v1 { Event }
        api::flowcontrol::v1 { FlowSchema PriorityLevelConfiguration }
        api::networking::v1 { IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR }
        api::node::v1 { RuntimeClass }
        api::policy::v1 { Eviction PodDisruptionBudget }
        api::rbac::v1 { ClusterRole ClusterRoleBinding Role RoleBinding }
        api::resource::v1 { DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice }
        api::scheduling::v1 { PriorityClass }
        api::storage::v1 {
            CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass
        }
        apiextensions::v1 { CustomResourceDefinition }
        apiregistration::v1 { APIService }
        meta::v1 { APIGroup APIGroupList APIResourceList APIVersions Status }
    };
    generator.subschema_for::<meta::v1::DeleteOptions>();
    generator.subschema_for::<meta::v1::ListMeta>();
    generator.subschema_for::<meta::v1::Patch>();

    let definitions = generator.take_definitions(true).into_iter().collect();
    (definitions, kinds)
}

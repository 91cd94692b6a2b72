//! What a pod asks for: the part of PodSpec that is the same for all pods of a template, and is shared between them.

use super::null_default;
use keelson_semantics::{
    LabelSelector, Quantity, ResourceList, Toleration,
    label_selector::{LabelSelectorRequirement, LabelSelectorSpec},
    resized::PodGiven,
    resources::{ContainerResources, PodResources, ResourceRequirements},
};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// core/v1 PodSpec, as scheduling, endpoints and eviction read it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodSpec {
    /// Which scheduler places it.
    pub scheduler_name: String,
    /// Higher goes first.
    pub priority: i32,
    /// All of these labels must be on the node.
    pub node_selector: BTreeMap<String, String>,
    /// affinity
    pub affinity: Affinity,
    /// tolerations
    pub tolerations: Vec<Toleration>,
    /// It is not to be scheduled while it has any.
    pub scheduling_gates: Vec<Named>,
    /// How it is to be spread.
    pub topology_spread: Vec<TopologySpread>,
    /// Containers' ports, sidecars included.
    pub ports: Vec<ContainerPort>,
    /// PersistentVolumeClaims that it mounts, generic ephemeral ones by their volume's name.
    pub claims: Vec<String>,
    /// ResourceClaims (dynamic resource allocation) by name in the pod.
    pub resource_claims: Vec<Named>,
    /// Effective requests with overhead.
    pub requests: ResourceList,
    /// Requests for scoring: containers without a request count as small, not as nothing.
    pub non_zero: NonZero,
    /// Its network is the node's.
    pub host_network: bool,
}

/// What a pod is taken to need when nodes are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NonZero {
    /// Thousandths of a CPU; 100 for a container without a request.
    pub milli_cpu: i64,
    /// Bytes; 200 MiB for a container without a request.
    pub memory_bytes: i64,
}

/// An entry of which only the name counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Named {
    /// name
    pub name: String,
}

/// core/v1 ContainerPort.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// May be empty.
    pub name: String,
    /// containerPort
    pub container_port: u16,
    /// 0: none.
    pub host_port: u16,
    /// Empty: all addresses.
    #[serde(rename = "hostIP")]
    pub host_ip: String,
    /// TCP, UDP or SCTP; empty means TCP.
    pub protocol: String,
}

/// core/v1 Affinity.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Affinity {
    /// To nodes.
    #[serde(deserialize_with = "null_default")]
    pub node_affinity: NodeAffinity,
    /// To the nodes of other pods.
    #[serde(deserialize_with = "null_default")]
    pub pod_affinity: PodAffinity,
    /// Away from the nodes of other pods.
    #[serde(deserialize_with = "null_default")]
    pub pod_anti_affinity: PodAffinity,
}

/// core/v1 NodeAffinity.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeAffinity {
    /// Must hold.
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeSelector>,
    /// Adds to the score.
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", deserialize_with = "null_default")]
    pub preferred: Vec<PreferredTerm>,
}

/// core/v1 NodeSelector: any of its terms.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    /// nodeSelectorTerms
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// core/v1 NodeSelectorTerm: all of its expressions; without any it matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelectorTerm {
    /// On labels.
    #[serde(deserialize_with = "null_default")]
    pub match_expressions: Vec<LabelSelectorRequirement>,
    /// On fields; metadata.name alone exists.
    #[serde(deserialize_with = "null_default")]
    pub match_fields: Vec<LabelSelectorRequirement>,
}

/// core/v1 PreferredSchedulingTerm.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PreferredTerm {
    /// 1 to 100.
    pub weight: i64,
    /// The term.
    pub preference: NodeSelectorTerm,
}

/// core/v1 PodAffinity and PodAntiAffinity.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PodAffinity {
    /// Must hold.
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution", deserialize_with = "null_default")]
    pub required: Vec<PodAffinityTerm>,
    /// Adds to the score.
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", deserialize_with = "null_default")]
    pub preferred: Vec<WeightedPodAffinityTerm>,
}

/// core/v1 WeightedPodAffinityTerm.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WeightedPodAffinityTerm {
    /// 1 to 100.
    pub weight: i64,
    /// The term.
    pub pod_affinity_term: PodAffinityTerm,
}

/// core/v1 PodAffinityTerm.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodAffinityTerm {
    /// Which pods; absent: none.
    #[serde(deserialize_with = "optional_selector")]
    pub label_selector: Option<LabelSelector>,
    /// The label whose value names the domain.
    pub topology_key: String,
    /// In these namespaces; none given (and no selector): the pod's own.
    #[serde(deserialize_with = "null_default")]
    pub namespaces: Vec<String>,
    /// And in namespaces that it selects.
    #[serde(deserialize_with = "optional_selector")]
    pub namespace_selector: Option<LabelSelector>,
    /// Labels of the incoming pod that others must share.
    #[serde(deserialize_with = "null_default")]
    pub match_label_keys: Vec<String>,
    /// Labels of the incoming pod that others must not share.
    #[serde(deserialize_with = "null_default")]
    pub mismatch_label_keys: Vec<String>,
}

/// core/v1 TopologySpreadConstraint.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopologySpread {
    /// The largest difference allowed.
    pub max_skew: i64,
    /// The label whose value names the domain.
    pub topology_key: String,
    /// DoNotSchedule or ScheduleAnyway.
    pub when_unsatisfiable: String,
    /// Which pods count.
    #[serde(deserialize_with = "optional_selector")]
    pub label_selector: Option<LabelSelector>,
    /// Fewer domains than this count as having an empty one.
    pub min_domains: Option<i64>,
    /// Honor (also when empty) or Ignore.
    pub node_affinity_policy: String,
    /// Honor, or Ignore (also when empty).
    pub node_taints_policy: String,
    /// Labels of the incoming pod that others must share.
    #[serde(deserialize_with = "null_default")]
    pub match_label_keys: Vec<String>,
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        LabelSelectorSpec::deserialize(d).map(Selector::new)
    }
}

fn optional_selector<'de, D: Deserializer<'de>>(d: D) -> Result<Option<LabelSelector>, D::Error> {
    let spec = Option::<LabelSelectorSpec>::deserialize(d)?;
    spec.map(|s| LabelSelector::from_spec(&s).map_err(serde::de::Error::custom)).transpose()
}

/// A workload's selector, of which the empty one selects nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    spec: LabelSelectorSpec,
    compiled: Option<LabelSelector>,
}

impl Selector {
    /// One that cannot be read selects nothing: the API server refuses it on writing.
    pub fn new(spec: LabelSelectorSpec) -> Self {
        let compiled = LabelSelector::from_spec(&spec).ok().filter(|s| !s.is_empty());
        Self { spec, compiled }
    }

    /// The object form, as it was read.
    pub fn spec(&self) -> &LabelSelectorSpec {
        &self.spec
    }

    /// Does it select an object with these labels?
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.compiled.as_ref().is_some_and(|s| s.matches(labels))
    }

    /// Does it select nothing, because it says nothing?
    pub fn is_empty(&self) -> bool {
        self.compiled.is_none()
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawSpec {
    pub(super) node_name: Option<Box<str>>,
    pub(super) hostname: Option<Box<str>>,
    pub(super) subdomain: Option<Box<str>>,
    scheduler_name: String,
    priority: i32,
    #[serde(deserialize_with = "null_default")]
    node_selector: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_default")]
    affinity: Affinity,
    #[serde(deserialize_with = "null_default")]
    tolerations: Vec<Toleration>,
    #[serde(deserialize_with = "null_default")]
    scheduling_gates: Vec<Named>,
    #[serde(deserialize_with = "null_default")]
    topology_spread_constraints: Vec<TopologySpread>,
    #[serde(deserialize_with = "null_default")]
    containers: Vec<RawContainer>,
    #[serde(deserialize_with = "null_default")]
    init_containers: Vec<RawContainer>,
    #[serde(deserialize_with = "null_default")]
    overhead: ResourceList,
    resources: Option<ResourceRequirements>,
    #[serde(deserialize_with = "null_default")]
    volumes: Vec<RawVolume>,
    #[serde(deserialize_with = "null_default")]
    resource_claims: Vec<Named>,
    host_network: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawContainer {
    name: String,
    restart_policy: Option<String>,
    #[serde(deserialize_with = "null_default")]
    resources: ResourceRequirements,
    #[serde(deserialize_with = "null_default")]
    ports: Vec<ContainerPort>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawVolume {
    name: String,
    persistent_volume_claim: Option<ClaimSource>,
    ephemeral: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimSource {
    claim_name: String,
}

const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY_BYTES: i64 = 200 << 20;

impl RawSpec {
    /// The spec; `given` says what the node has given to the pod, which counts while it is more.
    pub(super) fn resolve(self, given: &PodGiven) -> PodSpec {
        let raw = self;
        let is_sidecar = |c: &RawContainer| c.restart_policy.as_deref() == Some("Always");
        let ports = raw.containers.iter().chain(raw.init_containers.iter().filter(|c| is_sidecar(c)));
        let ports = ports.flat_map(|c| c.ports.iter().cloned()).collect();
        let claims = raw.volumes.into_iter().filter_map(|v| match (v.persistent_volume_claim, v.ephemeral) {
            (Some(claim), _) => Some(claim.claim_name),
            (None, Some(_)) => Some(v.name),
            (None, None) => None,
        });
        let claims = claims.collect();
        let part = |c: RawContainer| ContainerResources {
            name: c.name,
            restart_policy: c.restart_policy,
            resources: c.resources,
        };
        let mut resources = PodResources {
            containers: raw.containers.into_iter().map(part).collect(),
            init_containers: raw.init_containers.into_iter().map(part).collect(),
            overhead: raw.overhead,
            resources: raw.resources,
        };
        given.count_in(&mut resources);
        PodSpec {
            scheduler_name: raw.scheduler_name,
            priority: raw.priority,
            node_selector: raw.node_selector,
            affinity: raw.affinity,
            tolerations: raw.tolerations,
            scheduling_gates: raw.scheduling_gates,
            topology_spread: raw.topology_spread_constraints,
            ports,
            claims,
            resource_claims: raw.resource_claims,
            requests: resources.requests(),
            non_zero: non_zero(resources),
            host_network: raw.host_network,
        }
    }
}

fn non_zero(mut resources: PodResources) -> NonZero {
    for container in resources.containers.iter_mut().chain(&mut resources.init_containers) {
        let requests = &mut container.resources.requests;
        requests.entry("cpu".to_owned()).or_insert(Quantity::from_milli(DEFAULT_MILLI_CPU));
        let memory = Quantity::from_milli(DEFAULT_MEMORY_BYTES * 1000);
        requests.entry("memory".to_owned()).or_insert(memory);
    }
    let all = resources.requests();
    let milli_cpu = all.get("cpu").map_or(0, |q| q.milli_value());
    NonZero { milli_cpu, memory_bytes: all.get("memory").map_or(0, |q| q.value()) }
}

//! A pod as a worker keeps it: its identity, and its object as compact JSON that is read when needed.
//! A typed Pod is tens of kilobytes of heap; its JSON is a tenth of that.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{
    Container, EphemeralContainer, ObjectReference, Pod, PodCondition, PodSpec, PodStatus,
};
use keelson_semantics::{PodResources, QosClass};

use crate::allocation::ByContainer;
use crate::container::fields::{quantities, requirements};
use crate::machine::Role;

/// One pod's object at one revision.
#[derive(Debug)]
pub struct Stored {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// Conditions in the object, whoever wrote them.
    pub conditions: Vec<PodCondition>,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// Its quality-of-service class.
    pub qos: QosClass,
    json: Box<[u8]>,
}

/// Why an object cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("pod {namespace}/{name} cannot be read: {source}")]
pub struct Unreadable {
    namespace: String,
    name: String,
    source: serde_json::Error,
}

impl Stored {
    /// Keeps what is needed of `pod`: all but its status and the bookkeeping of field managers.
    pub fn new(mut pod: Pod) -> Result<Self, Unreadable> {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let name = pod.metadata.name.clone().unwrap_or_default();
        let status = pod.status.take().unwrap_or_default();
        pod.metadata.managed_fields = None;
        let fail = |source| Unreadable { namespace: namespace.clone(), name: name.clone(), source };
        let json = serde_json::to_vec(&pod).map_err(fail)?.into_boxed_slice();
        let resources = resources(&json).map_err(fail)?;
        Ok(Self {
            uid: pod.metadata.uid.unwrap_or_default(),
            conditions: status.conditions.unwrap_or_default(),
            generation: pod.metadata.generation,
            qos: resources.qos_class(),
            namespace,
            name,
            json,
        })
    }

    /// The object without its status.
    pub fn pod(&self) -> Pod {
        serde_json::from_slice(&self.json).expect("written by `new` from the same type")
    }

    /// Its spec; empty where the object has none.
    pub fn spec(&self) -> PodSpec {
        self.pod().spec.unwrap_or_default()
    }

    /// What its containers ask for.
    pub fn resources(&self) -> PodResources {
        resources(&self.json).expect("read once by `new`")
    }

    /// The same with these amounts in its containers; None where that is what it has.
    pub(crate) fn with_resources(&self, given: &ByContainer) -> Option<Self> {
        let mut pod = self.pod();
        let spec = pod.spec.as_mut()?;
        let mut changed = false;
        for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
            let Some(given) = given.get(&container.name) else { continue };
            if **given != requirements(container.resources.as_ref()) {
                let resources = container.resources.get_or_insert_default();
                (resources.requests, resources.limits) =
                    (quantities(&given.requests), quantities(&given.limits));
                changed = true;
            }
        }
        if !changed {
            return None;
        }
        let json = serde_json::to_vec(&pod).expect("read from JSON").into_boxed_slice();
        Some(Self {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            conditions: self.conditions.clone(),
            generation: self.generation,
            qos: self.qos,
            json,
        })
    }

    /// What its events refer to; `container` puts the field path of that container in.
    pub fn reference(&self, container: Option<(&str, Role)>) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(self.namespace.clone()),
            name: Some(self.name.clone()),
            uid: Some(self.uid.clone()),
            field_path: container.map(|(name, role)| format!("spec.{}{{{name}}}", role.list())),
            resource_version: None,
        }
    }
}

fn resources(json: &[u8]) -> Result<PodResources, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct WithSpec {
        #[serde(default)]
        spec: PodResources,
    }
    Ok(serde_json::from_slice::<WithSpec>(json)?.spec)
}

/// The container of that name, whichever list it is in: names are unique over all of them.
pub(crate) fn container<'a>(spec: &'a PodSpec, name: &str) -> Option<Cow<'a, Container>> {
    let mut lasting = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut ephemeral = spec.ephemeral_containers.iter().flatten();
    lasting
        .find(|container| container.name == name)
        .map(Cow::Borrowed)
        .or_else(|| ephemeral.find(|one| one.name == name).map(as_container).map(Cow::Owned))
}

/// An ephemeral container as any other. Fields that one cannot have are left out; the API refuses them.
pub(crate) fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let own = ephemeral.clone();
    Container {
        name: own.name,
        image: own.image,
        command: own.command,
        args: own.args,
        working_dir: own.working_dir,
        env: own.env,
        env_from: own.env_from,
        volume_mounts: own.volume_mounts,
        volume_devices: own.volume_devices,
        termination_message_path: own.termination_message_path,
        termination_message_policy: own.termination_message_policy,
        image_pull_policy: own.image_pull_policy,
        security_context: own.security_context,
        stdin: own.stdin,
        stdin_once: own.stdin_once,
        tty: own.tty,
        ..Container::default()
    }
}

/// Whether a status says that the pod has ended.
pub(crate) fn is_terminal(status: Option<&PodStatus>) -> bool {
    status.and_then(|s| s.phase.as_deref()).is_some_and(|phase| matches!(phase, "Succeeded" | "Failed"))
}

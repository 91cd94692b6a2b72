//! A pod as the checks look at it, and the words that they share.

use serde_json::Value;
use std::collections::BTreeSet;

use crate::plugin::{list, text};

/// Annotations by which profiles were named before there was a field.
pub(super) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// A pod, or what pods are made from.
pub(super) struct Subject<'a> {
    pub(super) object: &'a Value,
    pub(super) containers: Vec<&'a Value>,
}

impl<'a> Subject<'a> {
    pub(super) fn of_pod(object: &'a Value) -> Self {
        let places = ["/spec/initContainers", "/spec/containers", "/spec/ephemeralContainers"];
        Self { object, containers: places.iter().flat_map(|place| list(object, place)).collect() }
    }

    pub(super) fn spec(&self, pointer: &str) -> Option<&'a Value> {
        self.object.pointer("/spec")?.pointer(pointer).filter(|value| !value.is_null())
    }

    pub(super) fn is_set(&self, pointer: &str) -> bool {
        self.spec(pointer) == Some(&Value::Bool(true))
    }

    pub(super) fn is_windows(&self) -> bool {
        self.spec("/os/name").and_then(Value::as_str) == Some("windows")
    }

    /// A pod with users of its own: its root is nobody on the node.
    pub(super) fn has_own_users(&self) -> bool {
        self.spec("/hostUsers") == Some(&Value::Bool(false))
    }

    /// The names of the containers that a condition holds for, in their order.
    pub(super) fn which(&self, holds: impl Fn(&Value) -> bool) -> Vec<&'a str> {
        self.containers.iter().filter(|one| holds(one)).map(|one| text(one, "/name")).collect()
    }

    /// The values at a place of the security contexts that are wrong, and who has them.
    pub(super) fn wrong(
        &self,
        field: &str,
        is_right: impl Fn(&str) -> bool,
    ) -> (Option<Who<'a>>, BTreeSet<&'a str>) {
        let pointer = format!("/securityContext/{field}");
        let mut values = BTreeSet::new();
        let mut look = |value: Option<&'a Value>| {
            let found = value.and_then(Value::as_str).filter(|text| !text.is_empty() && !is_right(text));
            values.extend(found);
            found.is_some()
        };
        let pod = look(self.spec(&pointer));
        let mut containers = Vec::new();
        for container in &self.containers {
            if look(container.pointer(&pointer)) {
                containers.push(text(container, "/name"));
            }
        }
        (Who::of(pod, containers), values)
    }
}

/// Who does something: the pod as a whole, some containers, or both.
pub(super) struct Who<'a> {
    pub(super) pod: bool,
    pub(super) containers: Vec<&'a str>,
}

impl<'a> Who<'a> {
    pub(super) fn of(pod: bool, containers: Vec<&'a str>) -> Option<Self> {
        (pod || !containers.is_empty()).then_some(Self { pod, containers })
    }

    /// `pod and containers "a", "b"`.
    pub(super) fn words(&self) -> String {
        match (self.pod, self.containers.is_empty()) {
            (true, true) => "pod".to_owned(),
            (true, false) => format!("pod and {}", containers(&self.containers)),
            (false, _) => containers(&self.containers),
        }
    }
}

/// `container "a"`, `containers "a", "b"`.
pub(super) fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names.iter().copied()))
}

pub(super) fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `"a", "b"`.
pub(super) fn quoted<'a>(all: impl IntoIterator<Item = &'a str>) -> String {
    let all: Vec<String> = all.into_iter().map(|one| format!("\"{one}\"")).collect();
    all.join(", ")
}

//! Which resources the server serves, from its discovery documents. Does not cache: callers decide how fresh they need it.

use crate::{Api, ApiError, Resource, api::chain};
use serde::Deserialize;

/// A served resource with what can be done to it.
#[derive(Clone, Debug)]
pub struct Served {
    /// The resource, in its group's preferred version.
    pub resource: Resource,
    /// Verbs of the collection.
    pub verbs: Vec<String>,
}

impl Served {
    /// Can all of these be done?
    pub fn allows(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|v| self.verbs.iter().any(|have| have == v))
    }
}

/// What was found, and what could not be asked.
#[derive(Debug, Default)]
pub struct Discovery {
    /// Each resource once.
    pub resources: Vec<Served>,
    /// Group versions that gave no answer, with the reason. Nothing is known of their resources.
    pub failed: Vec<(String, String)>,
}

impl Discovery {
    /// The resource of a kind, whatever the version it is asked in.
    pub fn by_kind(&self, group: &str, kind: &str) -> Option<&Resource> {
        self.resources.iter().map(|s| &s.resource).find(|r| r.group == group && r.kind == kind)
    }

    /// Is this resource served?
    pub fn serves(&self, resource: &Resource) -> bool {
        self.resources
            .iter()
            .any(|s| s.resource.group == resource.group && s.resource.plural == resource.plural)
    }
}

#[derive(Deserialize)]
struct GroupList {
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    versions: Vec<GroupVersion>,
    preferred_version: GroupVersion,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupVersion {
    group_version: String,
}

#[derive(Deserialize)]
struct ResourceList {
    #[serde(default)]
    resources: Vec<ApiResource>,
}

#[derive(Deserialize)]
struct ApiResource {
    name: String,
    kind: String,
    namespaced: bool,
    #[serde(default)]
    verbs: Vec<String>,
}

/// Asks for all groups. An error means that not even the list of groups is known.
pub async fn discover(api: &Api) -> Result<Discovery, ApiError> {
    let mut found = Discovery::default();
    let groups: GroupList = api.get_path("/apis").await?;
    let core: ResourceList = api.get_path("/api/v1").await?;
    found.take("v1", core);
    for group in groups.groups {
        let preferred = group.preferred_version.group_version;
        let others = group.versions.into_iter().map(|v| v.group_version).filter(|v| *v != preferred);
        let all: Vec<String> = std::iter::once(preferred.clone()).chain(others).collect();
        for version in all {
            match api.get_path::<ResourceList>(&format!("/apis/{version}")).await {
                Ok(list) => found.take(&version, list),
                Err(e) => found.failed.push((version, chain(&e))),
            }
        }
    }
    Ok(found)
}

impl Discovery {
    /// Subresources are not resources; a resource in several versions counts once, in the first given.
    fn take(&mut self, group_version: &str, list: ResourceList) {
        let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
        for entry in list.resources.into_iter().filter(|r| !r.name.contains('/')) {
            let resource = Resource {
                group: group.to_owned().into(),
                version: version.to_owned().into(),
                plural: entry.name.into(),
                kind: entry.kind.into(),
                namespaced: entry.namespaced,
            };
            if !self.serves(&resource) {
                self.resources.push(Served { resource, verbs: entry.verbs });
            }
        }
    }
}

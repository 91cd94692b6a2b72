//! The names in a quota's `hard`, and the resource whose objects each counts.

/// A resource, by group and plural.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source<'a> {
    /// "" for the core group.
    pub group: &'a str,
    /// For example `pods`.
    pub plural: &'a str,
}

/// `<class>.storageclass.storage.k8s.io/<what>`.
pub(crate) const BY_CLASS: &str = ".storageclass.storage.k8s.io/";

/// `<class>.deviceclass.resource.k8s.io/devices`, after the class.
pub(crate) const BY_DEVICE_CLASS: &str = ".deviceclass.resource.k8s.io/devices";

/// Whose devices are counted.
pub(crate) const DEVICE_CLAIMS: (&str, &str) = ("resource.k8s.io", "resourceclaims");

/// Resources of the core group that have a name of their own beside `count/`.
pub(crate) fn is_plain(plural: &str) -> bool {
    matches!(
        plural,
        "configmaps"
            | "persistentvolumeclaims"
            | "pods"
            | "replicationcontrollers"
            | "resourcequotas"
            | "secrets"
            | "services"
    )
}

/// `count/deployments.apps`.
pub(crate) fn count_of(group: &str, plural: &str) -> String {
    if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") }
}

/// Whose objects are counted under a name; None for a name that nothing is counted under.
pub fn source_of(name: &str) -> Option<Source<'_>> {
    let core = |plural| Some(Source { group: "", plural });
    if let Some(counted) = name.strip_prefix("count/") {
        let (plural, group) = counted.split_once('.').unwrap_or((counted, ""));
        return Some(Source { group, plural });
    }
    if name == "requests.storage" || name.contains(BY_CLASS) {
        return core("persistentvolumeclaims");
    }
    if name.ends_with(BY_DEVICE_CLASS) {
        let (group, plural) = DEVICE_CLAIMS;
        return Some(Source { group, plural });
    }
    if name.starts_with("services.") {
        return core("services");
    }
    if is_plain(name) {
        return core(name);
    }
    is_of_pods(name).then_some(Source { group: "", plural: "pods" })
}

/// What pods ask for: compute resources, huge pages, and extended resources by their requests.
fn is_of_pods(name: &str) -> bool {
    let plain = |name: &str| matches!(name, "cpu" | "memory" | "ephemeral-storage");
    let requested = name.strip_prefix("requests.");
    plain(name)
        || name.starts_with("hugepages-")
        || name.strip_prefix("limits.").is_some_and(plain)
        || requested.is_some_and(|name| plain(name) || name.starts_with("hugepages-") || name.contains('/'))
}

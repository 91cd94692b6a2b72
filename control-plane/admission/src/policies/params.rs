//! The parameters that a binding gives to its policy.

use keelson_registry::{Attributes, Kind, Registry, Status, meta};
use keelson_semantics::label_selector::{LabelSelector, LabelSelectorSpec};
use serde_json::Value;
use std::sync::Arc;

use super::compiled::{Binding, Policy};

/// The objects with which a policy is evaluated, one after the other: Null where it takes none; nothing at all where
/// none was found and the binding allows that.
///
/// # Errors
/// Why it cannot be configured, in upstream's words.
pub(super) async fn collect(
    registry: &Registry,
    policy: &Policy,
    binding: &Binding,
    attributes: &Attributes<'_>,
) -> Result<Vec<Value>, String> {
    let Some((api_version, kind)) = &policy.param_kind else { return Ok(vec![Value::Null]) };
    let Some(reference) = &binding.param_ref else { return Ok(vec![Value::Null]) };
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = registry.table().by_kind(group, version, kind).filter(|kind| kind.is_stored()).cloned();
    let kind = kind.ok_or_else(|| {
        let (_, name) =
            policy.param_kind.as_ref().map_or(("", ""), |(version, kind)| (version.as_str(), kind.as_str()));
        format!("failed to find resource referenced by paramKind: '{group}/{version}, Kind={name}'")
    })?;
    let namespace = namespace(&kind, reference, attributes)?;
    let found = match meta::text(reference, &["name"]) {
        "" => selected(registry, &kind, namespace, reference).await?,
        name => named(registry, &kind, namespace, name)
            .await
            .map_err(|status| status.message)?
            .into_iter()
            .collect(),
    };
    if found.is_empty() && meta::text(reference, &["parameterNotFoundAction"]) == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    Ok(found)
}

/// Where the parameters are; none for a cluster-scoped kind.
fn namespace<'a>(
    kind: &Kind,
    reference: &'a Value,
    attributes: &Attributes<'a>,
) -> Result<Option<&'a str>, String> {
    let given = meta::text(reference, &["namespace"]);
    match (kind.namespaced, given, attributes.namespace) {
        (false, "", _) => Ok(None),
        (false, ..) => {
            Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned())
        }
        (true, "", "") => {
            Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                .to_owned())
        }
        (true, "", own) => Ok(Some(own)),
        (true, given, _) => Ok(Some(given)),
    }
}

async fn named(
    registry: &Registry,
    kind: &Arc<Kind>,
    namespace: Option<&str>,
    name: &str,
) -> Result<Option<Value>, Status> {
    if let Some(entry) = registry.cached(kind, namespace, name) {
        return Ok(Some(entry.to_value()));
    }
    match registry.get(kind, namespace, name, None).await {
        Ok(entry) => Ok(Some(entry.to_value())),
        Err(status) if status.code == 404 => Ok(None),
        Err(status) => Err(status),
    }
}

async fn selected(
    registry: &Registry,
    kind: &Kind,
    namespace: Option<&str>,
    reference: &Value,
) -> Result<Vec<Value>, String> {
    let selector = meta::at(reference, &["selector"]).cloned().unwrap_or_default();
    let selector: LabelSelectorSpec = serde_json::from_value(selector).map_err(|error| error.to_string())?;
    let selector = LabelSelector::from_spec(&selector).map_err(|error| error.to_string())?;
    let all = registry.all(kind, namespace).await.map_err(|status| status.message)?;
    let all = all.into_iter().map(|entry| entry.to_value());
    let labels =
        |object: &Value| meta::at(object, &["metadata", "labels"]).and_then(Value::as_object).cloned();
    Ok(all.filter(|object| selector.matches(&labels(object))).collect())
}

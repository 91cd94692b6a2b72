//! The scale subresource: autoscaling/v1 Scale over any kind with spec.replicas, spec.selector and status.replicas.

use crate::{kind::Kind, meta, status::Status};
use keelson_schema::FieldError;
use keelson_semantics::{LabelSelector, label_selector::LabelSelectorSpec};
use serde::Deserialize;
use serde_json::{Map, Value, json};

impl super::Registry {
    /// GET of the scale subresource.
    pub async fn get_scale(
        &self,
        kind: &std::sync::Arc<Kind>,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Value, Status> {
        of(kind, &self.get(kind, namespace, name, None).await?.to_value())
    }
}

/// The Scale of an object.
pub(crate) fn of(kind: &Kind, object: &Value) -> Result<Value, Status> {
    if kind.subresource("scale").is_none() {
        return Err(Status::method_not_allowed(&kind.group_resource(), "scale"));
    }
    let mut metadata = Map::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = meta::at(object, &["metadata", key]) {
            metadata.insert(key.to_owned(), value.clone());
        }
    }
    let mut spec = Map::new();
    let paths = Paths::of(kind);
    let replicas = match (meta::number(object, &paths.replicas), &kind.custom) {
        (None, Some(_)) => {
            let path = paths.replicas.join(".");
            return Err(Status::internal(format!("the spec replicas field \".{path}\" does not exist")));
        }
        (replicas, _) => replicas.unwrap_or_default(),
    };
    if replicas != 0 {
        spec.insert("replicas".to_owned(), json!(replicas));
    }
    let mut status = json!({"replicas": meta::number(object, &paths.observed).unwrap_or_default()});
    let selector = match (&kind.custom, &paths.selector) {
        (None, _) => selector_text(object)?,
        (Some(_), Some(path)) => meta::text(object, path).to_owned(),
        (Some(_), None) => String::new(),
    };
    if !selector.is_empty() {
        status["selector"] = json!(selector);
    }
    Ok(json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": spec, "status": status,
    }))
}

/// Where a kind's objects have what a Scale shows.
struct Paths<'a> {
    replicas: Vec<&'a str>,
    observed: Vec<&'a str>,
    /// A custom kind's, which is a text.
    selector: Option<Vec<&'a str>>,
}

impl<'a> Paths<'a> {
    fn of(kind: &'a Kind) -> Self {
        fn names(path: &[String]) -> Vec<&str> {
            path.iter().map(String::as_str).collect()
        }
        match kind.custom.as_ref().and_then(|custom| custom.scale()) {
            Some(paths) => Self {
                replicas: names(&paths.replicas),
                observed: names(&paths.observed),
                selector: paths.selector.as_deref().map(names),
            },
            None => Self {
                replicas: vec!["spec", "replicas"],
                observed: vec!["status", "replicas"],
                selector: None,
            },
        }
    }
}

/// Sets the number of replicas of an object, or a part of one.
pub(crate) fn set_replicas(kind: &Kind, object: &mut Value, replicas: Value) {
    let path = Paths::of(kind).replicas;
    let Some((last, parents)) = path.split_last() else { return };
    let holder = parents.iter().fold(object, |value, name| {
        meta::map_of(value).entry((*name).to_owned()).or_insert_with(|| json!({}))
    });
    meta::map_of(holder).insert((*last).to_owned(), replicas);
}

/// Empty where the object has none. One that cannot be read is an error: whoever scales by it would count all pods.
fn selector_text(object: &Value) -> Result<String, Status> {
    let Some(selector) = meta::at(object, &["spec", "selector"]) else { return Ok(String::new()) };
    if let Some(pairs) = plain(selector) {
        return Ok(LabelSelector::from_match_labels(pairs).to_string());
    }
    let spec = LabelSelectorSpec::deserialize(selector).map_err(Status::internal)?;
    Ok(LabelSelector::from_spec(&spec).map_err(Status::internal)?.to_string())
}

/// The selector of a ReplicationController: labels themselves, where others have what selects by labels.
fn plain(selector: &Value) -> Option<Vec<(&str, &str)>> {
    selector.as_object()?.iter().map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
}

/// The object with the number of replicas that a Scale asks for, and the Scale's resourceVersion as precondition.
pub(crate) fn into_object(kind: &Kind, old: &Value, scale: &Value) -> Result<Value, Status> {
    let replicas = meta::number(scale, &["spec", "replicas"]).unwrap_or_default();
    if replicas < 0 {
        let path = "spec.replicas".into();
        let error = FieldError::invalid(&path, replicas, "must be greater than or equal to 0");
        let group_kind = crate::status::GroupKind::new("autoscaling", "Scale");
        return Err(Status::invalid(&group_kind, meta::field(scale, "name"), vec![error]));
    }
    let mut object = old.clone();
    set_replicas(kind, &mut object, json!(replicas));
    debug_assert!(kind.subresource("scale").is_some());
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_that_cannot_be_read_is_not_one_of_everything() {
        let text = |selector: Value| selector_text(&json!({"spec": {"selector": selector}}));
        assert_eq!(text(json!({"matchLabels": {"app": "web"}})).as_deref(), Ok("app=web"));
        assert_eq!(text(json!({"b": "2", "a": "1"})).as_deref(), Ok("a=1,b=2"));
        assert!(text(json!({"matchExpressions": [{"key": "app", "operator": "Near"}]})).is_err());
        assert_eq!(selector_text(&json!({"spec": {}})).as_deref(), Ok(""));
    }
}

//! Mending a default role or binding: what is missing comes back, what was added stays.
//! (<https://kubernetes.io/docs/reference/access-authn-authz/rbac/#auto-reconciliation>)

use serde::Deserialize;
use serde_json::Value;

use crate::authz::PolicyRule;
use crate::authz::rbac::escalation::uncovered;

/// The annotation by which an administrator keeps the server's hands off: `"false"`.
pub(super) const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// What an apiserver that starts has to do about a default object.
#[derive(Clone, Debug, PartialEq)]
pub enum Reconcile {
    /// Nothing.
    UpToDate,
    /// It is not there: create it.
    Create,
    /// Store this instead of what is there.
    Update(Value),
    /// The binding names another role, which no update may change: delete it, then create this.
    Replace(Value),
}

/// Compares what is there with what a cluster starts with.
pub fn reconcile(existing: Option<&Value>, wanted: &Value) -> Reconcile {
    let Some(existing) = existing else { return Reconcile::Create };
    let annotations = existing.pointer("/metadata/annotations");
    if annotations.and_then(|annotations| annotations.get(AUTOUPDATE)).is_some_and(|value| value == "false") {
        return Reconcile::UpToDate;
    }
    if existing.get("roleRef").zip(wanted.get("roleRef")).is_some_and(|(is, should)| is != should) {
        return Reconcile::Replace(with_kept_subjects(existing, wanted));
    }
    let mut mended = existing.clone();
    for kind in ["labels", "annotations"] {
        let Some(should) = wanted["metadata"][kind].as_object() else { continue };
        for (key, value) in should {
            if mended["metadata"][kind].get(key).is_none() {
                mended["metadata"][kind][key] = value.clone();
            }
        }
    }
    match wanted.get("aggregationRule") {
        // The rules are the aggregation controller's.
        Some(rule) => mended["aggregationRule"] = rule.clone(),
        None => append_missing_rules(&mut mended, wanted),
    }
    append_missing_subjects(&mut mended, wanted);
    if mended == *existing { Reconcile::UpToDate } else { Reconcile::Update(mended) }
}

fn append_missing_rules(mended: &mut Value, wanted: &Value) {
    let Some(should) = wanted["rules"].as_array() else { return };
    let parse = |rule: &Value| PolicyRule::deserialize(rule).ok();
    let held: Vec<PolicyRule> = mended["rules"].as_array().into_iter().flatten().filter_map(parse).collect();
    for rule in should {
        let covered =
            parse(rule).is_some_and(|rule| uncovered(&held, std::slice::from_ref(&rule)).is_empty());
        if !covered {
            push(mended, "rules", rule);
        }
    }
}

fn append_missing_subjects(mended: &mut Value, wanted: &Value) {
    for subject in wanted["subjects"].as_array().into_iter().flatten() {
        let known = mended["subjects"].as_array().is_some_and(|known| known.contains(subject));
        if !known {
            push(mended, "subjects", subject);
        }
    }
}

fn with_kept_subjects(existing: &Value, wanted: &Value) -> Value {
    let mut replacement = wanted.clone();
    append_missing_subjects(&mut replacement, existing);
    replacement
}

fn push(object: &mut Value, field: &str, item: &Value) {
    match object[field].as_array_mut() {
        Some(list) => list.push(item.clone()),
        None => object[field] = Value::Array(vec![item.clone()]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bootstrap::rbac_objects;

    fn named(kind: &str, name: &str) -> Value {
        let found = rbac_objects()
            .into_iter()
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        found.unwrap()
    }

    #[test]
    fn what_was_removed_comes_back_and_what_was_added_stays() {
        let wanted = named("ClusterRole", "system:basic-user");
        assert_eq!(reconcile(None, &wanted), Reconcile::Create);
        assert_eq!(reconcile(Some(&wanted), &wanted), Reconcile::UpToDate);

        let mut changed = wanted.clone();
        let added = json!({ "verbs": ["get"], "apiGroups": ["x"], "resources": ["y"] });
        changed["rules"][0] = added.clone();
        let Reconcile::Update(mended) = reconcile(Some(&changed), &wanted) else { panic!() };
        let rules = mended["rules"].as_array().unwrap();
        assert!(rules.contains(&added) && rules.contains(&wanted["rules"][0]));
        assert_eq!(reconcile(Some(&mended), &wanted), Reconcile::UpToDate);

        changed["metadata"]["annotations"][AUTOUPDATE] = "false".into();
        assert_eq!(reconcile(Some(&changed), &wanted), Reconcile::UpToDate);
    }

    #[test]
    fn aggregated_rules_are_left_to_the_controller() {
        let wanted = named("ClusterRole", "view");
        let mut filled = wanted.clone();
        filled["rules"] = json!([{ "verbs": ["get"], "apiGroups": [""], "resources": ["pods"] }]);
        assert_eq!(reconcile(Some(&filled), &wanted), Reconcile::UpToDate);
    }

    #[test]
    fn a_binding_regains_its_subjects_and_its_role() {
        let wanted = named("ClusterRoleBinding", "cluster-admin");
        let mut changed = wanted.clone();
        let jane = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane" });
        changed["subjects"] = json!([jane]);
        let Reconcile::Update(mended) = reconcile(Some(&changed), &wanted) else { panic!() };
        assert_eq!(mended["subjects"].as_array().unwrap().len(), 2);
        changed["roleRef"]["name"] = "view".into();
        let Reconcile::Replace(replacement) = reconcile(Some(&changed), &wanted) else { panic!() };
        assert_eq!(replacement["roleRef"]["name"], "cluster-admin");
        assert_eq!(replacement["subjects"].as_array().unwrap().len(), 2);
    }
}

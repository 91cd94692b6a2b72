//! Which names a definition gets, and what its conditions are: a pure plan over all definitions.
//!
//! Rules: upstream's naming, establishing and API approval controllers. A name belongs to whom it was accepted for first,
//! as the statuses tell; built-in kinds were there before all. Whoever carries the plan out compares revisions, so that
//! several servers may plan at a time. A deviation: what is accepted is established at once, since a server serves what
//! its own caches show established, and needs no seconds for others to follow.

use super::definition::{Definition, Names};
use crate::{meta, table::KindTable};
use serde_json::{Map, Value, json};

/// Where the reason for a protected group stands.
pub const API_APPROVED: &str = "api-approved.kubernetes.io";

/// Names that are taken in one group.
#[derive(Default)]
struct Taken {
    resources: Vec<String>,
    kinds: Vec<String>,
}

impl Taken {
    fn add(&mut self, names: &Names) {
        self.resources.extend([names.plural.clone(), names.singular.clone()]);
        self.resources.extend(names.short_names.iter().cloned());
        self.kinds.extend([names.kind.clone(), names.list_kind.clone()]);
    }
}

/// The status that a definition should have; none when it has it. `all` are all definitions, itself among them.
pub fn plan(own: &Definition, all: &[&Definition], builtin: &KindTable, now: &str) -> Option<Value> {
    let taken = taken(own, all, builtin);
    let (accepted, conflict) = accept(&own.spec.names, &own.status.accepted_names, &taken);
    let mut conditions = own.status.conditions.clone();
    let (status, reason, message) = match &conflict {
        Some((reason, message)) => ("False", *reason, message.as_str()),
        None => ("True", "NoConflicts", "no conflicts found"),
    };
    set(&mut conditions, "NamesAccepted", status, reason, message, now);
    if !own.is("Established") {
        let (status, reason, message) = match status {
            "True" => ("True", "InitialNamesAccepted", "the initial names have been accepted"),
            _ => ("False", "NotAccepted", "not all names are accepted"),
        };
        set(&mut conditions, "Established", status, reason, message, now);
    }
    if is_protected(&own.spec.group) {
        let approval = own.metadata.annotations.get(API_APPROVED).map_or("", String::as_str);
        let (status, reason, message) = if approval.starts_with("unapproved") {
            ("False", "UnapprovedAnnotation", format!("not approved: {approval:?}"))
        } else {
            ("True", "ApprovedAnnotation", format!("approved in {approval}"))
        };
        set(&mut conditions, "KubernetesAPIApprovalPolicyConformant", status, reason, &message, now);
    }
    (accepted != own.status.accepted_names || conditions != own.status.conditions).then(|| {
        json!({
            "acceptedNames": accepted,
            "conditions": conditions,
            "storedVersions": own.status.stored_versions,
        })
    })
}

/// Groups of Kubernetes itself.
pub fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

fn taken(own: &Definition, all: &[&Definition], builtin: &KindTable) -> Taken {
    let mut taken = Taken::default();
    let others = all
        .iter()
        .filter(|other| other.spec.group == own.spec.group && other.metadata.name != own.metadata.name);
    others.for_each(|other| taken.add(&other.status.accepted_names));
    for kind in builtin.iter().filter(|kind| kind.custom.is_none() && kind.group == own.spec.group) {
        taken.resources.extend([kind.plural.to_string(), kind.singular.to_string()]);
        taken.resources.extend(kind.short_names.iter().map(ToString::to_string));
        taken.kinds.extend([kind.kind.to_string(), kind.list_kind.to_string()]);
    }
    taken
}

type Conflict = Option<(&'static str, String)>;

/// What of the wanted names is accepted, and the last conflict, as upstream tells only that.
fn accept(wanted: &Names, before: &Names, taken: &Taken) -> (Names, Conflict) {
    let mut accepted = before.clone();
    let refused = |name: &str, before: &str, used: &[String]| {
        (name != before && used.iter().any(|used| used == name))
            .then(|| format!("{name:?} is already in use"))
    };
    let one = |reason, wanted: &String, slot: &mut String, used: &[String]| {
        let Some(message) = refused(wanted, slot, used) else {
            slot.clone_from(wanted);
            return None;
        };
        Some((reason, message))
    };
    let plural = one("PluralConflict", &wanted.plural, &mut accepted.plural, &taken.resources);
    let singular = one("SingularConflict", &wanted.singular, &mut accepted.singular, &taken.resources);
    let kind = one("KindConflict", &wanted.kind, &mut accepted.kind, &taken.kinds);
    let list_kind = one("ListKindConflict", &wanted.list_kind, &mut accepted.list_kind, &taken.kinds);
    let new = wanted.short_names.iter().filter(|name| !before.short_names.contains(name));
    let wrong: Vec<String> = new.filter_map(|name| refused(name, "", &taken.resources)).collect();
    let short = match wrong.as_slice() {
        [] => {
            accepted.short_names.clone_from(&wanted.short_names);
            None
        }
        [one] => Some(("ShortNamesConflict", one.clone())),
        several => Some(("ShortNamesConflict", format!("[{}]", several.join(", ")))),
    };
    let conflict = [plural, singular, short, kind, list_kind].into_iter().flatten().last();
    accepted.categories.clone_from(&wanted.categories);
    (accepted, conflict)
}

/// Sets a condition; its time moves with its status.
pub(crate) fn set(
    conditions: &mut Vec<Value>,
    of: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: &str,
) {
    let at = conditions.iter().position(|condition| meta::text(condition, &["type"]) == of);
    let since = at
        .map(|at| &conditions[at])
        .filter(|condition| meta::text(condition, &["status"]) == status)
        .map_or(now, |condition| meta::text(condition, &["lastTransitionTime"]))
        .to_owned();
    let mut next = at.map_or_else(Map::new, |at| conditions[at].as_object().cloned().unwrap_or_default());
    for (key, value) in [
        ("type", of),
        ("status", status),
        ("reason", reason),
        ("message", message),
        ("lastTransitionTime", &since),
    ] {
        next.insert(key.to_owned(), json!(value));
    }
    match at {
        Some(at) => conditions[at] = Value::Object(next),
        None => conditions.push(Value::Object(next)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2024-01-02T00:00:00Z";

    fn definition(group: &str, plural: &str, kind: &str, short: &[&str]) -> Definition {
        let object = json!({
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "singular": kind.to_lowercase(),
                "kind": kind, "listKind": format!("{kind}List"), "shortNames": short}},
        });
        Definition::read(&object).expect("a definition")
    }

    fn with(mut definition: Definition, status: &Value) -> Definition {
        definition.status = serde_json::from_value(status.clone()).expect("a status");
        definition
    }

    #[test]
    fn free_names_are_accepted_and_established_once() {
        let own = definition("example.com", "tabs", "Tab", &["t"]);
        let table = KindTable::builtin();
        let status = plan(&own, &[&own], &table, NOW).expect("it has no status yet");
        assert_eq!(status["acceptedNames"]["kind"], "Tab");
        let own = with(own, &status);
        assert!(own.is("NamesAccepted") && own.is("Established"));
        assert_eq!(plan(&own, &[&own], &table, "2025-01-01T00:00:00Z"), None);
    }

    #[test]
    fn names_of_others_are_refused_until_they_are_free() {
        let table = KindTable::builtin();
        let first = definition("example.com", "tabs", "Tab", &["t"]);
        let first = with(first.clone(), &plan(&first, &[&first], &table, NOW).expect("accepted"));
        for (plural, kind, short, reason) in [
            ("others", "Tab", "o", "ListKindConflict"),
            ("others", "Other", "t", "ShortNamesConflict"),
            ("others", "Tabs", "tab", "ShortNamesConflict"),
        ] {
            let second = definition("example.com", plural, kind, &[short]);
            let status = plan(&second, &[&first, &second], &table, NOW).expect("a status");
            let second = with(second, &status);
            assert!(!second.is("NamesAccepted") && !second.is("Established"), "{plural}");
            let condition = second.condition("NamesAccepted").expect("it is there");
            assert_eq!(condition["reason"], reason);
            let alone = plan(&second, &[&second], &table, NOW).expect("the name is free");
            assert!(with(second, &alone).is("Established"));
        }
        let elsewhere = definition("example.org", "tabs", "Tab", &["t"]);
        let status = plan(&elsewhere, &[&first, &elsewhere], &table, NOW).expect("a status");
        assert!(with(elsewhere, &status).is("Established"));
    }

    #[test]
    fn built_in_names_are_taken() {
        let own = definition("storage.k8s.io", "things", "StorageClass", &[]);
        let status = plan(&own, &[&own], &KindTable::builtin(), NOW).expect("a status");
        let own = with(own, &status);
        assert_eq!(own.condition("NamesAccepted").map(|c| &c["reason"]), Some(&json!("ListKindConflict")));
    }
}

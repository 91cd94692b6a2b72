//! What has to be written so that the API has the built-in objects. Pure.
//!
//! As upstream's ensurer: mandatory objects are put right whatever they say; suggested ones while their annotation
//! `apf.kubernetes.io/autoupdate-spec` is true, or is not there and nobody has changed the object; what carries the annotation and
//! is built in no longer goes. Whatever is missing is made, suggested or not: who wants one without effect changes it.

use crate::builtin::{AUTO_UPDATE, MANDATORY, same_spec};
use serde_json::{Value, json};

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Make it.
    Create(Value),
    /// Replace it; the object carries the resourceVersion that was seen.
    Update(Value),
    /// Remove it, as it was seen.
    Delete {
        /// Its name.
        name: String,
        /// Its resourceVersion.
        resource_version: String,
    },
}

/// The writes for the objects of one kind; `wanted` are all that are built in.
pub fn plan(existing: &[Value], wanted: &[Value]) -> Vec<Change> {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut changes = Vec::new();
    for wanted in wanted {
        match existing.iter().find(|existing| name(existing) == name(wanted)) {
            None => changes.push(Change::Create(wanted.clone())),
            Some(existing) => changes.extend(mended(existing, wanted).map(Change::Update)),
        }
    }
    let obsolete = existing.iter().filter(|existing| {
        auto_update(existing) == Some(true) && !wanted.iter().any(|wanted| name(wanted) == name(existing))
    });
    changes.extend(obsolete.map(|existing| Change::Delete {
        name: name(existing),
        resource_version: existing["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned(),
    }));
    changes
}

/// The object as it should be; None where it is so, or is being deleted.
fn mended(existing: &Value, wanted: &Value) -> Option<Value> {
    if !existing["metadata"]["deletionTimestamp"].is_null() {
        return None;
    }
    let is_mandatory = MANDATORY.iter().any(|name| wanted["metadata"]["name"] == *name);
    let said = auto_update(existing);
    let follows = is_mandatory || said.unwrap_or(existing["metadata"]["generation"] == 1);
    let is_right = !follows || same_spec(wanted, existing);
    if is_right && said == Some(follows) {
        return None;
    }
    let mut mended = existing.clone();
    if !is_right {
        mended["spec"] = wanted["spec"].clone();
    }
    if !mended["metadata"]["annotations"].is_object() {
        mended["metadata"]["annotations"] = json!({});
    }
    mended["metadata"]["annotations"][AUTO_UPDATE] = follows.to_string().into();
    Some(mended)
}

/// What the annotation says, in the words that Go's `strconv.ParseBool` knows.
fn auto_update(object: &Value) -> Option<bool> {
    match object["metadata"]["annotations"][AUTO_UPDATE].as_str()? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;

    fn stored(name: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut object = builtin::priority_levels()
            .into_iter()
            .find(|object| object["metadata"]["name"] == name)
            .expect("it is built in");
        object["metadata"]["generation"] = 1.into();
        object["metadata"]["resourceVersion"] = "7".into();
        change(&mut object);
        object
    }

    fn unannotated(object: &mut Value) {
        object["metadata"]["annotations"] = Value::Null;
    }

    fn more(object: &mut Value) {
        object["spec"]["limited"]["nominalConcurrencyShares"] = 77.into();
        object["metadata"]["generation"] = 2.into();
    }

    fn kept(object: &mut Value) {
        object["metadata"]["annotations"][AUTO_UPDATE] = "false".into();
    }

    /// Shares and annotation after the plan for one stored object; None where nothing is written.
    fn after(existing: Value) -> Option<(i64, String)> {
        let wanted: Vec<_> = builtin::priority_levels()
            .into_iter()
            .filter(|object| object["metadata"]["name"] == existing["metadata"]["name"])
            .collect();
        match plan(&[existing], &wanted).as_slice() {
            [] => None,
            [Change::Update(object)] => Some((
                object["spec"]["limited"]["nominalConcurrencyShares"].as_i64().unwrap(),
                object["metadata"]["annotations"][AUTO_UPDATE].as_str().unwrap().to_owned(),
            )),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn mandatory_objects_are_put_right_and_suggested_ones_while_they_follow() {
        let told = |shares: i64, follows: &str| Some((shares, follows.to_owned()));
        type Edits<'a> = &'a [fn(&mut Value)];
        type Written = Option<(i64, String)>;
        let rows: [(&str, Edits<'_>, Written); 10] = [
            ("catch-all", &[], None),
            ("catch-all", &[more], told(5, "true")),
            ("catch-all", &[more, kept], told(5, "true")),
            ("catch-all", &[kept], told(5, "true")),
            ("system", &[], None),
            ("system", &[more], told(30, "true")),
            ("system", &[more, kept], None),
            ("system", &[unannotated], told(30, "true")),
            ("system", &[more, unannotated], told(77, "false")),
            ("system", &[kept], None),
        ];
        for (name, edits, wanted) in rows {
            let existing = stored(name, |object| edits.iter().for_each(|edit| edit(object)));
            assert_eq!(after(existing.clone()), wanted, "{existing}");
        }
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_obsolete_goes_unless_somebody_keeps_it() {
        let all = builtin::priority_levels();
        let old = |name: &str, annotation: Value| json!({"metadata": {"name": name, "resourceVersion": "9", "annotations": {AUTO_UPDATE: annotation}}});
        let existing = [
            stored("exempt", |object| object["spec"]["exempt"]["lendablePercent"] = 50.into()),
            old("old", json!("true")),
            old("kept", json!("false")),
            old("odd", json!("perhaps")),
            json!({"metadata": {"name": "own"}}),
        ];
        let changes = plan(&existing, &all);
        let made = changes.iter().filter(|change| matches!(change, Change::Create(_))).count();
        assert_eq!(made, all.len() - 1, "the exempt level's shares are an administrator's");
        let gone = Change::Delete { name: "old".to_owned(), resource_version: "9".to_owned() };
        assert_eq!(changes[made..], [gone]);
    }
}

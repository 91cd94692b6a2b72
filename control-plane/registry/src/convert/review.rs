//! ConversionReview: the question that a webhook is asked, and what its answer must be like.
//!
//! <https://kubernetes.io/docs/reference/config-api/apiserver-admission.v1/> has its admission twin; the form of this one is in
//! the page on versions of custom resources. The texts of refusals are upstream's: users search for them.

use super::ReviewVersion;
use crate::{
    meta,
    validate::meta::{annotations, labels},
};
use keelson_schema::{FieldError, Path};
use serde_json::{Map, Value, json};

/// The review, its objects being JSON already.
pub(super) fn question(version: ReviewVersion, uid: &str, to: &str, objects: &[String]) -> String {
    let (api_version, uid, to) = (json!(version.api_version()), json!(uid), json!(to));
    format!(
        r#"{{"apiVersion":{api_version},"kind":"ConversionReview","request":{{"uid":{uid},"desiredAPIVersion":{to},"objects":[{}]}}}}"#,
        objects.join(",")
    )
}

/// The objects of the answer to the question `uid`, in the order of `originals`, with the metadata of those but for labels and
/// annotations.
///
/// # Errors
/// What follows `conversion webhook for KIND`.
pub(super) fn converted(
    version: ReviewVersion,
    uid: &str,
    to: &str,
    originals: &[&Value],
    answer: &[u8],
) -> Result<Vec<Value>, String> {
    let objects = objects(version, uid, answer).map_err(|why| format!("failed: {why}"))?;
    if objects.len() != originals.len() {
        return Err(format!("returned {} objects, expected {}", objects.len(), originals.len()));
    }
    let one = originals.len() == 1;
    objects
        .into_iter()
        .zip(originals)
        .enumerate()
        .map(|(index, (object, original))| {
            accepted(original, object, to).map_err(|refusal| match refusal {
                Refusal::Type(why) if one => format!("returned invalid object at index {index}: {why}"),
                Refusal::Identity(why) if one => format!("returned invalid object: {why}"),
                Refusal::Metadata(why) if one => format!("returned invalid metadata: {why}"),
                Refusal::Type(why) | Refusal::Identity(why) => {
                    format!("returned invalid converted object at index {index}: {why}")
                }
                Refusal::Metadata(why) => {
                    format!("returned invalid metadata in object at index {index}: {why}")
                }
            })
        })
        .collect()
}

fn objects(version: ReviewVersion, uid: &str, answer: &[u8]) -> Result<Vec<Value>, String> {
    let mut review: Value = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    let given = (meta::text(&review, &["apiVersion"]), meta::text(&review, &["kind"]));
    let wanted = (version.api_version(), "ConversionReview");
    if given != wanted && !(version == ReviewVersion::V1beta1 && given == ("", "")) {
        return Err(format!(
            "expected webhook response of {}, Kind={}, got {}, Kind={}",
            wanted.0, wanted.1, given.0, given.1
        ));
    }
    let response = &review["response"];
    if !response.is_object() {
        return Err("no response provided".to_owned());
    }
    let answered = meta::text(response, &["uid"]);
    // The older version never asked for it.
    if version == ReviewVersion::V1 && answered != uid {
        return Err(format!("expected response.uid={uid:?}, got {answered:?}"));
    }
    let (status, message) =
        (meta::text(response, &["result", "status"]), meta::text(response, &["result", "message"]));
    match (status, message) {
        ("Success", _) => {}
        (_, "") => return Err(format!("response.result.status was '{status}', not 'Success'")),
        (_, message) => return Err(message.to_owned()),
    }
    match review["response"]["convertedObjects"].take() {
        Value::Null => Ok(Vec::new()),
        Value::Array(objects) => Ok(objects),
        _ => Err("response.convertedObjects is not a list".to_owned()),
    }
}

/// Why an object is not the one that was sent in another version.
#[derive(Debug)]
enum Refusal {
    Type(String),
    Identity(String),
    Metadata(String),
}

fn accepted(original: &Value, mut object: Value, to: &str) -> Result<Value, Refusal> {
    for (key, what, expected) in
        [("apiVersion", "groupVersion", to), ("kind", "kind", meta::text(original, &["kind"]))]
    {
        let received = meta::text(&object, &[key]);
        if received != expected {
            let why = format!("invalid {what} (expected {expected}, received {received})");
            return Err(Refusal::Type(why));
        }
    }
    for (key, what) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (sent, received) = (meta::field(original, key), meta::field(&object, key));
        if sent != received {
            return Err(Refusal::Identity(format!("must have the same {what}: {sent} != {received}")));
        }
    }
    let metadata = match object.get_mut("metadata").map(Value::take) {
        Some(Value::Object(metadata)) => metadata,
        Some(_) => return Err(Refusal::Metadata("invalid metadata in converted object".to_owned())),
        None => return Err(Refusal::Metadata("missing metadata in converted object".to_owned())),
    };
    object["metadata"] = restored(original, metadata).map_err(Refusal::Metadata)?;
    Ok(object)
}

/// The original's metadata with the labels and annotations of the converted one, which must be fit to be stored if they changed.
fn restored(original: &Value, mut converted: Map<String, Value>) -> Result<Value, String> {
    let mut metadata = original.get("metadata").cloned().unwrap_or_else(|| json!({}));
    for key in ["labels", "annotations"] {
        let next = converted.remove(key).filter(|value| !value.is_null());
        let Some(next) = next else {
            meta::map_of(&mut metadata).remove(key);
            continue;
        };
        let entries =
            next.as_object().ok_or_else(|| format!("invalid metadata.{key} in converted object"))?;
        if let Some((name, _)) = entries.iter().find(|(_, value)| !value.is_string()) {
            return Err(format!("metadata.{key}[{name}] must be a string in converted object"));
        }
        if metadata.get(key) != Some(&next) {
            let path = Path::new("metadata").child(key);
            let errors = match key {
                "labels" => labels(&path, Some(&next)),
                _ => annotations(&path, &json!({"metadata": {key: next}})),
            };
            if !errors.is_empty() {
                return Err(errors.iter().map(FieldError::to_string).collect::<Vec<_>>().join(", "));
            }
        }
        meta::map_of(&mut metadata).insert(key.to_owned(), next);
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: &str = "example.com/v2";

    fn original(name: &str) -> Value {
        json!({"apiVersion": "example.com/v1", "kind": "Tab",
            "metadata": {"name": name, "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}, "annotations": {"c": "d"}}})
    }

    fn said(answer: &Value, names: &[&str]) -> Result<Vec<Value>, String> {
        let originals: Vec<Value> = names.iter().map(|name| original(name)).collect();
        let originals: Vec<&Value> = originals.iter().collect();
        converted(ReviewVersion::V1, "r", TO, &originals, answer.to_string().as_bytes())
    }

    fn review(response: &Value) -> Value {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response})
    }

    fn answered(objects: &[Value]) -> Value {
        review(&json!({"uid": "r", "result": {"status": "Success"}, "convertedObjects": objects}))
    }

    fn changed(path: &str, to: &Value) -> Value {
        let mut object = original("n");
        object["apiVersion"] = json!(TO);
        *object.pointer_mut(path).expect("the original has it") = to.clone();
        object
    }

    #[test]
    fn an_answer_that_breaks_the_rules_is_none() {
        let rows = [
            (
                json!({}),
                "failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got , Kind=",
            ),
            (review(&Value::Null), "failed: no response provided"),
            (review(&json!({"uid": "x"})), r#"failed: expected response.uid="r", got "x""#),
            (review(&json!({"uid": "r"})), "failed: response.result.status was '', not 'Success'"),
            (
                review(&json!({"uid": "r", "result": {"status": "Failure", "message": "too old"}})),
                "failed: too old",
            ),
            (answered(&[]), "returned 0 objects, expected 1"),
            (
                answered(&[changed("/apiVersion", &json!("example.com/v3"))]),
                "returned invalid object at index 0: invalid groupVersion (expected example.com/v2, received example.com/v3)",
            ),
            (
                answered(&[changed("/kind", &json!("Tib"))]),
                "returned invalid object at index 0: invalid kind (expected Tab, received Tib)",
            ),
            (
                answered(&[changed("/metadata/name", &json!("m"))]),
                "returned invalid object: must have the same name: n != m",
            ),
            (
                answered(&[changed("/metadata/uid", &json!("v"))]),
                "returned invalid object: must have the same UID: u != v",
            ),
            (
                answered(&[changed("/metadata/labels", &json!({"a": 1}))]),
                "returned invalid metadata: metadata.labels[a] must be a string in converted object",
            ),
        ];
        for (answer, wanted) in rows {
            assert_eq!(said(&answer, &["n"]), Err(wanted.to_owned()));
        }
        let bad = said(&answered(&[changed("/metadata/labels", &json!({"a b": ""}))]), &["n"]).unwrap_err();
        assert!(
            bad.starts_with("returned invalid metadata: metadata.labels: Invalid value: \"a b\""),
            "{bad}"
        );
        let (first, second) =
            (changed("/metadata/name", &json!("a")), changed("/metadata/name", &json!("b")));
        let swapped = said(&answered(&[second.clone(), first.clone()]), &["a", "b"]).unwrap_err();
        assert_eq!(swapped, "returned invalid converted object at index 0: must have the same name: a != b");
        assert_eq!(said(&answered(&[first, second]), &["a", "b"]).map(|all| all.len()), Ok(2));
    }

    #[test]
    fn metadata_stays_but_for_labels_and_annotations() {
        let mut object = changed("/metadata/labels", &json!({"a": "c"}));
        object["metadata"]["resourceVersion"] = json!("8");
        object["metadata"]["finalizers"] = json!(["x"]);
        object["metadata"]["annotations"] = Value::Null;
        let got = said(&answered(&[object]), &["n"]).expect("it is accepted").remove(0);
        let wanted = json!({"name": "n", "uid": "u", "resourceVersion": "7", "labels": {"a": "c"}});
        assert_eq!(got["metadata"], wanted);
    }
}

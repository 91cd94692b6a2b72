//! Strategic merge patches, where a list's own merge would do harm.

use serde_json::{Value, json};

/// Makes a patch's list take the place of the one that is there, whatever its merge key; what is no list stays as it is.
/// <https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/>
pub(crate) fn replace_whole(list: &mut Value) {
    if let Value::Array(items) = list {
        items.push(json!({ "$patch": "replace" }));
    }
}

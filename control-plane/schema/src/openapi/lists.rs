//! Lists of custom kinds: objects with items. Those of built-in kinds come with the other definitions of the build.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::operations::{KindFacts, META, definition_name, reference};
use crate::custom::{API_VERSION, KIND};

const METADATA: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const MORE: &str =
    "More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";

/// The definitions by their names, in the words of upstream's.
pub(super) fn definitions(kinds: &[KindFacts<'_>]) -> BTreeMap<String, Value> {
    let listed = kinds.iter().filter(|kind| kind.definition.is_some() && kind.verbs.contains(&"list"));
    listed.map(definition).collect()
}

fn definition(kind: &KindFacts<'_>) -> (String, Value) {
    let item = definition_name(kind.group, kind.version, kind.kind);
    let definition = json!({
        "description": format!("{0}List is a list of {0}", kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": API_VERSION, "type": "string"},
            "items": {
                "description": format!("List of {}. {MORE}", kind.plural),
                "type": "array",
                "items": reference(&item),
            },
            "kind": {"description": KIND, "type": "string"},
            "metadata": {
                "description": METADATA,
                "allOf": [reference(&format!("{META}.ListMeta"))],
            },
        },
        "x-kubernetes-group-version-kind":
            [{"group": kind.group, "version": kind.version, "kind": format!("{}List", kind.kind)}],
    });
    (format!("{item}List"), definition)
}

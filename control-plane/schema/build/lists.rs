//! Joins `facts/lists.tsv` with the kinds: the definitions of their lists.

use serde_json::{Value, json};

use crate::Definitions;
use crate::kinds::Kind;

const LIST_META: &str = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// Adds the list of every row. Nothing but OpenAPI knows lists as types.
pub(crate) fn publish(definitions: &mut Definitions, kinds: &[Kind], table: &str) {
    for row in table.lines().skip(1) {
        let columns: Vec<&str> = row.split('\t').collect();
        let &[name, description, metadata, items] = columns.as_slice() else {
            panic!("facts/lists.tsv: four columns expected: {row:?}");
        };
        let kind = kinds
            .iter()
            .find(|kind| name.strip_suffix("List") == Some(&kind.definition))
            .unwrap_or_else(|| panic!("facts/lists.tsv: {name} is the list of no kind"));
        let item = &definitions[&kind.definition]["properties"];
        let list = json!({
            "description": description,
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": item["apiVersion"],
                "items": {
                    "description": items,
                    "type": "array",
                    "items": {"$ref": format!("#/components/schemas/{}", kind.definition)},
                },
                "kind": item["kind"],
                "metadata": metadata_property(metadata),
            },
            "x-kubernetes-group-version-kind":
                [{"group": kind.group, "version": kind.version, "kind": format!("{}List", kind.kind)}],
        });
        definitions.insert(name.to_owned(), list);
    }
}

fn metadata_property(description: &str) -> Value {
    if description.is_empty() {
        json!({"$ref": LIST_META})
    } else {
        json!({"description": description, "allOf": [{"$ref": LIST_META}]})
    }
}

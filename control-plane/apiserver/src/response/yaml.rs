//! YAML output.

use keelson_registry::status::Status;
use serde::Serialize;

/// Writes any object as one YAML document.
pub(crate) fn encode(object: &impl Serialize) -> Result<String, Status> {
    serde_saphyr::to_string(object).map_err(Status::internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn text_that_looks_like_another_type_stays_text() {
        let object = json!({
            "a": ["true", "yes", "on", "null", "~", "1", "0x1f", "1e3", "1_000", "2024-01-01", "", " lead", "a: b", "#c", "x\ny\n", "*", "&a", "!t"],
            "n": 1, "b": true, "z": null, "m": {}, "l": [],
        });
        let text = encode(&object).unwrap();
        assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), object, "{text}");
        assert!(
            !text.contains("- yes\n") && !text.contains("- on\n"),
            "YAML 1.1 readers take these for booleans: {text}"
        );
    }
}

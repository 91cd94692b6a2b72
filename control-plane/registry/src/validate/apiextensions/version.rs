//! One version of a definition: its name, schema, subresources, columns and selectable fields.

use super::Errors;
use crate::custom::{
    JsonPath,
    definition::{PrinterColumn, Scale, Version},
};
use keelson_schema::{Custom, FieldError, Path, custom};
use keelson_semantics::names;

/// As upstream's `MaxSelectableFields`.
const SELECTABLE_FIELDS_MAX: usize = 8;
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 9] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "name", "password"];
const WARNING_BYTES_MAX: usize = 256;

pub(super) fn version(version: &Version, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let wrong = names::dns1035_label(&version.name);
    if !wrong.is_empty() {
        errors.push(FieldError::invalid(&path.child("name"), version.name.as_str(), wrong.join(",")));
    }
    if let Some(warning) = &version.deprecation_warning {
        let path = path.child("deprecationWarning");
        if !version.deprecated {
            errors.push(FieldError::invalid(
                &path,
                warning.as_str(),
                "can only be set for deprecated versions",
            ));
        }
        if warning.len() > WARNING_BYTES_MAX {
            errors.push(FieldError::too_long(&path, WARNING_BYTES_MAX));
        }
    }
    let schema_path = path.child("schema.openAPIV3Schema");
    let declared = version.schema.as_ref().and_then(|schema| schema.open_api.as_ref());
    match declared {
        None => errors.push(FieldError::required(&schema_path, "schemas are required")),
        Some(schema) => errors.extend(custom::check(schema, &schema_path)),
    }
    if let Some(scale) = version.subresources.as_ref().and_then(|subresources| subresources.scale.as_ref()) {
        errors.extend(scale_paths(scale, &path.child("subresources.scale")));
    }
    for (index, column) in version.additional_printer_columns.iter().enumerate() {
        errors.extend(printer_column(column, &path.child("additionalPrinterColumns").index(index)));
    }
    if errors.is_empty()
        && let Some(schema) = declared
    {
        errors.extend(selectable(version, &Custom::new("", &version.name, "", schema.clone()), path));
    }
    errors
}

fn scale_paths(scale: &Scale, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let selector = scale.label_selector_path.as_deref().unwrap_or_default();
    for (key, text, roots) in [
        ("specReplicasPath", scale.spec_replicas_path.as_str(), &[".spec."][..]),
        ("statusReplicasPath", scale.status_replicas_path.as_str(), &[".status."]),
        ("labelSelectorPath", selector, &[".spec.", ".status."]),
    ] {
        let path = path.child(key);
        let optional = key == "labelSelectorPath";
        if text.is_empty() {
            if !optional {
                errors.push(FieldError::required(&path, ""));
            }
        } else if !JsonPath::parse(text).is_ok_and(|parsed| parsed.fields().is_some()) {
            let why = "should be a simple json path (only dots, no brackets)";
            errors.push(FieldError::invalid(&path, text, why));
        } else if !roots.iter().any(|root| text.starts_with(root)) {
            let why = format!(
                "should be a json path under {}",
                roots.join(" or ").replace(". ", " ").trim_end_matches('.')
            );
            errors.push(FieldError::invalid(&path, text, why));
        }
    }
    errors
}

fn printer_column(column: &PrinterColumn, path: &Path) -> Errors {
    let mut errors = Errors::new();
    if column.name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    match column.type_.as_str() {
        "" => {
            let why = format!("must be one of {}", COLUMN_TYPES.join(","));
            errors.push(FieldError::required(&path.child("type"), why));
        }
        ty if COLUMN_TYPES.contains(&ty) => {}
        ty => {
            let why = format!("must be one of {}", COLUMN_TYPES.join(","));
            errors.push(FieldError::invalid(&path.child("type"), ty, why));
        }
    }
    if !column.format.is_empty() && !COLUMN_FORMATS.contains(&column.format.as_str()) {
        let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
        errors.push(FieldError::invalid(&path.child("format"), column.format.as_str(), why));
    }
    let path = path.child("jsonPath");
    if column.json_path.is_empty() {
        errors.push(FieldError::required(&path, ""));
    } else if let Err(why) = JsonPath::parse(&column.json_path) {
        errors.push(FieldError::invalid(&path, column.json_path.as_str(), why));
    }
    errors
}

fn selectable(version: &Version, schema: &Custom, path: &Path) -> Errors {
    let path = path.child("selectableFields");
    let mut errors = Errors::new();
    if version.selectable_fields.len() > SELECTABLE_FIELDS_MAX {
        errors.push(FieldError::too_many(&path, version.selectable_fields.len(), SELECTABLE_FIELDS_MAX));
    }
    let mut seen = Vec::new();
    for (index, field) in version.selectable_fields.iter().enumerate() {
        let (path, text) = (path.index(index).child("jsonPath"), field.json_path.as_str());
        let parsed = JsonPath::parse(text);
        let names = parsed.as_ref().ok().and_then(JsonPath::fields).unwrap_or_default();
        if text.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if names.is_empty() || !text.starts_with('.') {
            errors.push(FieldError::invalid(&path, text, "must be a valid path to a field"));
        } else if names[0] == "metadata" {
            errors.push(FieldError::invalid(&path, text, "must not point to fields in metadata"));
        } else if !schema.is_scalar(&names) {
            let why = "must point to a field of type string, boolean or integer";
            errors.push(FieldError::invalid(&path, text, why));
        } else if seen.contains(&text) {
            errors.push(FieldError::duplicate(&path, text));
        }
        seen.push(text);
    }
    errors
}

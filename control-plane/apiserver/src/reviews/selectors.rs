//! The selectors of access reviews: as text or as requirements, checked and read as upstream does.
//!
//! Source of the rules: `ValidateSubjectAccessReviewSpec` and `ResourceAttributesFrom` of `k8s.io/kubernetes`. A requirement
//! that cannot be read is left out, which asks for more, and told in `evaluationError`.

use super::texts;
use keelson_schema::{FieldError, Path};
use keelson_semantics::{
    FieldSelector, LabelSelector,
    field_selector::Term,
    label_selector::{LabelSelectorRequirement, Requirement},
};
use serde_json::Value;

/// The selectors of `resourceAttributes`, and what of them could not be read.
#[derive(Default)]
pub(super) struct Selectors {
    pub(super) fields: Option<FieldSelector>,
    pub(super) labels: Option<LabelSelector>,
    errors: Vec<String>,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn requirements(selector: &Value) -> &[Value] {
    selector["requirements"].as_array().map(Vec::as_slice).unwrap_or_default()
}

impl Selectors {
    pub(super) fn of(resource: &Value) -> Self {
        let mut read = Self::default();
        let (fields, labels) = (&resource["fieldSelector"], &resource["labelSelector"]);
        match text(fields, "rawSelector") {
            "" => {
                let terms: Vec<Term> = requirements(fields).iter().filter_map(|one| read.term(one)).collect();
                read.fields = (!terms.is_empty()).then_some(FieldSelector { terms });
            }
            raw => match FieldSelector::parse(raw) {
                Ok(selector) => read.fields = Some(selector),
                Err(error) => read.errors.push(error.to_string()),
            },
        }
        match text(labels, "rawSelector") {
            "" => {
                let all: Vec<Requirement> =
                    requirements(labels).iter().filter_map(|one| read.requirement(one)).collect();
                read.labels = (!all.is_empty()).then(|| LabelSelector::from_requirements(all));
            }
            raw => match LabelSelector::parse(raw) {
                Ok(selector) => read.labels = Some(selector),
                Err(error) => read.errors.push(error.to_string()),
            },
        }
        read
    }

    fn term(&mut self, requirement: &Value) -> Option<Term> {
        let (field, values) = (text(requirement, "key").to_owned(), texts(&requirement["values"]));
        match (text(requirement, "operator"), <[String; 1]>::try_from(values)) {
            ("In", Ok([value])) => Some(Term { field, equal: true, value }),
            ("NotIn", Ok([value])) => Some(Term { field, equal: false, value }),
            ("In" | "NotIn", Err(_)) => {
                self.errors.push(format!("fieldSelectors do not yet support multiple values: {field:?}"));
                None
            }
            (operator @ ("Exists" | "DoesNotExist"), _) => {
                self.errors.push(format!("fieldSelectors do not yet support {operator}"));
                None
            }
            (operator, _) => {
                self.errors.push(format!("{operator:?} is not a valid field selector operator"));
                None
            }
        }
    }

    fn requirement(&mut self, requirement: &Value) -> Option<Requirement> {
        let one = LabelSelectorRequirement {
            key: text(requirement, "key").to_owned(),
            operator: text(requirement, "operator").to_owned(),
            values: texts(&requirement["values"]),
        };
        one.to_requirement(false).map_err(|error| self.errors.push(error.to_string())).ok()
    }

    /// What went wrong: with the selectors, and with whoever decided.
    pub(super) fn with_errors(&self, more: Option<&str>) -> Option<String> {
        let all: Vec<&str> = more.into_iter().chain(self.errors.iter().map(String::as_str)).collect();
        match all.as_slice() {
            [] => None,
            [one] => Some((*one).to_owned()),
            several => Some(format!("[{}]", several.join(", "))),
        }
    }
}

/// Says what of the selectors' form is wrong. Operators that are not known pass: a newer client may know them.
pub(super) fn validate(resource: &Value, errors: &mut Vec<FieldError>) {
    for key in ["fieldSelector", "labelSelector"] {
        let selector = &resource[key];
        if selector.is_null() {
            continue;
        }
        let path = Path::new("spec").child("resourceAttributes").child(key);
        let (raw, all) = (text(selector, "rawSelector"), requirements(selector));
        match (raw.is_empty(), all.is_empty()) {
            (false, false) => errors.push(FieldError::invalid(
                &path.child("rawSelector"),
                raw,
                "may not specified at the same time as requirements",
            )),
            (true, true) => errors.push(FieldError::required(
                &path.child("requirements"),
                format!("when {path} is specified, requirements or rawSelector is required"),
            )),
            _ => {}
        }
        for (at, one) in all.iter().enumerate() {
            validate_requirement(one, &path.child("requirements").index(at), errors);
        }
    }
}

fn validate_requirement(requirement: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let has_values = !requirements_values(requirement).is_empty();
    match text(requirement, "operator") {
        "In" | "NotIn" if !has_values => errors.push(FieldError::required(
            &path.child("values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "Exists" | "DoesNotExist" if has_values => errors.push(FieldError::forbidden(
            &path.child("values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        _ => {}
    }
    if text(requirement, "key").is_empty() {
        errors.push(FieldError::required(&path.child("key"), "must be specified"));
    }
}

fn requirements_values(requirement: &Value) -> &[Value] {
    requirement["values"].as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_are_read_from_text_and_from_requirements() {
        let requirement =
            |operator: &str, values: Value| json!({"key": "a", "operator": operator, "values": values});
        let all = |one: Value| json!({"requirements": [one]});
        // field selector, its text, what of it cannot be read
        let rows = [
            (json!({"rawSelector": "a=b,c!=d"}), "a=b,c!=d", ""),
            (json!({"rawSelector": "a"}), "", "can't understand 'a'"),
            (all(requirement("In", json!(["b"]))), "a=b", ""),
            (all(requirement("NotIn", json!(["b"]))), "a!=b", ""),
            (all(requirement("In", json!(["b", "c"]))), "", "multiple values"),
            (all(requirement("Exists", json!([]))), "", "support Exists"),
            (all(requirement("Near", json!(["b"]))), "", "\"Near\" is not a valid field selector operator"),
        ];
        for (selector, wanted, error) in rows {
            let read = Selectors::of(&json!({ "fieldSelector": selector }));
            let fields = read.fields.as_ref().map(ToString::to_string).unwrap_or_default();
            assert_eq!(fields, wanted, "{selector}");
            let errors = read.with_errors(None).unwrap_or_default();
            assert!(errors.contains(error) && errors.is_empty() == error.is_empty(), "{selector}: {errors}");
        }
        let one = requirement("NotIn", json!(["b", "c"]));
        let read = Selectors::of(&json!({ "labelSelector": all(one) }));
        assert_eq!(read.labels.map(|labels| labels.to_string()).as_deref(), Some("a notin (b,c)"));
        let read = Selectors::of(&json!({ "labelSelector": all(requirement("Near", json!([]))) }));
        assert!(read.labels.is_none() && read.with_errors(Some("x")).unwrap().starts_with("[x, "));
    }

    #[test]
    fn their_form_is_checked() {
        let rows = [
            (
                json!({}),
                "spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resource",
            ),
            (
                json!({"rawSelector": "a=b", "requirements": [{"key": "a", "operator": "Exists"}]}),
                "rawSelector: Invalid value: \"a=b\": may not specified at the same time",
            ),
            (
                json!({"requirements": [{"key": "a", "operator": "In"}]}),
                "requirements[0].values: Required value",
            ),
            (json!({"requirements": [{"operator": "Exists"}]}), "requirements[0].key: Required value"),
            (
                json!({"requirements": [{"key": "a", "operator": "Exists", "values": ["b"]}]}),
                "requirements[0].values: Forbidden",
            ),
            (json!({"requirements": [{"key": "a", "operator": "Near", "values": ["b"]}]}), ""),
            (json!({"rawSelector": "nonsense"}), ""),
        ];
        for (selector, wanted) in rows {
            let mut errors = Vec::new();
            validate(&json!({ "fieldSelector": selector }), &mut errors);
            let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let told = told.join(", ");
            assert!(told.contains(wanted) && told.is_empty() == wanted.is_empty(), "{selector}: {told}");
        }
    }
}

//! Ingress and IngressClass: which HTTP requests from outside go to which Services, and who sees to it.

use crate::{
    meta,
    strategy::{Call, Strategy},
    validate::{
        Errors,
        meta::immutable,
        networking::{ingress, ingress_class, ingress_status},
    },
};
use keelson_schema::{FieldError, Path};
use serde_json::{Value, json};

/// Ingress.
pub struct Ingress;

/// What named the class before spec.ingressClassName.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

impl Strategy for Ingress {
    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        meta::map_of(object).insert("status".to_owned(), json!({"loadBalancer": {}}));
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let mut errors = ingress(object);
        let annotation =
            meta::at(object, &["metadata", "annotations", CLASS_ANNOTATION]).and_then(Value::as_str);
        let class = meta::at(object, &["spec", "ingressClassName"]).and_then(Value::as_str);
        if let (Some(annotation), Some(class)) = (annotation, class)
            && annotation != class
        {
            let path = Path::new("annotations").child(CLASS_ANNOTATION);
            let detail = "must match `ingressClassName` when both are specified";
            errors.push(FieldError::invalid(&path, annotation, detail));
        }
        errors
    }

    fn validate_update(&self, _call: &Call<'_>, new: &Value, _old: &Value) -> Errors {
        ingress(new)
    }

    fn validate_status(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        ingress_status(new, old)
    }

    fn warnings(&self, _call: &Call<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let annotated = meta::at(new, &["metadata", "annotations", CLASS_ANNOTATION]).is_some();
        if old.is_some() || !annotated {
            return Vec::new();
        }
        vec![format!(
            "annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"
        )]
    }
}

/// IngressClass.
pub struct IngressClass;

impl Strategy for IngressClass {
    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        ingress_class(object)
    }

    fn validate_update(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let controller = |object: &Value| object.pointer("/spec/controller").cloned();
        let path = Path::new("spec.controller");
        let mut errors: Errors =
            immutable(&path, controller(new).as_ref(), controller(old).as_ref()).into_iter().collect();
        errors.extend(ingress_class(new));
        errors
    }
}

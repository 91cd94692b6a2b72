//! RuntimeClass: which handler of a node's container runtime runs a pod, what that costs, and where it is there.
//!
//! Rules: upstream's `pkg/apis/node/validation`. What a pod gets of it is admission's.

use crate::{
    meta,
    strategy::{Call, NameRule, Strategy},
    validate::{
        Errors,
        meta::{immutable, invalid, labels, name_errors},
        pod, required, resources,
    },
    warn,
};
use keelson_schema::{FieldError, Path};
use serde_json::{Value, json};

/// RuntimeClass.
pub struct RuntimeClass;

impl Strategy for RuntimeClass {
    fn unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let handler = meta::text(object, &["handler"]);
        let mut errors: Errors = required(&Path::root(), object, "handler").into_iter().collect();
        if !handler.is_empty() {
            errors.extend(invalid(&Path::new("handler"), handler, name_errors(NameRule::Label, handler)));
        }
        if let Some(fixed) = meta::at(object, &["overhead", "podFixed"]) {
            errors.extend(resources::requirements(
                &Path::new("overhead.podFixed"),
                &json!({ "limits": fixed }),
            ));
        }
        let path = Path::new("scheduling");
        let selector = meta::at(object, &["scheduling", "nodeSelector"]);
        errors.extend(labels(&path.child("nodeSelector"), selector));
        let tolerations = meta::items(object, &["scheduling", "tolerations"]);
        errors.extend(pod::tolerations(&path.child("tolerations"), tolerations));
        for (index, toleration) in tolerations.iter().enumerate() {
            if tolerations[..index].contains(toleration) {
                errors
                    .push(FieldError::duplicate(&path.child("tolerations").index(index), toleration.clone()));
            }
        }
        errors
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = self.validate(call, new);
        errors.extend(immutable(&Path::new("handler"), new.get("handler"), old.get("handler")));
        errors
    }

    fn warnings(&self, _call: &Call<'_>, new: &Value, _old: Option<&Value>) -> Vec<String> {
        warn::storage::runtime_class(new)
    }
}

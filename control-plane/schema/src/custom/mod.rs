//! The schema of a custom resource: what a definition may declare, and what the declaration does to objects.
//!
//! ```text
//! declared JSON ──check──> errors of the definition            (structural)
//!               ──read───> Schema ──> decode and prune, defaults, validate
//!                             ├─────> rules in CEL, compiled with it                        (rules)
//!                             └─────> types and merge rules     (compile), read by server-side apply
//!               ──────────> the definition of OpenAPI           (openapi)
//! ```
//! A [`Custom`] is made once for a version of a definition and never changes. Decoding, defaulting, patching and apply
//! take its [`TypeRef`] as they take a built-in kind's. Does not know definitions' names, versions or conditions: those
//! are the registry's.

mod compile;
pub(crate) mod decode;
mod default;
mod embedded;
mod format;
mod lists;
mod openapi;
mod prune;
mod rules;
pub(crate) mod schema;
mod structural;
mod validate;

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::decode::{Cx, FieldValidation};
use crate::field::{Cause, FieldError, Path};
use crate::types::{Schemas, TypeRef};
pub(crate) use compile::OBJECT_META;
pub(crate) use openapi::{API_VERSION, KIND};
pub use schema::Schema;
pub use validate::ERRORS_MAX;

/// All that is wrong with a declared schema, whose place in the definition is `path`.
#[must_use]
pub fn check(json: &Value, path: &Path) -> Vec<FieldError> {
    structural::check(json, path).1
}

/// The schema of one version of a custom resource.
#[derive(Debug)]
pub struct Custom {
    schemas: Schemas,
    /// As declared.
    json: Value,
    group: String,
    version: String,
    kind: String,
}

impl Custom {
    /// Of a declaration that [`check`] found nothing wrong with.
    #[must_use]
    pub fn new(group: &str, version: &str, kind: &str, json: Value) -> Custom {
        let (schema, _) = structural::check(&json, &Path::root());
        let reversed: Vec<&str> = group.rsplit('.').collect();
        let mut schemas = compile::compile(&schema, format!("{}.{version}.{kind}", reversed.join(".")));
        schemas.custom = Some(Box::new(schema));
        Custom { schemas, json, group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// The resource's type.
    #[must_use]
    pub fn ty(&self) -> TypeRef<'_> {
        self.schemas.first()
    }

    fn schema(&self) -> &Schema {
        self.schemas.custom.as_deref().expect("it is set when it is made")
    }

    /// All that is wrong with an object's values; `old` is its state before an update.
    #[must_use]
    pub fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = validate::validate(self.schema(), object, old);
        if !rules::has_rules(self.schema()) {
            return errors;
        }
        // A rule may rely on what the rest of the schema says.
        const BLOCKING: [Cause; 5] =
            [Cause::NotSupported, Cause::Required, Cause::TooLong, Cause::TooMany, Cause::TypeInvalid];
        if errors.iter().any(|error| BLOCKING.contains(&error.cause)) {
            let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            errors.push(FieldError::invalid(&Path::root(), Value::Null, why));
            return errors;
        }
        errors.extend(rules::validate(self.schema(), object, old));
        errors.truncate(ERRORS_MAX);
        errors
    }

    /// Cuts an object that was stored under another schema to this one, and fills in its defaults.
    pub fn settle(&self, object: &mut Value) {
        prune::prune(self.schema(), object, &mut |_| ());
        embedded::repair(self.schema(), object);
        default::apply(self.schema(), object);
    }

    /// Cuts an object to what is declared.
    ///
    /// # Errors
    /// The metadata of an embedded object has a value of a wrong type.
    pub fn prune(&self, object: &mut Value) -> Result<(), FieldError> {
        prune::prune(self.schema(), object, &mut |_| ());
        embedded::coerce(self.schema(), object, &Cx::new(FieldValidation::Ignore))
    }

    /// Whether a path of properties, e.g. `["spec", "color"]`, is declared as a text, a number or a boolean.
    #[must_use]
    pub fn is_scalar(&self, path: &[&str]) -> bool {
        let found = path.iter().try_fold(self.schema(), |schema, name| schema.properties.get(*name));
        found.is_some_and(|schema| {
            use schema::Kind::{Boolean, Integer, String};
            matches!(schema.kind, Some(Boolean | Integer | String))
        })
    }

    /// The definition as OpenAPI v3 publishes it.
    #[must_use]
    pub fn openapi(&self) -> Value {
        openapi::definition(&self.json, &self.group, &self.version, &self.kind)
    }
}

/// The type that expressions see a custom resource by, with metadata of this type.
pub(crate) fn declared(schema: &Schema, metadata: &keelson_cel::Type) -> keelson_cel::Type {
    rules::declared(schema, true, metadata)
}

/// Fills in the defaults of a custom resource.
pub(crate) fn apply_defaults(schema: &Schema, object: &mut Value) {
    default::apply(schema, object);
}

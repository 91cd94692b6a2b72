//! The type that expressions about whole objects see a kind by: what upstream makes of its published schema.
//!
//! What a schema leaves open is dyn, of which nothing can be wrong. Upstream does not know such fields (those of quantities
//! among them), so that whoever names one is told that it is not there.

use std::collections::HashMap;

use keelson_cel::{ObjectType, Type, escape};

use crate::custom;
use crate::types::{Schemas, Shape, TypeRef};

/// The type of a resource. Objects are named by their definitions: two are alike where those are the same.
#[must_use]
pub fn declared(ty: TypeRef<'_>) -> Type {
    let mut known = HashMap::new();
    match ty.custom() {
        Some(schema) => {
            let metadata = Schemas::builtin().definition(custom::OBJECT_META);
            let metadata = metadata.map_or(Type::Dyn, |metadata| of(metadata, &mut known));
            custom::declared(schema, &metadata)
        }
        None => of(ty, &mut known),
    }
}

/// `known` are definitions by their names; one that is still being made, which is within itself, is dyn there.
fn of(ty: TypeRef<'_>, known: &mut HashMap<String, Type>) -> Type {
    match ty.shape() {
        Shape::Bool => Type::Bool,
        Shape::Int32 | Shape::Int64 => Type::Int,
        Shape::Float => Type::Double,
        Shape::String => Type::STRING,
        Shape::Bytes => Type::BYTES,
        Shape::Time | Shape::MicroTime => Type::Timestamp,
        Shape::Array(_) => Type::list(inner(ty, known)),
        Shape::Map(_) => Type::map(inner(ty, known)),
        Shape::Object(_) => object(ty, known),
        Shape::Quantity | Shape::IntOrString | Shape::Json | Shape::Opaque | Shape::Free => Type::Dyn,
    }
}

fn inner(ty: TypeRef<'_>, known: &mut HashMap<String, Type>) -> Type {
    ty.inner().map_or(Type::Dyn, |inner| of(inner, known))
}

fn object(ty: TypeRef<'_>, known: &mut HashMap<String, Type>) -> Type {
    let name = ty.name().unwrap_or_default();
    if let Some(made) = known.get(name) {
        return made.clone();
    }
    known.insert(name.to_owned(), Type::Dyn);
    let mut object = ObjectType::new(name);
    for property in ty.properties() {
        let below = of(ty.child(property), known);
        // `metadata.namespace` is a word of CEL; expressions name it as it stands.
        if escape(&property.name).as_deref() != Some(&property.name) {
            object = object.field_named(&property.name, below.clone());
        }
        object = object.field(&property.name, below);
    }
    let made = Type::object(object);
    known.insert(name.to_owned(), made.clone());
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Custom;
    use keelson_cel::{Environment, Program};
    use serde_json::json;

    #[track_caller]
    fn holds(environment: &Environment, rows: &[(&str, Result<(), &str>)]) {
        for (text, wanted) in rows {
            let found = Program::compile(text, environment).map(drop).map_err(|error| error.to_string());
            match wanted {
                Ok(()) => assert_eq!(found, Ok(()), "{text}"),
                Err(why) => {
                    assert!(found.as_ref().is_err_and(|error| error.contains(why)), "{text}: {found:?}")
                }
            }
        }
    }

    #[test]
    fn expressions_see_built_in_kinds_by_their_definitions() {
        let of = |group, kind| declared(Schemas::builtin().kind(group, "v1", kind).unwrap());
        let environment = Environment::new()
            .with("object", of("apps", "Deployment"))
            .with("secret", of("", "Secret"))
            .with("crd", of("apiextensions.k8s.io", "CustomResourceDefinition"));
        holds(
            &environment,
            &[
                ("object.spec.replicas > 1 && object.metadata.namespace == 'a'", Ok(())),
                (
                    "object.metadata.labels['a'] == 'b' && object.metadata.creationTimestamp < timestamp('2026-01-01T00:00:00Z')",
                    Ok(()),
                ),
                (
                    "object.spec.template.spec.containers.all(c, quantity(c.resources.limits['cpu']).sign() > 0)",
                    Ok(()),
                ),
                (
                    "object.spec.template.spec.containers + object.spec.template.spec.initContainers == []",
                    Ok(()),
                ),
                ("object.spec.strategy.rollingUpdate.maxSurge == 1 || object.spec.selector == null", Ok(())),
                ("size(secret.data['a']) == 1 && secret.type == 'Opaque'", Ok(())),
                (
                    "crd.spec.versions[0].schema.openAPIV3Schema.properties['a'].properties['b'].type == 'c'",
                    Ok(()),
                ),
                (
                    "object.spec.replicas > '1'",
                    Err("found no matching overload for '_>_' applied to '(int, string)'"),
                ),
                ("object.spek == 1", Err("undefined field 'spek'")),
                ("object.spec.template.spec.containers.all(c, c.nam == '')", Err("undefined field 'nam'")),
                ("secret.data['a'] == 'b'", Err("'(bytes, string)'")),
                ("object.spec == secret.metadata", Err("DeploymentSpec")),
            ],
        );
    }

    #[test]
    fn expressions_see_custom_kinds_as_they_are_declared() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "replicas": {"type": "integer"}, "at": {"type": "string", "format": "date-time"},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "embedded": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        }}}});
        let custom = Custom::new("stable.example.com", "v1", "CronTab", schema);
        let environment = Environment::new().with("object", declared(custom.ty()));
        holds(
            &environment,
            &[
                ("object.spec.replicas > 1 && object.spec.at < timestamp('2026-01-01T00:00:00Z')", Ok(())),
                (
                    "object.metadata.labels['a'] == object.metadata.namespace && object.kind == 'CronTab'",
                    Ok(()),
                ),
                ("object.spec.free.anything == 1 && object.spec.embedded.metadata.uid == ''", Ok(())),
                ("object.spec.maxRetries < 10", Err("undefined field 'maxRetries'")),
                ("object.spec.replicas > '1'", Err("'(int, string)'")),
                ("object.status.x", Err("undefined field 'status'")),
            ],
        );
    }
}

//! Schemas that are refused, and what those that are not do to objects.

use serde_json::{Value, json};

use super::*;
use crate::decode::{ContentType, FieldValidation, decode};
use crate::defaults;

fn cron_tab() -> Custom {
    let schema = json!({
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object",
                "required": ["cronSpec"],
                "properties": {
                    "cronSpec": {"type": "string", "pattern": "^(\\d+|\\*)(/\\d+)?$", "maxLength": 8},
                    "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1},
                    "color": {"type": "string", "enum": ["red", "blue"], "nullable": true},
                    "port": {"x-kubernetes-int-or-string": true},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "template": {"type": "object", "x-kubernetes-embedded-resource": true,
                        "x-kubernetes-preserve-unknown-fields": true},
                    "hosts": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                    "ports": {
                        "type": "array", "maxItems": 3,
                        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                        "items": {"type": "object", "required": ["name"], "properties": {
                            "name": {"type": "string"}, "number": {"type": "integer", "default": 80}}}
                    }
                },
                "not": {"required": ["labels", "free"]},
                "oneOf": [{"required": ["replicas"]}, {"required": ["port"]}]
            }
        }
    });
    assert_eq!(check(&schema, &Path::new("s")), []);
    Custom::new("stable.example.com", "v1", "CronTab", schema)
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "a"}, "spec": spec})
}

#[test]
fn values_are_refused_in_upstreams_words() {
    let custom = cron_tab();
    let with = |key: &str, value: Value| {
        let mut spec = json!({"cronSpec": "*", "replicas": 1});
        spec[key] = value;
        spec
    };
    for (spec, expected) in [
        (
            with("replicas", json!("3")),
            "spec.replicas: Invalid value: \"string\": spec.replicas in body must be of type integer: \"string\"",
        ),
        (
            with("replicas", json!(11)),
            "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
        ),
        (
            with("replicas", json!(0)),
            "spec.replicas: Invalid value: 0: spec.replicas in body should be greater than or equal to 1",
        ),
        (
            with("cronSpec", json!("x")),
            "spec.cronSpec: Invalid value: \"x\": spec.cronSpec in body should match '^(\\d+|\\*)(/\\d+)?$'",
        ),
        (with("cronSpec", json!("1234567890")), "spec.cronSpec: Too long: may not be more than 8 bytes"),
        (json!({"replicas": 1}), "spec.cronSpec: Required value"),
        (
            with("color", json!("green")),
            "spec.color: Unsupported value: \"green\": supported values: \"red\", \"blue\"",
        ),
        (
            with("labels", json!({"a": 1})),
            "spec.labels.a: Invalid value: \"integer\": spec.labels.a in body must be of type string: \"integer\"",
        ),
        (with("hosts", json!(["a", "a"])), "spec.hosts[1]: Duplicate value: \"a\""),
        (
            with("ports", json!([{"name": "a"}, {"name": "a"}])),
            "spec.ports[1]: Duplicate value: {\"name\":\"a\"}",
        ),
        (
            with("ports", json!([{"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "d"}])),
            "spec.ports: Too many: 4: must have at most 3 items",
        ),
        (
            with("ports", json!([{"name": 1}])),
            "spec.ports[0].name: Invalid value: \"integer\": spec.ports[0].name in body must be of type string: \"integer\"",
        ),
        (
            with("template", json!({"kind": "Pod"})),
            "spec.template.apiVersion: Required value: must not be empty",
        ),
        (
            with("port", json!(1)),
            "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ),
    ] {
        let errors: Vec<String> =
            custom.validate(&object(spec.clone()), None).iter().map(ToString::to_string).collect();
        assert!(errors.iter().any(|error| error == expected), "{spec}: {errors:#?}");
    }
    let good = object(json!({"cronSpec": "*", "replicas": 1, "color": null}));
    assert_eq!(custom.validate(&good, None), []);
    let both = with("labels", json!({}));
    let mut both = object(both);
    both["spec"]["free"] = json!({});
    assert!(custom.validate(&both, None)[0].detail.contains("must not validate the schema (not)"));
}

#[test]
fn what_was_wrong_before_an_update_may_stay() {
    let custom = cron_tab();
    let old = object(json!({"cronSpec": "bad", "replicas": 1, "color": "red"}));
    let mut new = old.clone();
    new["spec"]["color"] = json!("blue");
    assert_eq!(custom.validate(&new, Some(&old)), []);
    new["spec"]["cronSpec"] = json!("worse");
    assert_eq!(custom.validate(&new, Some(&old)).len(), 1);
}

#[test]
fn bodies_are_cut_to_the_schema_and_told_so() {
    let custom = cron_tab();
    let body = r#"{"apiVersion":"stable.example.com/v1","kind":"CronTab","metadata":{"name":"a","nome":"b"},
        "spec":{"cronSpec":"*","cronSpec":"*","spek":1,"free":{"any":{"thing":1.0}},"ports":[{"name":"a","x":1}],
        "template":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{}}},"more":{}}"#;
    let decoded =
        decode(body.as_bytes(), ContentType::Json, custom.ty(), FieldValidation::Warn).expect("it is read");
    assert_eq!(
        decoded.value["spec"],
        json!({"cronSpec": "*", "free": {"any": {"thing": 1}}, "ports": [{"name": "a"}],
            "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}}})
    );
    assert_eq!(decoded.value["metadata"], json!({"name": "a"}));
    let mut warnings = decoded.warnings;
    warnings.sort();
    assert_eq!(
        warnings,
        [
            "duplicate field \"spec.cronSpec\"",
            "unknown field \"metadata.nome\"",
            "unknown field \"more\"",
            "unknown field \"spec.ports[0].x\"",
            "unknown field \"spec.spek\"",
        ]
    );
    let refused = decode(body.as_bytes(), ContentType::Json, custom.ty(), FieldValidation::Strict);
    assert!(refused.is_err_and(|error| error.detail().starts_with("strict decoding error: ")));
}

#[test]
fn defaults_fill_what_is_absent_or_null() {
    let custom = cron_tab();
    let mut value = object(json!({"cronSpec": "*", "replicas": null, "color": null, "hosts": null,
        "ports": [{"name": "a"}, {"name": "b", "number": 1}]}));
    defaults::apply(custom.ty(), &mut value);
    let expected = json!({"cronSpec": "*", "replicas": 1, "color": null,
        "ports": [{"name": "a", "number": 80}, {"name": "b", "number": 1}]});
    assert_eq!(value["spec"], expected);
    defaults::apply(custom.ty(), &mut value);
    assert_eq!(value["spec"], expected);
}

#[test]
fn schemas_that_are_not_structural_are_refused_at_their_place() {
    let within = |spec: Value| json!({"type": "object", "properties": {"spec": spec}});
    for (schema, expected) in [
        (json!({}), "s.type: Required value: must not be empty at the root"),
        (json!({"type": "string"}), "s.type: Invalid value: \"string\": must be object at the root"),
        (
            within(json!({})),
            "s.properties[spec].type: Required value: must not be empty for specified object fields",
        ),
        (
            within(json!({"type": "text"})),
            "s.properties[spec].type: Unsupported value: \"text\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
        ),
        (within(json!({"type": "array"})), "s.properties[spec].items: Required value: must be specified"),
        (
            within(json!({"type": "array", "items": {}})),
            "s.properties[spec].items.type: Required value: must not be empty for specified array items",
        ),
        (
            within(json!({"type": "string", "pattern": "("})),
            "s.properties[spec].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't",
        ),
        (
            within(json!({"type": "string", "uniqueItems": true})),
            "s.properties[spec].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
        (
            within(json!({"type": "object", "$ref": "#/x"})),
            "s.properties[spec].$ref: Forbidden: $ref is not supported",
        ),
        (
            within(json!({"type": "object", "properties": {}, "anyOf": [{"type": "object"}]})),
            "s.properties[spec].anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            within(json!({"type": "object", "allOf": [{"properties": {"a": {"minimum": 1}}}]})),
            "s.properties[spec].properties[a]: Required value: because it is defined in s.properties[spec].allOf[0].properties[a]",
        ),
        (
            within(json!({"type": "integer", "default": "x"})),
            "s.properties[spec].default: Invalid value: \"string\"",
        ),
        (
            within(json!({"type": "object", "default": {"x": 1}})),
            "s.properties[spec].default: Invalid value: {\"x\":1}: must not have unknown fields: x",
        ),
        (
            within(json!({"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}})),
            "s.properties[spec].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ),
        (
            json!({"type": "object", "additionalProperties": true}),
            "s.additionalProperties: Forbidden: must not be used at the root",
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
            "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName",
        ),
        (
            within(json!({"x-kubernetes-int-or-string": true, "x-kubernetes-preserve-unknown-fields": true})),
            "s.properties[spec].x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true",
        ),
    ] {
        let errors: Vec<String> = check(&schema, &Path::new("s")).iter().map(ToString::to_string).collect();
        assert!(errors.iter().any(|error| error.starts_with(expected)), "{schema}: {errors:#?}");
    }
    let either = within(
        json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
    );
    assert_eq!(check(&either, &Path::new("s")), []);
}

#[test]
fn apply_sees_lists_and_maps_as_declared() {
    let custom = cron_tab();
    let object = object(
        json!({"cronSpec": "*", "ports": [{"name": "a", "number": 1}], "hosts": ["h"], "free": {"a": {"b": 1}}}),
    );
    assert_eq!(crate::structured::check(custom.ty(), &object), Ok(()));
    let fields = crate::structured::set_of(custom.ty(), &object);
    let mut text = Vec::new();
    fields.encode(&mut text);
    let text: Value = serde_json::from_slice(&text).expect("it is JSON");
    assert!(text["f:spec"]["f:ports"]["k:{\"name\":\"a\"}"]["f:number"].is_object(), "{text}");
    assert!(text["f:spec"]["f:hosts"]["v:\"h\""].is_object(), "{text}");
    assert!(text["f:spec"]["f:free"]["f:a"]["f:b"].is_object(), "{text}");
    let unknown = json!({"spec": {"spek": 1, "replicas": "x"}});
    let errors = crate::structured::check(custom.ty(), &unknown).unwrap_err().to_string();
    assert!(errors.contains(".spec.spek: field not declared in schema"), "{errors}");
    assert!(errors.contains(".spec.replicas: expected numeric (int or float), got string"), "{errors}");
}

fn with_rules(rules: Value) -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "x-kubernetes-validations": rules, "properties": {
            "min": {"type": "integer"}, "max": {"type": "integer"},
            "name": {"type": "string", "maxLength": 20},
            "items": {"type": "array", "maxItems": 5, "items": {"type": "object", "properties": {"n": {"type": "integer"}},
                "x-kubernetes-validations": [{"rule": "self.n > 0", "message": "n must be positive"}]}}
        }}
    }})
}

#[test]
fn rules_hold_of_objects_and_of_changes() {
    let schema = with_rules(json!([
        {"rule": "self.min <= self.max", "messageExpression": "'min ' + string(self.min) + ' is above max'", "fieldPath": ".min"},
        {"rule": "self.name == oldSelf.name", "message": "name is immutable", "reason": "FieldValueForbidden"},
        {"rule": "!oldSelf.hasValue() || self.max >= oldSelf.value().max", "optionalOldSelf": true},
    ]));
    assert_eq!(check(&schema, &Path::new("s")), []);
    let custom = Custom::new("example.com", "v1", "Ruled", schema);
    let spec = |min: i64, max: i64, name: &str| json!({"spec": {"min": min, "max": max, "name": name}});
    let good = spec(1, 2, "a");
    let told = |new: &Value, old: Option<&Value>| -> Vec<String> {
        custom.validate(new, old).iter().map(ToString::to_string).collect()
    };
    assert_eq!(told(&good, None), [] as [String; 0]);
    assert_eq!(told(&spec(3, 2, "a"), None), ["spec.min: Invalid value: \"object\": min 3 is above max"]);
    assert_eq!(told(&spec(1, 2, "b"), Some(&good)), ["spec: Forbidden: name is immutable"]);
    assert_eq!(
        told(&spec(1, 1, "a"), Some(&good)),
        [
            "spec: Invalid value: \"object\": failed rule: !oldSelf.hasValue() || self.max >= oldSelf.value().max"
        ]
    );
    let items = json!({"spec": {"min": 1, "max": 2, "name": "a", "items": [{"n": 1}, {"n": 0}]}});
    assert_eq!(told(&items, None), ["spec.items[1]: Invalid value: \"object\": n must be positive"]);
    let wrong = told(&json!({"spec": {"min": "x", "max": 2}}), None);
    assert!(wrong[1].contains("some validation rules were not checked"), "{wrong:?}");
    let missing = told(&json!({"spec": {"max": 2, "name": "a"}}), None);
    assert!(missing[0].contains("evaluating rule: self.min <= self.max"), "{missing:?}");
}

#[test]
fn rules_that_do_not_compile_or_cost_too_much_are_refused() {
    for (rule, expected) in [
        (
            json!({"rule": ""}),
            "s.properties[spec].x-kubernetes-validations[0].rule: Required value: rule is not specified",
        ),
        (
            json!({"rule": "self.nome > 1"}),
            "s.properties[spec].x-kubernetes-validations[0].rule: Invalid value: \"self.nome > 1\": compilation failed",
        ),
        (
            json!({"rule": "self.min"}),
            "s.properties[spec].x-kubernetes-validations[0].rule: Invalid value: \"self.min\": must evaluate to bool",
        ),
        (
            json!({"rule": "true", "message": " "}),
            "s.properties[spec].x-kubernetes-validations[0].message: Invalid value: \" \": message must be non-empty if specified",
        ),
        (
            json!({"rule": "true", "messageExpression": "1"}),
            "s.properties[spec].x-kubernetes-validations[0].messageExpression: Invalid value: \"1\": must evaluate to string",
        ),
        (
            json!({"rule": "true", "reason": "Because"}),
            "s.properties[spec].x-kubernetes-validations[0].reason: Unsupported value: \"Because\"",
        ),
        (
            json!({"rule": "true", "fieldPath": ".none"}),
            "s.properties[spec].x-kubernetes-validations[0].fieldPath: Invalid value: \".none\": fieldPath must be a valid path",
        ),
    ] {
        let errors: Vec<String> =
            check(&with_rules(json!([rule])), &Path::new("s")).iter().map(ToString::to_string).collect();
        assert!(errors.iter().any(|error| error.starts_with(expected)), "{rule}: {errors:#?}");
    }
    let dear = json!({"type": "object", "properties": {"spec": {"type": "array", "items": {"type": "array", "items": {
        "type": "string", "x-kubernetes-validations": [{"rule": "self.contains('x')"}]}}}}});
    let errors: Vec<String> = check(&dear, &Path::new("s")).iter().map(ToString::to_string).collect();
    assert!(
        errors.iter().any(|error| error.contains("rule cost exceeds budget by factor of")),
        "{errors:#?}"
    );
    let change = json!({"type": "object", "properties": {"spec": {"type": "array", "maxItems": 3, "items": {
        "type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}}}});
    let errors: Vec<String> = check(&change, &Path::new("s")).iter().map(ToString::to_string).collect();
    assert!(
        errors.iter().any(|error| error.contains("oldSelf cannot be used on the uncorrelatable portion")),
        "{errors:#?}"
    );
}

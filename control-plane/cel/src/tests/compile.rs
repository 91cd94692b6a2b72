//! What is refused before it is evaluated.

use super::*;

#[test]
fn names_and_types_that_do_not_fit_are_refused_with_their_place() {
    let rows = [
        ("y == 1", "ERROR: <input>:1:1: undeclared reference to 'y' (in container '')\n | y == 1\n | ^"),
        (
            "1 + none(2)",
            "ERROR: <input>:1:9: undeclared reference to 'none' (in container '')\n | 1 + none(2)\n | ........^",
        ),
        ("self.none > 1", "ERROR: <input>:1:5: undefined field 'none'\n | self.none > 1\n | ....^"),
        (
            "self.namespace == ''",
            "ERROR: <input>:1:5: undefined field 'namespace'\n | self.namespace == ''\n | ....^",
        ),
        ("self.replicas == 'a'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.replicas + 1.0", "found no matching overload for '_+_' applied to '(int, double)'"),
        ("self.name.none()", "undeclared reference to 'none' (in container '')"),
        ("self.name.startsWith(1)", "found no matching overload for 'startsWith' applied to 'string.(int)'"),
        ("self.replicas.x", "type 'int' does not support field selection"),
        ("self.replicas && true", "found no matching overload for '_&&_' applied to '(bool, int)'"),
        ("self.replicas ? 1 : 2", "found no matching overload for '_?_:_' applied to '(int, int, int)'"),
        ("true ? 1 : 'a'", "found no matching overload for '_?_:_' applied to '(bool, int, string)'"),
        ("[1, 'a']", "expected type 'int' but found 'string'"),
        ("{'a': 1, 'b': 'c'}", "expected type 'int' but found 'string'"),
        (
            "self.name.all(c, true)",
            "expression of type 'string' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("self.ports.all(p, p.none)", "undefined field 'none'"),
        ("self.ports.all(p, p.port)", "expected type 'bool' but found 'int'"),
        ("self.ports.all(p.q, true)", "argument must be a simple name"),
        ("self.ports['a']", "found no matching overload for '_[_]' applied to '(list(port), string)'"),
        ("has(self)", "invalid argument to has() macro"),
        ("'a'.matches('(')", "invalid matches argument"),
        (
            "quantity('1') > quantity('2')",
            "found no matching overload for '_>_' applied to '(kubernetes.Quantity, kubernetes.Quantity)'",
        ),
        ("1 +", "Syntax error: mismatched input '<EOF>'"),
        (
            "self.replicas >\n  none",
            "ERROR: <input>:2:3: undeclared reference to 'none' (in container '')\n |   none\n | ..^",
        ),
        ("Object{}", "undeclared reference to 'Object' (in container '')"),
        ("variables.x", "undefined field 'x'"),
        ("if == 1", "reserved identifier: if"),
    ];
    for (expression, expected) in rows {
        let text = refused(expression).to_string();
        assert!(text.starts_with("compilation failed: "), "{text}");
        assert!(text.contains(expected), "{expression}: {text}");
    }
}

#[test]
fn a_result_of_another_type_is_refused() {
    let as_bool = |expression| Program::compile_as(expression, &environment(), &[Type::Bool]).map(|_| ());
    assert_eq!(as_bool("1").unwrap_err().to_string(), "must evaluate to bool");
    assert_eq!(as_bool("true"), Ok(()));
    assert_eq!(as_bool("x.anything"), Ok(()));
    let either = Program::compile_as("1", &environment(), &[Type::STRING, Type::Null]).unwrap_err();
    assert_eq!(either.to_string(), "must evaluate to one of [string null]");
}

#[test]
fn result_types_are_inferred() {
    let rows = [
        ("self.replicas", "int"),
        ("self.ports", "list(port)"),
        ("self.ports.map(p, p.name)", "list(string)"),
        ("self.ports.filter(p, p.port > 1)", "list(port)"),
        ("self.?name", "optional_type(string)"),
        ("self.?name.orValue('')", "string"),
        ("self.labels.transformMap(k, v, size(v))", "map(string, int)"),
        ("x.y", "dyn"),
        ("self.name.split(',')[0]", "string"),
        ("self.list.max()", "int"),
        ("cel.bind(a, self.name, a + 'b')", "string"),
        ("[]", "list(dyn)"),
        ("x.y + 1", "int"),
    ];
    for (expression, expected) in rows {
        let program = Program::compile(expression, &environment()).unwrap();
        assert_eq!(program.result_type().to_string(), expected, "{expression}");
    }
}

#[test]
fn mutations_make_objects_and_patches() {
    let environment = environment().for_mutation();
    let rows = [
        (
            "Object{spec: Object.spec{replicas: 3, ?name: x.?none}}",
            "Object",
            json!({ "spec": { "replicas": 3 } }),
        ),
        (
            "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'c'}]",
            "list(JSONPatch)",
            json!([{ "op": "add", "path": "/metadata/labels/a~1b", "value": "c" }]),
        ),
    ];
    for (expression, ty, expected) in rows {
        let program = Program::compile(expression, &environment).unwrap();
        assert_eq!(program.result_type().to_string(), ty);
        let x = json!({});
        let bindings = Bindings::new().with("x", Value::from_json(&x, &Type::Dyn));
        let value = program.evaluate(&bindings, &mut Budget::default()).unwrap();
        assert_eq!(value.to_json(), Some(expected));
    }
    let wrong = Program::compile("JSONPatch{op: 1}", &environment).unwrap_err().to_string();
    assert!(wrong.contains("expected type of field 'op' is 'string' but provided type is 'int'"), "{wrong}");
}

#[test]
fn a_program_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Program>();
    shared::<Environment>();
}

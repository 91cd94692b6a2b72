//! Whatever is given, there is an answer: no panic, no stack overflow, no long wait.

use super::*;
use proptest::prelude::*;

/// Half of what a worker of the runtime has; the other half is for whoever calls.
const STACK_BYTES: usize = 1 << 20;

fn tried(expression: &str) {
    let Ok(program) = Program::compile(expression, &environment()) else { return };
    let own = object();
    let bindings = Bindings::new()
        .with("x", Value::from_json(&own, &Type::Dyn))
        .with("self", Value::from_json(&own, program.variable("self").unwrap()));
    if let Ok(value) = program.evaluate(&bindings, &mut Budget::default()) {
        let _ = value.to_json();
    }
}

/// Expressions that are well formed more often than not, of everything that there is.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("x"),
        Just("self"),
        Just("self.list"),
        Just("self.name"),
        Just("x.ports"),
        Just("1"),
        Just("-9223372036854775808"),
        Just("0"),
        Just("2u"),
        Just("1e308"),
        Just("'é'"),
        Just("b'\\xff'"),
        Just("null"),
        Just("true"),
        Just("[]"),
        Just("{}"),
        Just("'%s%d%.99f'"),
        Just("duration('2540400h')"),
        Just("timestamp('9999-12-31T23:59:59Z')"),
        Just("quantity('1E')"),
        Just("optional.none()"),
        Just("i"),
        Just("int"),
        Just("ip('::1')"),
        Just("cidr('0.0.0.0/0')"),
        Just("url('/')"),
    ]
    .prop_map(str::to_owned);
    leaf.prop_recursive(6, 48, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            (
                two.clone(),
                prop::sample::select(vec!["+", "-", "*", "/", "%", "==", "!=", "<", ">=", "in", "&&", "||"])
            )
                .prop_map(|((a, b), op)| format!("({a} {op} {b})")),
            (two.clone(), prop::sample::select(vec!["all", "exists", "exists_one", "map", "filter"]))
                .prop_map(|((a, b), name)| format!("({a}).{name}(i, {b})")),
            (
                two.clone(),
                prop::sample::select(vec![
                    "contains",
                    "split",
                    "join",
                    "format",
                    "indexOf",
                    "lastIndexOf",
                    "substring",
                    "charAt",
                    "matches",
                    "findAll",
                    "orValue",
                    "or",
                    "add",
                    "sub",
                    "compareTo",
                    "containsIP",
                    "containsCIDR",
                    "getHours",
                ])
            )
                .prop_map(|((a, b), name)| format!("({a}).{name}({b})")),
            (
                inner.clone(),
                prop::sample::select(vec![
                    "size",
                    "int",
                    "uint",
                    "double",
                    "string",
                    "bytes",
                    "dyn",
                    "type",
                    "duration",
                    "timestamp",
                    "quantity",
                    "url",
                    "semver",
                ])
            )
                .prop_map(|(a, name)| format!("{name}({a})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a}).substring({b}, {c})")),
            two.clone().prop_map(|(a, b)| format!("({a})[{b}]")),
            two.clone().prop_map(|(a, b)| format!("({a})[?{b}]")),
            two.clone().prop_map(|(a, b)| format!("[{a}, {b}]")),
            two.clone().prop_map(|(a, b)| format!("{{{a}: {b}}}")),
            two.clone().prop_map(|(a, b)| format!("cel.bind(i, {a}, {b})")),
            two.prop_map(|(a, b)| format!("({a}).replace({b}, {b})")),
            inner.clone().prop_map(|a| format!("(-dyn({a}))")),
            inner.prop_map(|a| format!("dyn({a}).?name")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_expressions_are_answered(expression in expressions()) {
        tried(&expression);
        tried(&expression.replace("self", "x"));
    }

    #[test]
    fn random_texts_are_answered(text in "[a-c0-9.\\[\\](){}+*?:'\"\\\\ &|<>=!,`éx-]{0,60}") {
        tried(&text);
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,40}") {
        tried(&text);
    }
}

#[test]
fn deep_values_are_compared_and_written_without_overflow() {
    let mut deep = json!(1);
    for _ in 0..120 {
        deep = json!([deep]);
    }
    let bindings = Bindings::new().with("x", Value::from_json(&deep, &Type::Dyn));
    for expression in ["x == x", "'%s'.format([x])", "x in [x]", "[x, x].map(y, y)[0] == x"] {
        let program = Program::compile(expression, &environment()).unwrap();
        let _ = program.evaluate(&bindings, &mut Budget::default());
    }
}

#[test]
fn the_deepest_expression_that_is_taken_is_evaluated_on_a_small_stack() {
    // As deep as nesting goes, in each of the ways that an expression nests.
    let deep =
        |open: &str, close: &str, levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
    let rows = [
        deep("(", ")", 240),
        deep("[", "]", 120),
        deep("size([", "])", 120),
        deep("(true ? ", " : 2)", 120),
        deep("(1 + ", ")", 120),
        deep("-dyn(", ")", 120),
        deep("dyn(", ")", 240),
        deep("[1].map(i, ", ")", 80),
        deep("cel.bind(i, ", ", i)", 120),
        format!("1{}", " + 1".repeat(240)),
        format!("{}2", "true ? 1 : ".repeat(200)),
    ];
    let tried = move || {
        for expression in rows {
            let program = Program::compile(&expression, &environment())
                .unwrap_or_else(|error| panic!("{expression}: {error}"));
            program
                .evaluate(&Bindings::new(), &mut Budget::default())
                .unwrap_or_else(|error| panic!("{expression}: {error}"));
        }
    };
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(tried).unwrap().join().unwrap();
}

#[test]
fn composited_variables_nest_no_deeper_than_the_stack_holds() {
    let mut environment = Environment::new();
    for index in 0..16 {
        let inner = if index == 0 { "1".to_owned() } else { format!("variables.v{}", index - 1) };
        let expression = format!("{}{inner}{}", "[".repeat(100), "]".repeat(100));
        let program = Program::compile(&expression, &environment).unwrap();
        environment = environment.with_composited(&format!("v{index}"), program.into());
    }
    let tried = move || {
        let evaluated = |expression: &str| {
            let program = Program::compile(expression, &environment).unwrap();
            program.evaluate(&Bindings::new(), &mut Budget::default()).map(|_| ())
        };
        assert_eq!(evaluated("variables.v0"), Ok(()));
        assert_eq!(evaluated("variables.v15"), Err(EvalError::TooDeep));
        assert_eq!(
            evaluated(&format!("{}variables.v0{}", "[".repeat(40), "]".repeat(40))),
            Err(EvalError::TooDeep)
        );
    };
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(tried).unwrap().join().unwrap();
}

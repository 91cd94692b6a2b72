//! What evaluation may cost, and what it is estimated to.

use super::*;
use crate::{OBJECT_BUDGET, PER_CALL_LIMIT, STATIC_RULE_LIMIT};

#[test]
fn a_call_ends_at_its_limit_and_so_does_the_budget_of_many() {
    let nested = "[1,2,3,4,5,6,7,8,9,10]";
    let mut expression = "a > 0".to_owned();
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        expression = format!("{nested}.all({name}, {expression})");
    }
    assert_eq!(evaluate(&expression.replace("a > 0", "true")), Err(EvalError::CallCost));

    let program = Program::compile("[1, 2, 3].map(i, i)", &environment()).unwrap();
    let mut budget = Budget::new(100);
    let mut done = 0;
    let last = loop {
        match program.evaluate(&Bindings::new(), &mut budget) {
            Ok(_) => done += 1,
            Err(error) => break error,
        }
    };
    assert!(done > 1 && done < 20, "{done}");
    assert_eq!(last, EvalError::Budget);
    assert_eq!(budget.left(), 0);
    assert!(last.is_final() && PER_CALL_LIMIT < OBJECT_BUDGET);
}

#[test]
fn nothing_hides_an_exhausted_budget() {
    for expression in
        ["x.big.all(i, x.big.all(j, true)) || true", "[1].exists(k, x.big.all(i, x.big.all(j, true)))"]
    {
        let program = Program::compile(expression, &environment()).unwrap();
        let x = json!({ "big": vec![0; 2000] });
        let bindings = Bindings::new().with("x", Value::from_json(&x, &Type::Dyn));
        let value = program.evaluate(&bindings, &mut Budget::default());
        assert_eq!(value.map(|_| ()), Err(EvalError::CallCost), "{expression}");
    }
}

#[test]
fn texts_do_not_grow_beyond_what_is_paid_for() {
    let doubling = (0..40).fold("'aaaaaaaaaa'".to_owned(), |text, _| format!("cel.bind(s, {text}, s + s)"));
    assert_eq!(evaluate(&doubling), Err(EvalError::CallCost));
    let replaced = "cel.bind(s, 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', cel.bind(t, s.replace('a', s), cel.bind(u, t.replace('a', t), u.replace('a', u)))) == ''";
    assert_eq!(evaluate(replaced), Err(EvalError::CallCost));
}

#[test]
fn an_estimate_tells_rules_that_fit_from_those_that_cannot() {
    let rows = [
        ("self.replicas > 1", true),
        ("self.ports.all(p, self.ports.all(q, p.name == q.name || p != q))", false),
        ("self.ports.all(p, p.port > 0)", true),
        ("self.set.all(a, self.set.all(b, a != b))", false),
        ("self.list.all(i, i > 0)", true),
        ("self.list.all(i, self.list.all(j, i != j))", false),
        ("self.name.matches('^[a-z]+$')", true),
    ];
    for (expression, fits) in rows {
        let cost = Program::compile(expression, &environment()).unwrap().cost_estimate();
        assert_eq!(cost <= STATIC_RULE_LIMIT, fits, "{expression}: {cost}");
    }
}

#[test]
fn what_is_declared_bounds_what_is_spent() {
    for expression in [
        "self.replicas > 1 && self.ratio < 2.0",
        "self.ports.all(p, p.port > 0 && p.name != '')",
        "self.name.startsWith('w') ? self.set.size() > 0 : self.labels.size() > 2",
        "self.ports.map(p, p.port).sum() > 5",
        "self.set.exists(s, s in ['a', 'b'])",
    ] {
        let program = Program::compile(expression, &environment()).unwrap();
        let own = object();
        let bindings =
            Bindings::new().with("self", Value::from_json(&own, program.variable("self").unwrap()));
        let mut budget = Budget::default();
        program.evaluate(&bindings, &mut budget).unwrap();
        let spent = OBJECT_BUDGET - budget.left();
        assert!(
            spent > 0 && spent <= program.cost_estimate(),
            "{expression}: {spent} > {}",
            program.cost_estimate()
        );
    }
}

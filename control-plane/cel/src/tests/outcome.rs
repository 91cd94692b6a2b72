//! What expressions come to.

use super::*;

#[track_caller]
fn all_hold(rows: &[&str]) {
    for row in rows {
        assert_eq!(evaluate(row), Ok(json!(true)), "{row}");
    }
}

#[track_caller]
fn all_fail(rows: &[(&str, &str)]) {
    for (row, expected) in rows {
        assert_eq!(evaluate(row).map_err(|error| error.to_string()), Err((*expected).to_owned()), "{row}");
    }
}

#[test]
fn operators() {
    all_hold(&[
        "1 + 2 * 3 == 7 && 7 / 2 == 3 && -7 / 2 == -3 && 7 % 4 == 3 && -7 % 4 == -3",
        "1.5 + 1.5 == 3.0 && 1u + 2u == 3u && 0xFF == 255",
        "1 < 2.5 && 2u < 3 && 1.0 <= 1 && dyn(1) == dyn(1.0) && dyn(1u) == dyn(1) && dyn(1) != dyn('1')",
        "dyn(9007199254740993) != dyn(9007199254740992.0) && 9007199254740993 > 9007199254740992.0",
        "!(0.0/0.0 < 1.0) && 0.0/0.0 != 0.0/0.0 && dyn(-1) < dyn(0.5) && dyn(-1) > dyn(-1.5)",
        "'a' + 'b' == 'ab' && b'a' + b'b' == b'ab' && [1] + [2] == [1, 2] && 'a' < 'b' && false < true",
        "1 in [1, 2] && !('z' in ['a']) && 'k' in x.map && !('z' in x.map) && 2.5 in x.list",
        "true ? true : false",
        "(false ? 1 : 2) == 2",
        "true || x.none.none == 1",
        "x.none.none == 1 || true",
        "!(x.none == 1 && false) && !(false && x.none == 1)",
        "{'a': 1}.a == 1 && {'a': 1}['a'] == 1 && {1: 'a'}[1] == 'a' && {'a': [1]} == {'a': [1]}",
        "type(1) == int && type('a') == string && type([1]) == list && type({}) == map && type(null) == null_type",
        "type(type(1)) == type && type(1.0) != type(1) && type(b'') == bytes && type(true) == bool",
        "'\\u00e9' == 'é' && r'\\n' == '\\\\n' && '''a\nb''' == 'a\\nb' && size('é') == 1 && size(b'\\xc3\\xa9') == 2",
    ]);
    all_fail(&[
        ("1 / 0 == 1", "division by zero"),
        ("1 % 0 == 1", "modulus by zero"),
        ("9223372036854775807 + 1 == 0", "return error for overflow"),
        ("-9223372036854775808 / -1 == 0", "return error for overflow"),
        ("0u - 1u == 0u", "return error for overflow"),
        ("x.none", "no such key: none"),
        ("x.list[9]", "index out of bounds: 9"),
        ("x.list[-1]", "index out of bounds: -1"),
        ("x.name + 1", "no such overload"),
        ("x.name && true", "no such overload"),
        ("x.none == 1 && true", "no such key: none"),
        ("x.name.y", "no such overload"),
        ("{'a': 1, 'a': 2}.a", "duplicate key in map literal"),
    ]);
}

#[test]
fn declared_types_read_the_json() {
    all_hold(&[
        "self.replicas == 3 && self.ratio == 1.0 && self.x__dash__max == 5 && self.__namespace__ == 'ns'",
        "self.at == timestamp('2024-02-29T12:34:56.789Z') && self.every == duration('90m') && self.blob == b'hello'",
        "type(self.ratio) == double && type(self.port) == string && self.port == 'http'",
        "self.labels.app == 'web' && self.labels['a.b/c'] == 'd' && has(self.labels.app) && !has(self.labels.none)",
        "has(self.replicas) && !has(x.none) && self.ports[1].port == 443 && size(self.ports) == 2",
        "self.ports.all(p, p.port > 0) && self.ports.exists_one(p, p.name == 'http')",
        "self.set == ['b', 'a'] && self.set + ['b', 'c'] == ['a', 'b', 'c'] && self.list != [3, 2, 1]",
        "(self.ports + x.ports).map(p, p.port) == [8080, 443, 1]",
        "x == x && self == self",
    ]);
}

#[test]
fn macros() {
    all_hold(&[
        "[1, 2, 3].all(i, i > 0) && [].all(i, false) && ![].exists(i, true) && [1, 2].exists(i, i == 2)",
        "[1, 2, 2].exists_one(i, i == 1) && ![1, 2, 2].exists_one(i, i == 2) && [1].existsOne(i, i == 1)",
        "[1, 2, 3].map(i, i * 2) == [2, 4, 6] && [1, 2, 3].map(i, i > 1, i * 2) == [4, 6]",
        "[1, 2, 3].filter(i, i > 1) == [2, 3] && {'a': 1}.all(k, k == 'a') && {'a': 1}.map(k, k) == ['a']",
        "[1, 2].all(i, [3, 4].all(j, j > i)) && [1, 2].map(i, [i].map(i, i + 1)) == [[2], [3]]",
        "[10, 20].all(i, v, v == (i + 1) * 10) && {'a': 1}.exists(k, v, k == 'a' && v == 1)",
        "[10, 20].existsOne(i, v, i == 1) && [1, 2].transformList(i, v, i + v) == [1, 3]",
        "[1, 2].transformList(i, v, v > 1, i + v) == [3] && {'a': 1}.transformList(k, v, v) == [1]",
        "{'a': 1, 'b': 2}.transformMap(k, v, v * 2) == {'a': 2, 'b': 4}",
        "{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v * 2) == {'b': 4}",
        "{'a': 'b'}.transformMapEntry(k, v, {v: k}) == {'b': 'a'}",
        "cel.bind(a, 1 + 1, a * a) == 4 && cel.bind(a, 1, cel.bind(b, a + 1, a + b)) == 3",
        "[1, 0].exists(i, 1 / i == 1) && ![1, 0].all(i, 1 / i != 1)",
    ]);
    all_fail(&[
        ("[1, 0].all(i, 1 / i == 1)", "division by zero"),
        ("[2, 0].exists(i, 1 / i == 1)", "division by zero"),
        ("[2, 0].map(i, 1 / i)", "division by zero"),
        ("x.name.all(i, true)", "no such overload"),
        ("{'a': 'c', 'b': 'c'}.transformMapEntry(k, v, {v: k})", "insert failed: key already exists"),
    ]);
}

#[test]
fn optionals() {
    all_hold(&[
        "x.?name.orValue('z') == 'web' && x.?none.orValue('z') == 'z' && x.?none.?deeper.orValue(1) == 1",
        "x.?none.deeper.orValue(1) == 1 && x[?'none'].orValue(1) == 1 && [1, 2][?5].orValue(0) == 0",
        "x.?name.hasValue() && !x.?none.hasValue() && x.?map.k.value() == 1",
        "optional.of(1).value() == 1 && !optional.none().hasValue() && !optional.ofNonZeroValue('').hasValue()",
        "optional.of(1).optMap(v, v + 1).value() == 2 && x.?none.optMap(v, v + 1) == optional.none()",
        "optional.of(1).optFlatMap(v, optional.none()) == optional.none()",
        "x.?none.or(optional.of(2)).value() == 2 && {?'a': x.?none, 'b': 1} == {'b': 1}",
        "[?x.?none, ?x.?name] == ['web'] && self.?name.orValue('') == 'web'",
    ]);
    all_fail(&[("x.?none.value()", "optional.none() dereference")]);
}

#[test]
fn strings() {
    all_hold(&[
        "'hello'.contains('ell') && 'hello'.startsWith('he') && 'hello'.endsWith('lo') && 'hello'.size() == 5",
        "'héllo'.charAt(1) == 'é' && 'abc'.charAt(3) == '' && 'héllo'.substring(1, 3) == 'él' && 'abc'.substring(1) == 'bc'",
        "'ABC'.lowerAscii() == 'abc' && 'abc'.upperAscii() == 'ABC' && '  a '.trim() == 'a' && 'aé'.reverse() == 'éa'",
        "['a', 'b'].join() == 'ab' && ['a', 'b'].join('-') == 'a-b' && [].join(',') == ''",
        "'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c'] && 'abc'.split('') == ['a', 'b', 'c']",
        "'a,b'.split(',', 0) == [] && 'hello'.replace('l', 'L') == 'heLLo' && 'hello'.replace('l', 'L', 1) == 'heLlo'",
        "'hello'.indexOf('l') == 2 && 'hello'.lastIndexOf('l') == 3 && 'hello'.indexOf('z') == -1 && 'hello'.indexOf('l', 3) == 3",
        "'hello'.lastIndexOf('l', 2) == 2 && ''.indexOf('') == 0 && strings.quote('a\"b\\n') == '\"a\\\\\"b\\\\n\"'",
        "'%s %d %.2f %x %X %o %b %%'.format(['a', 1, 1.005, 255, 255, 8, 5]) == 'a 1 1.00 ff FF 10 101 %'",
        "'%s'.format([[1, 'a', null]]) == '[1, a, null]' && '%s'.format([{'a': 1}]) == '{a: 1}' && '%e'.format([1234.5]) == '1.234500e+03'",
        "'%s %s'.format([duration('1h'), true]) == '3600s true' && '%x'.format(['hi']) == '6869'",
        "'abc'.matches('^a.c$') && matches('abc', 'b') && 'abc'.find('b.') == 'bc' && 'a1b2'.findAll('[0-9]') == ['1', '2']",
        "'a1b2'.findAll('[0-9]', 1) == ['1'] && 'abc'.find('z') == '' && x.name.matches(x.name)",
        "string(1) == '1' && string(1.5) == '1.5' && string(1e6) == '1e+06' && string(true) == 'true' && string(b'a') == 'a'",
        "int('5') == 5 && int(5.9) == 5 && int(-5.9) == -5 && uint(5) == 5u && double('1.5') == 1.5 && bool('true')",
        "bytes('a') == b'a' && string(2u) == '2' && int(timestamp('1970-01-01T00:01:00Z')) == 60",
    ]);
    all_fail(&[
        ("'abc'.substring(2, 1)", "invalid substring range. start: 2, end: 1"),
        ("'abc'.substring(4)", "index out of range: 4"),
        ("int('a')", "strconv.ParseInt: parsing \"a\": invalid syntax"),
        ("'%d'.format(['a'])", "error during formatting: %d clause cannot take a value of type string"),
        ("'%s'.format([])", "index 0 out of range"),
        ("uint(-1)", "return error for overflow"),
    ]);
}

#[test]
fn lists_and_sets() {
    all_hold(&[
        "[1, 2, 2].isSorted() && !['b', 'a'].isSorted() && [].isSorted() && [1, 2].sum() == 3 && [1.5].sum() == 1.5",
        "[duration('1m'), duration('1s')].sum() == duration('61s') && [3, 1].min() == 1 && ['a', 'b'].max() == 'b'",
        "[1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2 && [1].indexOf(5) == -1 && [1, 2, 3].slice(1, 3) == [2, 3]",
        "sets.contains([1, 2], [2]) && !sets.contains([1], [2]) && sets.intersects([1, 2], [2, 3]) && !sets.intersects([1], [])",
        "sets.equivalent([1, 2, 2], [2, 1]) && !sets.equivalent([1], [1, 2])",
    ]);
    all_fail(&[("[].min() == 1", "min called on empty list")]);
}

#[test]
fn times() {
    all_hold(&[
        "self.at.getFullYear() == 2024 && self.at.getMonth() == 1 && self.at.getDate() == 29 && self.at.getDayOfMonth() == 28",
        "self.at.getDayOfWeek() == 4 && self.at.getDayOfYear() == 59 && self.at.getHours() == 12 && self.at.getMinutes() == 34",
        "self.at.getSeconds() == 56 && self.at.getMilliseconds() == 789 && self.at.getHours('+02:00') == 14 && self.at.getHours('UTC') == 12",
        "self.at.getHours('Europe/Berlin') == 13 && timestamp('2024-12-31T23:30:00Z').getFullYear('Asia/Tokyo') == 2025",
        "duration('1h30m').getMinutes() == 90 && duration('90s').getSeconds() == 90 && duration('1.5s').getMilliseconds() == 500",
        "self.at + duration('1h') > self.at && self.at - self.at == duration('0s') && string(duration('1.5h')) == '5400s'",
        "string(timestamp('2024-01-01T01:00:00+01:00')) == '2024-01-01T00:00:00Z' && duration('-1m') < duration('0')",
        "duration('1h') + duration('1m') - duration('1m') == duration('60m') && timestamp(0) == timestamp('1970-01-01T00:00:00Z')",
    ]);
    all_fail(&[
        ("duration('1x')", "time: invalid duration \"1x\""),
        ("self.at.getHours('Europe/Nowhere')", "unknown time zone Europe/Nowhere"),
    ]);
}

#[test]
fn kubernetes_libraries() {
    all_hold(&[
        "quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('1500m').compareTo(quantity('1.5')) == 0 && isQuantity('1Mi') && !isQuantity('1x')",
        "quantity('50k').asInteger() == 50000 && !quantity('1m').isInteger() && quantity('1.5').asApproximateFloat() == 1.5 && quantity('-1').sign() == -1",
        "quantity('1').add(2).sub(quantity('500m')) == quantity('2500m') && quantity('1').isLessThan(quantity('2')) && quantity('1000m') == quantity('1')",
        "ip('127.0.0.1').isLoopback() && ip('::1').family() == 6 && isIP('10.0.0.1') && !isIP('010.0.0.1') && !isIP('::ffff:1.2.3.4')",
        "ip.isCanonical('::1') && !ip.isCanonical('0:0::1') && ip('10.0.0.1').isGlobalUnicast() && string(ip('::0')) == '::'",
        "ip('224.0.0.1').isLinkLocalMulticast() && ip('169.254.1.1').isLinkLocalUnicast() && ip('0.0.0.0').isUnspecified()",
        "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsIP(ip('10.1.2.3')) && !isCIDR('10.0.0.0/33')",
        "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.0.0.5/8').masked() == cidr('10.0.0.0/8') && cidr('10.0.0.5/8').prefixLength() == 8",
        "cidr('10.0.0.5/8').ip() == ip('10.0.0.5') && string(cidr('10.0.0.0/8')) == '10.0.0.0/8'",
        "url('https://user@example.com:80/a%20b?k=v&k=w+x').getHost() == 'example.com:80' && url('https://[::1]:80/').getHostname() == '::1'",
        "url('https://example.com:80/').getPort() == '80' && url('https://example.com/a b'.replace(' ', '%20')).getEscapedPath() == '/a%20b' && url('/path').getScheme() == ''",
        "url('https://e.com/?k=v&k=w+x').getQuery() == {'k': ['v', 'w x']} && isURL('https://a') && !isURL('a/b') && !isURL('')",
        "semver('1.2.3').major() == 1 && semver('1.2.3-rc.1').isLessThan(semver('1.2.3')) && isSemver('1.0.0') && !isSemver('v1.0') && isSemver('v1.0', true)",
        "semver('v01.2', true) == semver('1.2.0') && semver('1.10.0').compareTo(semver('1.9.0')) == 1 && semver('1.2.3').patch() == 3",
        "!format.dns1123Label().validate('abc').hasValue() && format.dns1123Label().validate('A').hasValue() && format.named('none') == optional.none()",
        "format.named('uuid').value().validate('x').value() == ['does not match the UUID format'] && !format.dns1123LabelPrefix().validate('a-').hasValue()",
        "!format.date().validate('2024-01-01').hasValue() && format.date().validate('2024-1-1').hasValue() && !format.byte().validate('aGk=').hasValue()",
    ]);
    all_fail(&[
        (
            "quantity('1x')",
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            "ip('::ffff:1.2.3.4')",
            "IP Address \"::ffff:1.2.3.4\" is an IPv4-mapped IPv6 address, which is not allowed",
        ),
    ]);
}

#[test]
fn an_authorizer_is_asked_what_the_expression_built() {
    use crate::{Authorize, Check, Decision, Library, Question};
    use std::sync::{Arc, Mutex};

    #[derive(Default)]
    struct Clerk(Mutex<Vec<Question>>);
    impl Authorize for Clerk {
        fn authorize(&self, question: &Question) -> Decision {
            self.0.lock().unwrap().push(question.clone());
            let allowed = question.verb == "get";
            Decision { allowed, reason: "because".to_owned(), ..Decision::default() }
        }
    }

    let environment = Environment::new()
        .with("authorizer", Type::Library(Library::Authorizer))
        .with("authorizer.requestResource", Type::Library(Library::ResourceCheck));
    let expression = "authorizer.group('apps').resource('deployments').subresource('scale').namespace('ns').name('web').check('get').allowed() \
        && !authorizer.path('/healthz').check('post').allowed() \
        && authorizer.serviceAccount('ns', 'sa').group('').resource('pods').check('get').reason() == 'because' \
        && authorizer.requestResource.check('get').allowed()";
    let program = Program::compile_as(expression, &environment, &[Type::Bool]).unwrap();
    let clerk = Clerk::default();
    let own = Question { resource: "configmaps".to_owned(), ..Question::default() };
    let mut budget = Budget::default();
    let bindings = Bindings::new()
        .with("authorizer", Value::Authorizer(Arc::new(Check::new(&clerk))))
        .with("authorizer.requestResource", Value::Authorizer(Arc::new(Check::of_resource(&clerk, own))));
    // Four checks do not fit one call.
    assert_eq!(program.evaluate(&bindings, &mut budget).unwrap_err(), EvalError::CallCost);
    let parts: Vec<&str> = expression.split("&&").collect();
    for part in parts {
        let program = Program::compile_as(part, &environment, &[Type::Bool]).unwrap();
        assert_eq!(
            program.evaluate(&bindings, &mut Budget::default()).unwrap().as_bool(),
            Some(true),
            "{part}"
        );
    }
    let asked = clerk.0.lock().unwrap();
    let scale = Question {
        verb: "get".to_owned(),
        group: "apps".to_owned(),
        resource: "deployments".to_owned(),
        subresource: "scale".to_owned(),
        namespace: "ns".to_owned(),
        name: "web".to_owned(),
        ..Question::default()
    };
    assert_eq!(asked[0], scale);
    assert!(
        asked.iter().any(|question| question.path.as_deref() == Some("/healthz") && question.verb == "post")
    );
    assert!(
        asked.iter().any(|question| question.service_account == Some(("ns".to_owned(), "sa".to_owned())))
    );
    assert!(asked.iter().any(|question| question.resource == "configmaps"));
}

#[test]
fn composited_variables_are_evaluated_once_and_only_where_named() {
    let first = Program::compile("x.count + 1", &environment()).unwrap();
    let environment = environment().with_composited("first", first.into());
    let failing = Program::compile("x.none", &environment).unwrap();
    let environment = environment.with_composited("failing", failing.into());
    let second = Program::compile("variables.first * 10", &environment).unwrap();
    let environment = environment.with_composited("second", second.into());
    let x = json!({ "count": 1 });
    let bindings = Bindings::new().with("x", Value::from_json(&x, &Type::Dyn));
    let mut costs = Vec::new();
    for (expression, expected) in [
        ("variables.second + variables.first", Ok(json!(22))),
        ("variables.second", Ok(json!(20))),
        (
            "variables.failing",
            Err("composited variable \"failing\" fails to evaluate: no such key: none".to_owned()),
        ),
    ] {
        let program = Program::compile(expression, &environment).unwrap();
        let mut budget = Budget::default();
        let value = program.evaluate(&bindings, &mut budget);
        assert_eq!(value.map(|value| value.to_json().unwrap()).map_err(|error| error.to_string()), expected);
        costs.push(crate::OBJECT_BUDGET - budget.left());
    }
    assert_eq!(costs[1], 2, "the second time only the name costs: {costs:?}");
    let undefined = Program::compile("variables.none", &environment).unwrap_err().to_string();
    assert!(undefined.contains("undefined field 'none'"), "{undefined}");
}

//! The API reference's own examples, the edges of the grammar, and the laws of arithmetic.

use proptest::prelude::*;

use super::{Format, Quantity, QuantityError};

fn canonical(text: &str) -> String {
    text.parse::<Quantity>().unwrap_or_else(|e| panic!("{text}: {e}")).to_string()
}

#[test]
fn canonical_form_has_no_fraction_and_the_largest_suffix() {
    for (text, expected) in [
        ("0", "0"),
        ("0Gi", "0"),
        ("1.5", "1500m"),
        ("1.5Gi", "1536Mi"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("1023Mi", "1023Mi"),
        ("1000Ki", "1000Ki"),
        ("512", "512"),
        ("1024", "1024"),
        ("1000", "1k"),
        ("1000000k", "1G"),
        ("100m", "100m"),
        ("-100m", "-100m"),
        ("+100m", "100m"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("1500e0", "1500"),
        ("1000e0", "1e3"),
        ("1e-3", "1e-3"),
        ("12e6", "12e6"),
        ("1.G", "1G"),
        ("0.1n", "1n"),
        ("0.1m", "100u"),
        ("0.5Ki", "512"),
        ("1.1Ki", "1126400m"),
        ("0.00000000001Gi", "10737419n"),
        ("0.000000000000000000000000000000000000001Ei", "1n"),
        ("0.0000000000000000000000000001Ei", "1n"),
        ("0.000000000000000000001Ei", "1152922n"),
        ("1.00000000000000000000000000000000000000000000000001Gi", "1073741824000000001n"),
        ("999999999999999999999999999.5Gi", "9223372036854775807"),
        ("100E", "100E"),
        ("8Ei", "9223372036854775807"),
        ("10000000000000000000000", "10000E"),
        ("100000000000000000000000000000000000000000", "10000000000E"),
        ("0.0000000000000000000000000000000000000001", "1n"),
        ("1e-100", "1e-9"),
        ("1e100", "10e27"),
    ] {
        assert_eq!(canonical(text), expected, "{text}");
    }
}

#[test]
fn what_is_no_quantity_is_refused_with_the_servers_text() {
    for text in ["", " ", "abc", "1.2.3", "1 Gi", "--1", "1Gi1Gi", "1m5x", "1e3.5", "\u{2460}"] {
        assert_eq!(text.parse::<Quantity>(), Err(QuantityError::Format), "{text:?}");
    }
    for text in ["1Kii", "1K", "1mm", "1e", "1ki"] {
        assert_eq!(text.parse::<Quantity>(), Err(QuantityError::Suffix), "{text:?}");
    }
}

#[test]
fn values_round_away_from_zero() {
    let q = |t: &str| t.parse::<Quantity>().expect("a quantity of the table");
    assert_eq!(q("1500m").value(), 2);
    assert_eq!(q("-1500m").value(), -2);
    assert_eq!(q("100u").milli_value(), 1);
    assert_eq!(q("100u").round_up_to_milli().to_string(), "1m");
    assert_eq!(q("2Gi").value(), 2 << 30);
    assert_eq!(q("2").as_i64(), Some(2));
    assert_eq!(q("1m").as_i64(), None);
}

#[test]
fn a_sum_keeps_the_left_format_unless_it_is_nothing() {
    let q = |t: &str| t.parse::<Quantity>().expect("a quantity of the table");
    assert_eq!((q("1Gi") + q("1024Mi")).to_string(), "2Gi");
    assert_eq!((q("0") + q("2048Ki")).to_string(), "2Mi");
    assert_eq!((q("1") - q("250m")).to_string(), "750m");
    assert!(q("1Gi") > q("1G"));
    assert_eq!(q("1Ki"), q("1024"));
}

#[test]
fn numbers_in_json_are_quantities_too() {
    for (json, expected) in [("1", "1"), ("0.5", "500m"), ("\"1Gi\"", "1Gi"), ("-2", "-2")] {
        let q: Quantity = serde_json::from_str(json).expect("a JSON quantity");
        assert_eq!(q.to_string(), expected);
    }
    assert!(serde_json::from_str::<Quantity>("true").is_err());
}

proptest! {
    #[test]
    fn the_canonical_text_means_the_same(mantissa in -1_000_000_000_000i64..1_000_000_000_000, suffix in "(n|u|m||k|M|Ki|Mi|Gi|e3|e-3)") {
        let parsed: Quantity = format!("{mantissa}{suffix}").parse().expect("generated");
        let again: Quantity = parsed.to_string().parse().expect("canonical text parses");
        prop_assert_eq!(parsed, again);
        prop_assert_eq!(parsed.to_string(), again.to_string());
    }

    #[test]
    fn adding_then_subtracting_changes_nothing(a in any::<i32>(), b in any::<i32>()) {
        let (a, b) = (Quantity::from_milli(a.into()), Quantity::from_units(b.into(), Format::BinarySi));
        prop_assert_eq!(a + b - b, a);
        prop_assert_eq!(a + b, b + a);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[-+]?[0-9]{0,40}[.]?[0-9]{0,60}(|[eE][-+]?[0-9]{1,10}|[EPTGMK]i|[numkMGTPE])") {
        let _ = text.parse::<Quantity>().map(|q| q.to_string());
    }

    #[test]
    fn binary_fractions_are_exact(whole in 0u32..1000, milli in 0u32..1000) {
        let q: Quantity = format!("{whole}.{milli:03}Gi").parse().expect("generated");
        let exact = (i128::from(whole) * 1000 + i128::from(milli)) * (1 << 30);
        prop_assert_eq!(i128::from(q.milli_value()), exact);
    }
}

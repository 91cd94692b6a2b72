//! What is told of several checks together: pure, in upstream's texts.

use crate::response::Answer;
use http::StatusCode;
use std::fmt::Write;

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    /// Why is not told here.
    Failed(String),
    Excluded,
}

/// The answer: one word where all is well and nobody asks for more, else a line a check.
pub(super) fn answer(
    endpoint: &str,
    results: &[(&str, Outcome)],
    excluded: &[&str],
    verbose: bool,
) -> Answer {
    let mut text = String::new();
    let mut failed = Vec::new();
    for (name, outcome) in results {
        let _ = match outcome {
            Outcome::Passed => writeln!(text, "[+]{name} ok"),
            Outcome::Excluded => writeln!(text, "[+]{name} excluded: ok"),
            Outcome::Failed(why) => {
                failed.push(format!("{name}: {why}"));
                writeln!(text, "[-]{name} failed: reason withheld")
            }
        };
    }
    let unknown = unknown(results, excluded);
    if !unknown.is_empty() {
        let _ = writeln!(text, "warn: some health checks cannot be excluded: no matches for {unknown}");
        tracing::warn!(unknown, "some health checks cannot be excluded");
    }
    if !failed.is_empty() {
        tracing::warn!(endpoint, failed = failed.join("; "), "health checks failed");
        return Answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{text}{endpoint} check failed\n"));
    }
    if verbose {
        return Answer::text(StatusCode::OK, format!("{text}{endpoint} check passed\n"));
    }
    Answer::text(StatusCode::OK, "ok")
}

/// Names that were to be excluded and are none, quoted, in order.
fn unknown(results: &[(&str, Outcome)], excluded: &[&str]) -> String {
    let mut names: Vec<&&str> =
        excluded.iter().filter(|name| !results.iter().any(|(known, _)| known == *name)).collect();
    names.sort_unstable();
    names.dedup();
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(results: &[(&str, Outcome)], excluded: &[&str], verbose: bool) -> (u16, String) {
        let Answer::Whole { code, bytes, .. } = answer("readyz", results, excluded, verbose) else {
            panic!("it does not stream")
        };
        (code.as_u16(), String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn checks_are_told_in_upstreams_words() {
        let passed = [("ping", Outcome::Passed), ("etcd", Outcome::Excluded)];
        let failed = [("ping", Outcome::Passed), ("etcd", Outcome::Failed("secret".into()))];
        let (ping, out) = ("[+]ping ok\n", "[+]etcd excluded: ok\n");
        let warn = "warn: some health checks cannot be excluded: no matches for \"a\",\"b\"\n";
        let rows: [(&[_], &[&str], bool, u16, String); 5] = [
            (&passed, &["etcd"], false, 200, "ok".to_owned()),
            (&passed, &["etcd"], true, 200, format!("{ping}{out}readyz check passed\n")),
            (&passed, &["etcd", "b", "a", "b"], true, 200, format!("{ping}{out}{warn}readyz check passed\n")),
            (&passed, &["b"], false, 200, "ok".to_owned()),
            (
                &failed,
                &[],
                false,
                500,
                format!("{ping}[-]etcd failed: reason withheld\nreadyz check failed\n"),
            ),
        ];
        for (results, excluded, verbose, code, text) in rows {
            assert_eq!(told(results, excluded, verbose), (code, text), "{excluded:?}");
        }
    }
}

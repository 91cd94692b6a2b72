//! Tests that did not run, and why: those that said `skipped: REASON` for want of something on this machine, as their
//! output in nextest's JUnit report tells, and those that are ignored, whose program tells the reason.

use crate::{
    build::cargo,
    paths,
    shell::{cmd, output},
};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::{collections::BTreeMap, fs, path::PathBuf};

/// A test and why it did not run.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Skipped {
    test: String,
    reason: String,
}

/// How a test says that it cannot run here; the rest of the line is why.
const SAID: &str = "skipped: ";

/// Where `.config/nextest.toml` has the report written.
fn report() -> PathBuf {
    paths::target().join("nextest/default/junit.xml")
}

/// Removes the report of an earlier run.
pub(super) fn forget() -> Result<()> {
    match fs::remove_file(report()) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).context("removing the last test report"),
        _ => Ok(()),
    }
}

/// Tests of the last run that said so. A run that could not build or had no test writes no report.
pub(super) fn said_so() -> Result<Vec<Skipped>> {
    match fs::read_to_string(report()) {
        Ok(text) => Ok(parse(&text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(vec![]),
        Err(e) => Err(e).with_context(|| format!("reading {}", report().display())),
    }
}

fn parse(junit: &str) -> Vec<Skipped> {
    let cases = junit.split("<testcase ").skip(1);
    let skipped = cases.filter_map(|case| {
        let said = case.split("</testcase>").next()?.lines().find_map(|line| line.split_once(SAID))?.1;
        let said = said.split("</system-").next().unwrap_or(said);
        let attribute = |name: &str| case.split_once(&format!("{name}=\""))?.1.split('"').next();
        let test = format!("{} {}", attribute(" classname")?, attribute("name")?);
        Some(Skipped { test, reason: unescape(said.trim()) })
    });
    skipped.collect()
}

fn unescape(xml: &str) -> String {
    xml.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

/// nextest's list, as far as it is looked at: <https://nexte.st/docs/machine-readable/list/>.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct List {
    rust_suites: BTreeMap<String, Suite>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Suite {
    binary_path: PathBuf,
    cwd: PathBuf,
    testcases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    ignored: bool,
}

/// Ignored tests of the workspace whose names hold one of the words (none: all).
pub(super) fn ignored(words: &[String]) -> Result<Vec<Skipped>> {
    let mut list = cargo();
    list.args(["nextest", "list", "--workspace", "--tests", "--message-format", "json"]);
    let list: List = serde_json::from_str(&output(&mut list)?).context("reading nextest's list of tests")?;
    let mut skipped = Vec::new();
    for (suite, Suite { binary_path, cwd, testcases }) in list.rust_suites {
        let names = testcases.into_iter().filter(|(_, case)| case.ignored).map(|(name, _)| name);
        for name in names.filter(|name| words.is_empty() || words.iter().any(|word| name.contains(word))) {
            // Asked for an ignored test, its program says why it does not run it: `test NAME ... ignored, REASON`.
            let said = output(cmd(&binary_path, ["--exact", &name]).current_dir(&cwd))?;
            let reason = said
                .lines()
                .find_map(|line| line.split_once("... ignored, "))
                .map_or("no reason given", |s| s.1);
            skipped.push(Skipped { test: format!("{suite} {name}"), reason: reason.to_string() });
        }
    }
    Ok(skipped)
}

/// By reason, so that a missing program shows once.
pub(super) fn print(skipped: &[Skipped]) {
    if skipped.is_empty() {
        return;
    }
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for skip in skipped {
        by_reason.entry(&skip.reason).or_default().push(&skip.test);
    }
    eprintln!("{} test(s) were skipped:", skipped.len());
    for (reason, tests) in by_reason {
        eprintln!("  {reason}");
        tests.iter().for_each(|test| eprintln!("    {test}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="3">
    <testsuite name="keelson-store::etcd" tests="3">
        <testcase name="ttl::a_key_goes" classname="keelson-store::etcd" time="0.011">
            <system-out>
running 1 test
test ttl::a_key_goes ... ok
</system-out>
            <system-err>skipped: etcd cannot be run (&quot;No such file&quot;); Debian&apos;s package is etcd-server
</system-err>
        </testcase>
        <testcase name="ran" classname="keelson-store::etcd" time="0.011">
            <system-err></system-err>
        </testcase>
        <testcase name="on_a_line_of_its_program" classname="keelson-cni::kernel" time="0.011">
            <system-out>test on_a_line_of_its_program ... skipped: making network namespaces needs root</system-out>
        </testcase>
    </testsuite>
</testsuites>"#;

    #[test]
    fn a_test_that_says_skipped_is_listed_with_its_reason() {
        let skipped = |test: &str, reason: &str| Skipped { test: test.into(), reason: reason.into() };
        let expected = [
            skipped(
                "keelson-store::etcd ttl::a_key_goes",
                "etcd cannot be run (\"No such file\"); Debian's package is etcd-server",
            ),
            skipped("keelson-cni::kernel on_a_line_of_its_program", "making network namespaces needs root"),
        ];
        assert_eq!(parse(REPORT), expected);
    }
}

//! Running tests: nextest where it is installed, else the test programs themselves.

use super::{Tier, skips};
use crate::{
    build::{Built, cargo},
    cluster::IpFamily,
    paths,
    shell::{cmd, output, run as run_command, succeeds},
};
use anyhow::Result;
use std::process::Command;

/// Which tests, whatever words the user gave.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Selection {
    /// Those that need no cluster.
    Unit,
    /// Those of a cluster as most have it: the trio in one process.
    EndToEnd,
    /// Those that are about components apart, and a few that need all three of them.
    Separate,
    /// Those of packets between nodes that are wrapped, in one of the ways to have it.
    Wrapped(Wrapping),
}

/// Clusters in which they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrapping {
    /// A node is behind a router; both IP families, or one.
    Router(Option<IpFamily>),
    /// `--tunnel always`.
    Always,
}

/// Modules of the end-to-end tests that hold only where the components are apart.
const APART: &str = "separate::";
/// Those that hold only where packets between nodes are wrapped.
const ROUTED: &str = "segments::";
/// With those, what shows that scheduler, controllers and API server work together: every one of these needs all three.
const TOGETHER: &str = "deployments::";

impl Selection {
    /// In the order in which they run.
    pub(super) const ALL: [Selection; 7] = [
        Selection::Unit,
        Selection::EndToEnd,
        Selection::Separate,
        Selection::Wrapped(Wrapping::Router(None)),
        Selection::Wrapped(Wrapping::Router(Some(IpFamily::Ipv4))),
        Selection::Wrapped(Wrapping::Router(Some(IpFamily::Ipv6))),
        Selection::Wrapped(Wrapping::Always),
    ];

    pub(super) fn tier(self) -> Tier {
        if self == Selection::Unit { Tier::Unit } else { Tier::E2e }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Selection::Unit => "unit tests",
            Selection::EndToEnd => "end-to-end tests",
            Selection::Separate => "end-to-end tests of a control plane of three processes",
            Selection::Wrapped(Wrapping::Router(None)) => "end-to-end tests of a node behind a router",
            Selection::Wrapped(Wrapping::Router(Some(IpFamily::Ipv6))) => "the same with IPv6 alone",
            Selection::Wrapped(Wrapping::Router(Some(_))) => "the same with IPv4 alone",
            Selection::Wrapped(Wrapping::Always) => "the same with --tunnel always",
        }
    }

    /// In nextest's language: <https://nexte.st/docs/filtersets/reference/>.
    fn filterset(self) -> String {
        let test = |module: &str| format!("test(/^{module}/)");
        match self {
            Selection::Unit => "not package(keelson-tests)".into(),
            Selection::EndToEnd => {
                format!("package(keelson-tests) and not ({} or {})", test(APART), test(ROUTED))
            }
            Selection::Wrapped(_) => format!("package(keelson-tests) and {}", test(ROUTED)),
            Selection::Separate => {
                format!("package(keelson-tests) and ({} or {})", test(APART), test(TOGETHER))
            }
        }
    }
}

/// How many of the selection's tests have a name that holds one of the words (none: all).
pub(super) fn count(words: &[String], selection: Selection) -> Result<usize> {
    if words.is_empty() || !has_nextest() {
        return Ok(1);
    }
    let mut list = nextest("list", selection);
    list.args(["--message-format", "oneline"]).args(words);
    Ok(output(&mut list)?.lines().filter(|line| !line.is_empty()).count())
}

fn has_nextest() -> bool {
    succeeds(cargo().args(["nextest", "--version"]))
}

fn nextest(verb: &str, selection: Selection) -> Command {
    let mut command = cargo();
    command.args(["nextest", verb, "--workspace", "--tests", "-E", &selection.filterset()]);
    command
}

/// Runs the selection's tests whose names hold one of the words (none: all), and prints which were skipped, and why.
pub(super) fn run(built: &Built, words: &[String], selection: Selection) -> Result<()> {
    if !has_nextest() {
        eprintln!(
            "cargo-nextest is not installed: one test after another, without time limits or second tries"
        );
        return programs(built, words, selection);
    }
    skips::forget()?;
    let mut command = nextest("run", selection);
    if selection != Selection::Unit {
        command.env("KUBECONFIG", paths::cluster().join("kubeconfig"));
    }
    let outcome = run_command(command.args(words));
    let mut skipped = skips::said_so()?;
    if selection == Selection::Unit {
        skipped.extend(skips::ignored(words)?);
    }
    skips::print(&skipped);
    outcome
}

/// Without a runner: each program's tests in turn, one at a time, because some of them kill what others use.
fn programs(built: &Built, words: &[String], selection: Selection) -> Result<()> {
    for program in &built.tests {
        if (program.folder == "tests") == (selection == Selection::Unit) {
            continue;
        }
        let mut command = cmd(&program.file, ["--test-threads=1"]);
        match selection {
            Selection::Unit => {}
            Selection::EndToEnd => drop(command.args(["--skip", APART, "--skip", ROUTED])),
            Selection::Wrapped(_) if words.is_empty() => drop(command.arg(ROUTED)),
            Selection::Separate if words.is_empty() => drop(command.args([APART, TOGETHER])),
            Selection::Separate | Selection::Wrapped(_) => {}
        }
        command.env("KUBECONFIG", paths::cluster().join("kubeconfig"));
        run_command(command.args(words).current_dir(paths::root().join(&program.folder)))?;
    }
    Ok(())
}

//! kubectl as a user calls it: words in, text and exit code out.

use crate::cluster;
use anyhow::{Context, Result, ensure};
use std::{
    io::Write,
    process::{Command, Stdio},
};

/// The words of a command line: a text is cut at its blanks, an array is taken as it is.
pub trait Words {
    /// The words, in order.
    fn words(&self) -> Vec<String>;
}

impl Words for str {
    fn words(&self) -> Vec<String> {
        self.split_whitespace().map(str::to_string).collect()
    }
}

impl Words for String {
    fn words(&self) -> Vec<String> {
        self.as_str().words()
    }
}

impl Words for [&str] {
    fn words(&self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }
}

impl<const N: usize> Words for [&str; N] {
    fn words(&self) -> Vec<String> {
        self.as_slice().words()
    }
}

impl Words for Vec<String> {
    fn words(&self) -> Vec<String> {
        self.clone()
    }
}

/// What a program said when it ended.
#[derive(Debug)]
pub struct Answer {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The exit code; None when a signal ended it.
    pub code: Option<i32>,
}

/// The discovery cache lies with the cluster, so that it goes with the cluster: it is valid for hours and would show the
/// resources of an earlier one at the same address.
const CACHE: &str = "/run/keelson/kubectl-cache";

/// kubectl, not yet started, for the cluster of KUBECONFIG.
pub fn command<W: Words + ?Sized>(words: &W) -> Result<Command> {
    let mut command = Command::new("kubectl");
    command.env("KUBECONFIG", cluster::kubeconfig()?).args(["--cache-dir", CACHE]).args(words.words());
    Ok(command)
}

/// `kubectl keelson`, not yet started, for the cluster of KUBECONFIG: the plugin by its own name, as kubectl runs it.
pub fn plugin<W: Words + ?Sized>(words: &W) -> Result<Command> {
    let mut command = Command::new(cluster::sibling("kubectl-keelson", "kubectl-keelson")?);
    command.env("KUBECONFIG", cluster::kubeconfig()?).args(words.words());
    Ok(command)
}

/// Runs kubectl to its end, however it ends.
pub fn answer<W: Words + ?Sized>(words: &W, stdin: Option<&str>) -> Result<Answer> {
    run(command(words)?, stdin)
}

/// Runs a command to its end, however it ends.
pub fn run(mut command: Command, stdin: Option<&str>) -> Result<Answer> {
    command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
    if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
        // A program that refuses early does not read to the end; its answer says why.
        pipe.write_all(text.as_bytes()).ok();
    }
    let out = child.wait_with_output().with_context(|| format!("waiting for {command:?}"))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Answer { stdout: text(out.stdout), stderr: text(out.stderr), code: out.status.code() })
}

/// Runs kubectl, which has to succeed; answers what it printed.
pub fn kubectl<W: Words + ?Sized>(words: &W) -> Result<String> {
    with_input(words, None)
}

/// The same, with `-f -` in the words and `stdin` as the file.
pub fn with_input<W: Words + ?Sized>(words: &W, stdin: Option<&str>) -> Result<String> {
    let answer = answer(words, stdin)?;
    ensure!(
        answer.code == Some(0),
        "`kubectl {}` ended with {:?}:\n{}{}",
        words.words().join(" "),
        answer.code,
        answer.stdout,
        answer.stderr
    );
    Ok(answer.stdout)
}

/// Runs kubectl, which has to fail; answers its error text.
pub fn refused<W: Words + ?Sized>(words: &W, stdin: Option<&str>) -> Result<String> {
    let answer = answer(words, stdin)?;
    ensure!(
        answer.code != Some(0),
        "`kubectl {}` was to be refused, but did:\n{}",
        words.words().join(" "),
        answer.stdout
    );
    Ok(answer.stderr)
}

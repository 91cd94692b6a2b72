//! Waiting for a state that is reached, and what to say when it is not.

use crate::{kubectl, namespace};
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// How long anything that involves containers may take on two busy cores. A test that waits for less promises less.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(50);

/// Looks until `probe` answers Ok, and answers its value. Its error is the state that it saw: the last one, with the pods
/// and events of this test's namespaces, is the error of a timeout.
pub fn eventually<T>(timeout: Duration, what: &str, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(state) if start.elapsed() > timeout => {
                return Err(state.context(format!("not within {timeout:?}: {what}"))).with_context(diagnosis);
            }
            Err(_) => std::thread::sleep(INTERVAL),
        }
    }
}

/// Pods and events of the namespaces that this process made.
fn diagnosis() -> String {
    let mut text = String::new();
    for name in namespace::living() {
        for words in ["get pods -o wide", "get events --sort-by=.metadata.resourceVersion"] {
            let answer = kubectl::answer(&format!("-n {name} {words}"), None);
            let shown = answer.map_or_else(|e| e.to_string(), |a| format!("{}{}", a.stdout, a.stderr));
            text.push_str(&format!("{words} in {name}:\n{shown}\n"));
        }
    }
    text
}

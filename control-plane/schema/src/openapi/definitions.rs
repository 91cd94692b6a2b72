//! The published definitions with their descriptions: one a line, name and JSON, compressed.
//!
//! Read line by line and twice, once to find out what is reached and once to write it, so that the whole of them is
//! never in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};

use flate2::read::ZlibDecoder;

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/definitions.z"));
const PREFIX: &str = "#/components/schemas/";

/// Calls `found` with the name of each definition that a JSON text refers to.
pub(super) fn references(json: &str, mut found: impl FnMut(&str)) {
    let mut rest = json;
    while let Some(at) = rest.find(PREFIX) {
        rest = &rest[at + PREFIX.len()..];
        let end = rest.find('"').unwrap_or(rest.len());
        found(&rest[..end]);
    }
}

/// Calls `each` with every name and definition, in the order of names.
fn for_each(mut each: impl FnMut(&str, &str)) {
    let mut reader = BufReader::new(ZlibDecoder::new(PACKED));
    let mut line = String::new();
    while reader.read_line(&mut line).expect("the build compressed the embedded table") > 0 {
        if let Some((name, definition)) = line.trim_end().split_once('\t') {
            each(name, definition);
        }
        line.clear();
    }
}

/// Writes `"name":{..}` for the named definitions and all that they refer to, in the order of names.
pub(super) fn write_reachable(out: &mut String, mut separator: &'static str, names: BTreeSet<String>) {
    let names = reachable(names);
    for_each(|name, definition| {
        if names.contains(name) {
            for part in [separator, "\"", name, "\":", definition] {
                out.push_str(part);
            }
            separator = ",";
        }
    });
}

fn reachable(mut names: BTreeSet<String>) -> BTreeSet<String> {
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for_each(|name, definition| {
        let mut next = BTreeSet::new();
        references(definition, |name| {
            next.insert(name.to_owned());
        });
        graph.insert(name.to_owned(), next);
    });
    let mut pending: Vec<String> = names.iter().cloned().collect();
    while let Some(name) = pending.pop() {
        for next in graph.get(&name).into_iter().flatten() {
            if names.insert(next.clone()) {
                pending.push(next.clone());
            }
        }
    }
    names
}

//! The published definitions with their descriptions: one a line, name and JSON, compressed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

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

/// Writes `"name":{..}` for the named definitions and all that they refer to, in the order of names.
pub(super) fn write_reachable(out: &mut String, mut separator: &'static str, mut names: BTreeSet<String>) {
    let mut table = String::new();
    ZlibDecoder::new(PACKED).read_to_string(&mut table).expect("the build compressed the embedded table");
    let table: BTreeMap<&str, &str> = table.lines().filter_map(|line| line.split_once('\t')).collect();

    let mut pending: Vec<String> = names.iter().cloned().collect();
    while let Some(name) = pending.pop() {
        if let Some(definition) = table.get(name.as_str()) {
            references(definition, |next| {
                if names.insert(next.to_owned()) {
                    pending.push(next.to_owned());
                }
            });
        }
    }
    for (name, definition) in names.iter().filter_map(|name| table.get_key_value(name.as_str())) {
        for part in [separator, "\"", name, "\":", definition] {
            out.push_str(part);
        }
        separator = ",";
    }
}

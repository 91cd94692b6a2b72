//! Turns the published API definitions and the tables in `facts/` into what the crate embeds.
//!
//! Writes two files: `schema.tsv`, the shapes that decoding, defaulting and patching walk, and `definitions.z`, the
//! OpenAPI definitions with their descriptions, one a line, compressed. Nothing here is in the product at run time.

mod defaults;
mod definitions;
mod kinds;
mod lists;
mod protobuf;
mod shapes;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::Value;

/// OpenAPI definitions by their published names.
type Definitions = BTreeMap<String, Value>;

fn main() {
    for path in ["build", "facts"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    let list_merge =
        fs::read_to_string("facts/list-merge.tsv").expect("facts/list-merge.tsv is in the crate");
    let defaults = fs::read_to_string("facts/defaults.tsv").expect("facts/defaults.tsv is in the crate");
    let lists = fs::read_to_string("facts/lists.tsv").expect("facts/lists.tsv is in the crate");
    let protobuf = fs::read_to_string("facts/protobuf.tsv").expect("facts/protobuf.tsv is in the crate");

    let (mut definitions, kinds) = kinds::collect();
    definitions::publish(&mut definitions, &kinds, &list_merge);

    let mut schema = shapes::compile(&definitions);
    defaults::compile(&defaults, &kinds, &mut schema);
    protobuf::compile(&protobuf, &mut schema);
    fs::write(out.join("schema.tsv"), shapes::write(&schema, &kinds)).expect("OUT_DIR is writable");

    lists::publish(&mut definitions, &kinds, &lists);
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    for (name, definition) in &definitions {
        writeln!(encoder, "{name}\t{definition}").expect("writing to memory does not fail");
    }
    let packed = encoder.finish().expect("writing to memory does not fail");
    fs::write(out.join("definitions.z"), packed).expect("OUT_DIR is writable");
}

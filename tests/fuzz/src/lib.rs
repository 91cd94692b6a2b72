//! What the API server does with any bytes at all: it answers. It does not panic, does not loop, takes no memory without
//! bound, and what it took once it takes again.
//!
//! A module is a target: `run(data)` panics where a promise is broken. cargo-fuzz calls it with bytes that it makes up
//! (`fuzz_targets/`, `cargo xtask test --tier soak -- fuzz`); the test `corpus` with those that it found worth keeping
//! (`corpus/`), each a way through the code that no other goes.
//!
//! | target | bytes | promise beside no panic |
//! |---|---|---|
//! | [`selectors`] | a selector, a quantity, a time, a schedule | what is shown of it reads as the same |
//! | [`decode`] | a body in JSON or YAML | canonical form is a fixed point |
//! | [`protobuf`] | a body in protobuf | what is encoded again decodes as the same |
//! | [`patch`] | a patch of one of the fixtures, of each type | what comes out is canonical; applying twice is applying once |
//! | [`cel`] | an expression | it ends within its budget |
//! | [`crd`] | a schema and an object of it | an object that was settled is settled |
//! | [`request`] | method, path, headers and body, to the whole server | an answer, and not "internal error" |
#![forbid(unsafe_code)]

pub mod cel;
pub mod crd;
pub mod decode;
mod fixtures;
pub mod patch;
pub mod protobuf;
pub mod request;
pub mod selectors;

/// A name, and what takes the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// The targets by name.
pub const TARGETS: [Target; 7] = [
    ("selectors", selectors::run),
    ("decode", decode::run),
    ("protobuf", protobuf::run),
    ("patch", patch::run),
    ("cel", cel::run),
    ("crd", crd::run),
    ("request", request::run),
];

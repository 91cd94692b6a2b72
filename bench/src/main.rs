//! What is measured and how; numbers.md holds the results.
#![forbid(unsafe_code)]

fn main() {}

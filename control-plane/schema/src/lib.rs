//! What shape alone says of an object: decoding, pruning, patching, OpenAPI.
#![forbid(unsafe_code)]

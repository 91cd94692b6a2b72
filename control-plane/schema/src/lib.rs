//! What shape alone says of an object: decoding, pruning, defaulting, patching, structured merge, OpenAPI.
//!
//! Built from the published API definitions at build time. Knows no kind's rules (validation, allocation, who may
//! change what): those are the strategies' in `keelson-registry`.
#![forbid(unsafe_code)]

pub mod custom;
pub mod decode;
pub mod defaults;
pub mod encode;
pub mod expression;
pub mod field;
mod load;
pub mod openapi;
pub mod patch;
pub mod structured;
pub mod types;

pub use custom::Custom;
pub use decode::{
    ContentType, DecodeError, Decoded, FieldValidation, TypeMeta, coerce, decode, decode_config,
    peek_type_meta,
};
pub use field::{Cause, FieldError, Path};
pub use types::{ListType, Merge, Property, Schemas, Shape, TypeRef};

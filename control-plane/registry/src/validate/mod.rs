//! What is wrong with an object, in upstream's field paths and words; one file per concept.
//!
//! Functions take a value and its path and return what they find. They rely on the schema: JSON types are right.

pub mod meta;

//! The ordered chain of admission plugins.
#![forbid(unsafe_code)]

//! Node-local cluster DNS: a pure answer over an index, and the server around it.
#![forbid(unsafe_code)]

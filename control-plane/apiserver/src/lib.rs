//! The wire of the API server: HTTP in, registry calls, HTTP out.
#![forbid(unsafe_code)]

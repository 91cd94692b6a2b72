//! The controllers: one harness, one folder a controller, each a pure plan and an executor.
#![forbid(unsafe_code)]

//! Logging set-up and the metrics registry shared by every Keelson binary.
#![forbid(unsafe_code)]

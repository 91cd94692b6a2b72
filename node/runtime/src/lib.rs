//! Containers over CRI, their events over containerd's own API, and a fake for tests.
#![forbid(unsafe_code)]

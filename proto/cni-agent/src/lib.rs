//! The contract between the CNI plugin and the node daemon, spoken over a Unix socket.
#![forbid(unsafe_code)]
#![expect(missing_docs, reason = "generated; the .proto file documents every message and field")]

tonic::include_proto!("keelson.cni.v1");

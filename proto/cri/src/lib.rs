//! CRI v1: the contract between a node and its container runtime.
//!
//! Owns the wire form (messages and the two gRPC clients) and nothing else: how to connect, what a
//! failure means and what to do with events is `keelson-runtime`'s. The subset of the protocol that
//! the node uses is in `proto/runtime/v1/api.proto`, with the field numbers of `kubernetes/cri-api`.
#![forbid(unsafe_code)]

/// Package `runtime.v1` of the CRI.
#[expect(
    missing_docs,
    clippy::doc_markdown,
    reason = "generated from the protocol file, whose comments are the documentation"
)]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}

/// Label and annotation keys by which kubelets mark what they create, so that any CRI tool, and a
/// restarted daemon, can tell to which pod a sandbox or container belongs.
pub mod keys {
    /// Label: name of the pod.
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    /// Label: namespace of the pod.
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    /// Label: uid of the pod.
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    /// Label: name of the container in the pod's spec.
    pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
    /// Annotation: how often the container was restarted before this one.
    pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
    /// Annotation: hash of the container's spec.
    pub const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
    /// Annotation: host file that receives the termination message.
    pub const TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
    /// Annotation: `File` or `FallbackToLogsOnError`.
    pub const TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
}

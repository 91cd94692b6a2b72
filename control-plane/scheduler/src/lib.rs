//! The scheduler: plugins over an immutable snapshot, queues, binding.
#![forbid(unsafe_code)]

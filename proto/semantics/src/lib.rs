//! Kubernetes rules that both the control plane and the node apply: pure functions, no I/O.
//!
//! Owns what quantities, selectors, names, taints, times and pod requests *mean*. Does not own the
//! shape of any object (that is `keelson-schema`), nor where an object comes from.
#![forbid(unsafe_code)]

pub mod age;
pub mod cron;
pub mod field_selector;
pub mod int_or_string;
pub mod label_selector;
pub mod names;
pub mod quantity;
pub mod resized;
pub mod resources;
pub mod taints;
pub mod timestamp;

pub use field_selector::FieldSelector;
pub use int_or_string::IntOrString;
pub use label_selector::LabelSelector;
pub use quantity::Quantity;
pub use resources::{PodResources, QosClass, ResourceList};
pub use taints::{Taint, Toleration};

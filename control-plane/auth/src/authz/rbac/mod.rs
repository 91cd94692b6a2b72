//! Role-based access control (<https://kubernetes.io/docs/reference/access-authn-authz/rbac/>).
//!
//! ```text
//! Role, ClusterRole, RoleBinding, ClusterRoleBinding --apply/delete/reset--> [RbacIndex]
//!                                   [RbacIndex] --snapshot--> [RbacSnapshot]: subject -> grants
//! ```
//! A ClusterRole with an aggregationRule is taken by its `rules`, which a controller fills in.

pub mod escalation;
mod index;
mod rule;
mod snapshot;

pub use index::{MalformedObject, RbacIndex, RoleKey};
pub use rule::PolicyRule;
pub use snapshot::{RbacSnapshot, UserRules};

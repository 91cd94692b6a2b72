//! Who is asking and may they: authentication, RBAC and the node authorizer, over snapshots.
#![forbid(unsafe_code)]

//! What a kind decides for itself; everything else is written once, in `ops`.
//!
//! Defaults that follow from the schema's table are applied before any of these is called.

use crate::{
    alloc::{Allocation, Side},
    context::Warnings,
    kind::Kind,
    options::{DeleteOptions, Propagation},
    status::Status,
};
use keelson_auth::UserInfo;
use keelson_schema::FieldError;
use serde_json::Value;
use std::time::Duration;
use time::OffsetDateTime;

/// The request as a strategy sees it.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The kind.
    pub kind: &'a Kind,
    /// The subresource, "" for the object itself.
    pub sub: &'a str,
    /// Who asks.
    pub user: &'a UserInfo,
    /// When.
    pub now: OffsetDateTime,
    /// Where warnings go.
    pub warnings: &'a Warnings,
}

/// What a valid name is; each rule is one of upstream's functions in `apimachinery/pkg/api/validation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// DNS-1123 subdomain.
    Subdomain,
    /// DNS-1123 label.
    Label,
    /// DNS-1035 label.
    Dns1035,
    /// Anything that can stand in a path (RBAC).
    PathSegment,
    /// A canonical IP address.
    Ip,
}

/// How an object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// At once, unless finalizers hold it: the kind knows no grace.
    Now,
    /// After somebody (the node) has confirmed, by a second deletion with grace 0.
    Graceful {
        /// Grace in seconds; with 0 the object goes at once.
        seconds: i64,
    },
}

/// A kind's rules. Methods get canonical objects and may rely on the schema: types are right, unknown fields are gone.
pub trait Strategy: Send + Sync + 'static {
    /// What a valid name is.
    fn name_rule(&self) -> NameRule {
        NameRule::Subdomain
    }

    /// Whether metadata.generation counts changes outside metadata and status.
    fn has_generation(&self) -> bool {
        false
    }

    /// Whether an update may come without resourceVersion.
    fn unconditional_update(&self) -> bool {
        true
    }

    /// Whether an update of an absent object creates it.
    fn create_on_update(&self) -> bool {
        false
    }

    /// Whether a status given on create is kept (nodes).
    fn keeps_status_on_create(&self) -> bool {
        false
    }

    /// How long objects live after their last write.
    fn ttl(&self) -> Option<Duration> {
        None
    }

    /// What happens to dependents when the client does not say.
    fn default_propagation(&self) -> Propagation {
        Propagation::Background
    }

    /// Told to whoever deletes an object and does not say what happens to its dependents.
    fn unsaid_propagation(&self) -> Option<&'static str> {
        None
    }

    /// Sets what the server decides on create.
    fn prepare_create(&self, _call: &Call<'_>, _object: &mut Value) {}

    /// All that is wrong with an object.
    fn validate(&self, _call: &Call<'_>, _object: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Sets what the server decides on update; the status has been carried over already.
    fn prepare_update(&self, _call: &Call<'_>, _new: &mut Value, _old: &Value) {}

    /// All that is wrong with a change; by default the object itself is looked at.
    fn validate_update(&self, call: &Call<'_>, new: &Value, _old: &Value) -> Vec<FieldError> {
        self.validate(call, new)
    }

    /// Sets what the server decides on a write of the status, or of a part of it (`approval`); everything outside metadata and status is the old one's.
    fn prepare_status(&self, _call: &Call<'_>, _new: &mut Value, _old: &Value) {}

    /// All that is wrong with a change of the status.
    fn validate_status(&self, _call: &Call<'_>, _new: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// For a subresource that writes a part of the object in the object's own form (pods/ephemeralcontainers): puts back
    /// everything but that part. Called on what a client wants before it counts as the client's, and again after admission.
    fn narrow(&self, _sub: &str, _new: &mut Value, _old: &Value) {}

    /// The same for a configuration that is applied: leaves of it what the subresource writes.
    fn narrow_config(&self, _sub: &str, _config: &mut Value) {}

    /// Warnings about an object that is accepted.
    fn warnings(&self, _call: &Call<'_>, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// How the object goes when it is deleted with these options.
    fn deletion(&self, _object: &Value, _options: &DeleteOptions) -> Deletion {
        Deletion::Now
    }

    /// Called when the deletion becomes visible in the object, also when grace is none of the kind's business.
    fn on_deleting(&self, _object: &mut Value) {}

    /// Finalizers outside metadata (namespaces) that hold the object.
    fn held(&self, _object: &Value) -> bool {
        false
    }

    /// Whether [`Strategy::allocate`] does anything.
    fn allocates(&self) -> bool {
        false
    }

    /// Cluster-wide values that the object takes or gives back (addresses, node ports), written in the same transaction.
    /// `new` is absent on deletion, `old` on creation.
    fn allocate(
        &self,
        _allocation: &Allocation<'_>,
        _new: Option<&mut Value>,
        _old: Option<&Value>,
    ) -> Result<Vec<Side>, Status> {
        Ok(Vec::new())
    }
}

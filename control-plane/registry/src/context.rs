//! What accompanies a call: who, when, how strictly, and where warnings go.

use crate::{alloc::NodePortRange, status::Status};
use keelson_auth::UserInfo;
use keelson_schema::FieldValidation;
use parking_lot::Mutex;
use std::sync::Arc;
use time::OffsetDateTime;

/// At most this many warnings are kept for one request; upstream cuts by bytes, which amounts to about as many.
pub const WARNINGS_MAX: usize = 64;

/// Warning headers of one request, collected from wherever they arise. Clones share.
#[derive(Clone, Debug, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// Adds one, unless it is there already or the maximum is reached.
    pub fn add(&self, text: impl Into<String>) {
        let text = text.into();
        let mut all = self.0.lock();
        if all.len() < WARNINGS_MAX && !all.contains(&text) {
            all.push(text);
        }
    }

    /// Takes all, in the order of their addition.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

/// One request's circumstances.
#[derive(Clone, Debug)]
pub struct Context {
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// The request's time; stored times are cut to seconds.
    pub now: OffsetDateTime,
    /// Do everything but store.
    pub dry_run: bool,
    /// What to do about unknown and duplicate fields (patches are decoded here).
    pub field_validation: FieldValidation,
    /// Name of the writer in managedFields; "" is unknown.
    pub field_manager: String,
    /// Why a write by name may not create what is absent, if it may not: who may change an object may not always make it.
    pub creation_refused: Option<Box<Status>>,
    /// Collects Warning headers.
    pub warnings: Warnings,
}

impl Context {
    /// A request of `user` at this moment, with the API's default strictness (Warn).
    pub fn new(user: Arc<UserInfo>) -> Self {
        Self {
            user,
            now: OffsetDateTime::now_utc(),
            dry_run: false,
            field_validation: FieldValidation::Warn,
            field_manager: String::new(),
            creation_refused: None,
            warnings: Warnings::default(),
        }
    }
}

/// What the registry must be told.
#[derive(Clone, Debug, Default)]
pub struct RegistryConfig {
    /// Ranges of Service addresses, the first is the default. ServiceCIDR objects add to them.
    pub service_cidrs: Vec<ipnet::IpNet>,
    /// The ports that Services may have on every node.
    pub node_ports: NodePortRange,
}

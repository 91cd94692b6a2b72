//! What accompanies a call: who, when, how strictly, and where warnings go.

use crate::{alloc::NodePortRange, status::Status};
use async_trait::async_trait;
use keelson_auth::UserInfo;
use keelson_schema::FieldValidation;
use parking_lot::Mutex;
use std::{collections::BTreeMap, fmt, sync::Arc};
use time::OffsetDateTime;

/// At most this many warnings are kept for one request: of usual length more do not fit into its headers, which cut by characters.
pub const WARNINGS_MAX: usize = 256;

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

/// At most this many annotations of one request; nothing that notes them comes near.
pub const ANNOTATIONS_MAX: usize = 256;

/// What a request's event in the audit log is annotated with, collected from wherever it arises. Clones share. The default
/// keeps nothing: most requests are not recorded, and what would be noted of them is then never made.
#[derive(Clone, Debug, Default)]
pub struct Annotations(Option<Arc<Kept>>);

#[derive(Debug)]
struct Kept {
    bodies: bool,
    all: Mutex<BTreeMap<String, String>>,
}

impl Annotations {
    /// For a request that is recorded, `bodies` with the objects that it carries.
    pub fn kept(bodies: bool) -> Self {
        Self(Some(Arc::new(Kept { bodies, all: Mutex::default() })))
    }

    /// Whether anybody will read them.
    pub fn are_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Notes `value` under `key`. Whoever was first with a key is believed, as upstream.
    pub fn add(&self, key: impl Into<String>, value: impl FnOnce() -> String) {
        let Some(kept) = &self.0 else { return };
        let (key, value) = (key.into(), value());
        let mut all = kept.all.lock();
        match all.get(&key) {
            Some(known) if *known != value => {
                tracing::warn!(key, value, known, "an audit annotation is there already");
            }
            Some(_) => {}
            None if all.len() >= ANNOTATIONS_MAX => {
                tracing::warn!(key, value, "one audit annotation too many");
            }
            None => drop(all.insert(key, value)),
        }
    }

    /// The same for what shows a part of an object: kept where objects are.
    pub fn add_of_body(&self, key: impl Into<String>, value: impl FnOnce() -> String) {
        if self.0.as_ref().is_some_and(|kept| kept.bodies) {
            self.add(key, value);
        }
    }

    /// What was noted so far.
    pub fn all(&self) -> BTreeMap<String, String> {
        self.0.as_ref().map(|kept| kept.all.lock().clone()).unwrap_or_default()
    }
}

/// Who says whether a request may create.
#[async_trait]
pub trait MayCreate: fmt::Debug + Send + Sync {
    /// Err is the answer to the request.
    async fn may_create(&self) -> Result<(), Status>;
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
    /// Asked where a write by name is about to create what is absent: who may change an object may not always make it. None
    /// where nobody is asked.
    pub creation: Option<Arc<dyn MayCreate>>,
    /// Collects Warning headers.
    pub warnings: Warnings,
    /// Collects annotations for the audit log.
    pub annotations: Annotations,
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
            creation: None,
            warnings: Warnings::default(),
            annotations: Annotations::default(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_made_only_for_those_who_read_them() {
        let none = Annotations::default();
        none.add("k", || unreachable!("nobody reads it"));
        assert!(none.all().is_empty() && !none.are_kept());
        let brief = Annotations::kept(false);
        brief.add_of_body("k", || unreachable!("bodies are not recorded"));
        brief.add("k", || "first".to_owned());
        brief.clone().add("k", || "second".to_owned());
        assert_eq!(brief.all(), BTreeMap::from([("k".to_owned(), "first".to_owned())]));
    }
}

//! Service: its addresses and node ports are allocated with it and given back with it.
//!
//! Rules: upstream's `pkg/registry/core/service`. `fields` puts together what a client meant, `families` and `allocate`
//! fill in what only the cluster knows; what is wrong is told by `validate::service`.

mod allocate;
mod families;
mod fields;

use crate::{
    alloc::{Allocation, Side},
    meta,
    status::Status,
    strategy::{Call, NameRule, Strategy},
    validate::{Errors, service},
    warn,
};
use serde_json::{Map, Value, json};

/// Service.
pub struct Service;

impl Strategy for Service {
    fn name_rule(&self) -> NameRule {
        NameRule::Dns1035
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        meta::map_of(object).insert("status".to_owned(), json!({"loadBalancer": {}}));
        fields::create(object);
    }

    fn prepare_update(&self, _call: &Call<'_>, new: &mut Value, old: &Value) {
        fields::update(new, old);
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        service::service(object, None)
    }

    fn validate_update(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        service::update(new, old)
    }

    fn validate_status(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        service::status::status(new, old)
    }

    fn warnings(&self, _call: &Call<'_>, new: &Value, _old: Option<&Value>) -> Vec<String> {
        warn::service::service(new)
    }

    fn allocates(&self) -> bool {
        true
    }

    fn allocate(
        &self,
        allocation: &Allocation<'_>,
        new: Option<&mut Value>,
        old: Option<&Value>,
    ) -> Result<Vec<Side>, Status> {
        let Some(new) = new else {
            return Ok(old.map(|old| allocate::release(allocation, old)).unwrap_or_default());
        };
        if old.is_some_and(|old| old.get("spec") == new.get("spec")) {
            return Ok(Vec::new());
        }
        families::complete(new, old, &allocation.families())?;
        let mut sides = allocate::addresses(allocation, new, old)?;
        sides.extend(allocate::ports(allocation, new, old)?);
        Ok(sides)
    }
}

/// spec, made when absent.
fn spec(object: &mut Value) -> &mut Map<String, Value> {
    meta::map_of(meta::map_of(object).entry("spec").or_insert_with(|| json!({})))
}

/// Sets spec.clusterIPs, and spec.clusterIP to the first of them.
fn set_ips(object: &mut Value, ips: &[String]) {
    let first = ips.first().map(|first| json!(first));
    let all = first.is_some().then(|| json!(ips));
    meta::carry(spec(object), "clusterIP", first.as_ref());
    meta::carry(spec(object), "clusterIPs", all.as_ref());
}

//! CertificateSigningRequest: who asks for a certificate, whether somebody approved, and what a signer made of it.
//!
//! Three writers: the requestor makes it, once; an approver adds conditions through `/approval`; a signer sets the
//! certificate or a failure through `/status`. Who may be which is admission's.
//!
//! Rules: upstream's `pkg/registry/certificates/certificates/strategy.go`.

use crate::{
    meta,
    strategy::{Call, NameRule, Strategy},
    validate::{Errors, certificate as rules},
};
use serde_json::{Value, json};

/// CertificateSigningRequest.
pub struct CertificateSigningRequest;

impl Strategy for CertificateSigningRequest {
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    /// Nobody asks in another's name.
    fn prepare_create(&self, call: &Call<'_>, object: &mut Value) {
        let user = call.user;
        let spec = meta::map_of(meta::map_of(object).entry("spec").or_insert_with(|| json!({})));
        for key in ["username", "uid", "groups", "extra"] {
            spec.remove(key);
        }
        spec.insert("username".to_owned(), json!(user.name));
        spec.insert("groups".to_owned(), json!(user.groups));
        if !user.uid.is_empty() {
            spec.insert("uid".to_owned(), json!(user.uid));
        }
        if !user.extra.is_empty() {
            spec.insert("extra".to_owned(), json!(user.extra));
        }
        meta::map_of(object).insert("status".to_owned(), json!({}));
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        rules::request(object)
    }

    /// What was asked for stands.
    fn prepare_update(&self, _call: &Call<'_>, new: &mut Value, old: &Value) {
        meta::carry(meta::map_of(new), "spec", old.get("spec"));
    }

    fn validate_update(&self, _call: &Call<'_>, _new: &Value, _old: &Value) -> Errors {
        Errors::new()
    }

    /// An approver writes conditions alone. Conditions get the times that they come without.
    fn prepare_status(&self, call: &Call<'_>, new: &mut Value, old: &Value) {
        if call.sub == "approval" {
            let conditions = meta::at(new, &["status", "conditions"]).cloned();
            let mut status = old.get("status").cloned().unwrap_or_else(|| json!({}));
            meta::carry(meta::map_of(&mut status), "conditions", conditions.as_ref());
            meta::map_of(new).insert("status".to_owned(), status);
        }
        let Some(conditions) = new.pointer_mut("/status/conditions").and_then(Value::as_array_mut) else {
            return;
        };
        let now = meta::time_text(call.now);
        for condition in conditions {
            let key = |condition: &Value| {
                (meta::text(condition, &["type"]).to_owned(), meta::text(condition, &["status"]).to_owned())
            };
            let same =
                meta::items(old, &["status", "conditions"]).iter().find(|one| key(one) == key(condition));
            let since = same.and_then(|one| meta::at(one, &["lastTransitionTime"]).cloned());
            for (field, time) in
                [("lastUpdateTime", now.clone()), ("lastTransitionTime", since.unwrap_or(now.clone()))]
            {
                if meta::at(condition, &[field]).is_none() {
                    meta::map_of(condition).insert(field.to_owned(), time);
                }
            }
        }
    }

    fn validate_status(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        rules::status(new, old, call.sub == "approval")
    }
}

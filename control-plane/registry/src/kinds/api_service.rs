//! APIService: who serves a group and version.
//!
//! Rules: upstream's `kube-aggregator/pkg/apis/apiregistration/validation`. Who is available is the API server's to find out.

use crate::{
    meta,
    strategy::{Call, NameRule, Strategy},
    validate::{
        Errors,
        meta::{invalid, name_errors},
        required,
        webhook::service_port,
    },
};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::{Value, json};

const GROUP_PRIORITY_MAX: i64 = 20_000;
const VERSION_PRIORITY_MAX: i64 = 1_000;

/// APIService.
pub struct ApiService;

impl Strategy for ApiService {
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let (path, spec) = (Path::new("spec"), &object["spec"]);
        let (group, version) = (meta::text(spec, &["group"]), meta::text(spec, &["version"]));
        let mut errors = own_name(object, group, version);
        if group.is_empty() && version != "v1" {
            let detail = "only v1 may have an empty group and it better be legacy kube";
            errors.push(FieldError::required(&path.child("group"), detail));
        }
        if !group.is_empty() {
            errors.extend(invalid(&path.child("group"), group, names::dns1123_subdomain(group)));
        }
        errors.extend(invalid(&path.child("version"), version, names::dns1035_label(version)));
        for (key, max) in
            [("groupPriorityMinimum", GROUP_PRIORITY_MAX), ("versionPriority", VERSION_PRIORITY_MAX)]
        {
            let number = meta::number(spec, &[key]).unwrap_or_default();
            if number <= 0 || number > max {
                let detail = format!("must be positive and less than {max}");
                errors.push(FieldError::invalid(&path.child(key), number, detail));
            }
        }
        errors.extend(served_by(&path, spec));
        errors
    }
}

/// The name must be VERSION.GROUP.
fn own_name(object: &Value, group: &str, version: &str) -> Errors {
    let (path, name) = (Path::new("metadata.name"), meta::field(object, "name"));
    if name.is_empty() || !name_errors(NameRule::PathSegment, name).is_empty() {
        return Errors::new();
    }
    let wanted = format!("{version}.{group}");
    let detail = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
    if name == wanted { Errors::new() } else { vec![FieldError::invalid(&path, name, detail)] }
}

fn served_by(path: &Path, spec: &Value) -> Errors {
    let bundle = meta::text(spec, &["caBundle"]);
    let insecure = spec["insecureSkipTLSVerify"] == json!(true);
    let mut errors = Errors::new();
    let insecure_path = path.child("insecureSkipTLSVerify");
    let Some(service) = meta::at(spec, &["service"]) else {
        if !bundle.is_empty() {
            let shown = format!("{} bytes", bundle.len() / 4 * 3);
            let detail = "local APIServices may not have a caBundle";
            errors.push(FieldError::invalid(&path.child("caBundle"), shown, detail));
        }
        if insecure {
            let detail = "local APIServices may not have insecureSkipTLSVerify";
            errors.push(FieldError::invalid(&insecure_path, true, detail));
        }
        return errors;
    };
    let path = path.child("service");
    errors.extend(required(&path, service, "namespace"));
    errors.extend(required(&path, service, "name"));
    errors.extend(service_port(&path, service));
    if insecure && !bundle.is_empty() {
        errors.push(FieldError::invalid(&insecure_path, true, "may not be true if caBundle is present"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::Warnings, table::KindTable};
    use keelson_auth::UserInfo;

    fn wrong(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut object = json!({
            "metadata": {"name": "v1.x.example.com"},
            "spec": {"group": "x.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
                     "service": {"namespace": "n", "name": "s"}},
        });
        change(&mut object);
        let table = KindTable::builtin();
        let kind = table.by_resource("apiregistration.k8s.io", "v1", "apiservices").unwrap();
        let (user, warnings) = (UserInfo::default(), Warnings::default());
        let now = time::OffsetDateTime::UNIX_EPOCH;
        let call = Call { kind, sub: "", user: &user, now, warnings: &warnings };
        ApiService.validate(&call, &object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_api_service_that_cannot_be_is_refused_by_field() {
        assert_eq!(wrong(|_| ()), [""; 0]);
        type Row = (fn(&mut Value), &'static str);
        let rows: [Row; 7] = [
            (|o| o["metadata"]["name"] = json!("v2.x.example.com"), "metadata.name: Invalid value"),
            (|o| o["spec"]["groupPriorityMinimum"] = json!(0), "must be positive and less than 20000"),
            (|o| o["spec"]["versionPriority"] = json!(1001), "must be positive and less than 1000"),
            (|o| o["spec"]["service"]["port"] = json!(0), "spec.service.port: Invalid value"),
            (|o| o["spec"]["service"]["name"] = json!(""), "spec.service.name: Required value"),
            (
                |o| {
                    o["spec"]["caBundle"] = json!("AAAA");
                    o["spec"]["insecureSkipTLSVerify"] = json!(true);
                },
                "may not be true if caBundle is present",
            ),
            (
                |o| {
                    o["spec"]["service"] = Value::Null;
                    o["spec"]["caBundle"] = json!("AAAA");
                },
                "local APIServices may not have a caBundle",
            ),
        ];
        for (change, wanted) in rows {
            let found = wrong(change);
            assert!(found.len() == 1 && found[0].contains(wanted), "{wanted}: {found:?}");
        }
    }
}

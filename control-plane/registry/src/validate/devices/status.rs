//! What was allocated for a claim, who may use it, and what drivers say of its devices.

use super::{
    CONFIG_MAX, REQUESTS_MAX, binding_conditions, claim::reference, claim::references, configuration,
    device_name, duplicates, each, raw, toleration,
};
use crate::{
    meta,
    validate::{Errors, meta::immutable, pod::node_selector},
};
use ipnet::IpNet;
use keelson_schema::{FieldError, Path};
use serde_json::{Value, json};

const RESERVED_MAX: usize = 256;
const DEVICE_CONDITIONS_MAX: usize = 8;
const TOLERATIONS_MAX: usize = 16;
const INTERFACE_BYTES_MAX: usize = 256;
const HARDWARE_ADDRESS_BYTES_MAX: usize = 128;
const ADDRESSES_MAX: usize = 16;

/// All that is wrong with a change of a claim's status.
pub fn status(new: &Value, old: &Value) -> Errors {
    let (path, status) = (Path::new("status"), &new["status"]);
    let (allocation, before) = (meta::at(status, &["allocation"]), meta::at(old, &["status", "allocation"]));
    let mut errors = reserved(&path, new, old);
    let allocated: Vec<Value> =
        meta::items(status, &["allocation", "devices", "results"]).iter().map(identity).collect();
    errors.extend(each(&path, status, "devices", usize::MAX, |path, device| {
        let mut errors = self::device(path, device);
        if !allocated.contains(&identity(device)) {
            let detail = "must be an allocated device in the claim";
            errors.push(FieldError::invalid(path, identity(device), detail));
        }
        errors
    }));
    errors.extend(duplicates(&path.child("devices"), meta::items(status, &["devices"]), identity));
    match (allocation, before) {
        (Some(_), Some(_)) => errors.extend(immutable(&path.child("allocation"), allocation, before)),
        (Some(allocation), None) => {
            errors.extend(result(&path.child("allocation"), allocation, &new["spec"]["devices"]));
        }
        (None, _) => {}
    }
    errors
}

/// What tells one allocated device from another.
pub fn identity(device: &Value) -> Value {
    let part = |key: &str| meta::text(device, &[key]);
    let name = format!("{}/{}/{}", part("driver"), part("pool"), part("device"));
    match part("shareID") {
        "" => json!(name),
        share => json!(format!("{name}/{share}")),
    }
}

fn reserved(path: &Path, new: &Value, old: &Value) -> Errors {
    let status = &new["status"];
    let mut errors = each(path, status, "reservedFor", RESERVED_MAX, |path, consumer| {
        ["resource", "name", "uid"]
            .into_iter()
            .filter(|key| meta::text(consumer, &[key]).is_empty())
            .map(|key| FieldError::required(&path.child(key), ""))
            .collect()
    });
    let (now, before) = (meta::items(status, &["reservedFor"]), meta::items(old, &["status", "reservedFor"]));
    let path = path.child("reservedFor");
    errors.extend(duplicates(&path, now, |consumer| meta::text(consumer, &["uid"]).into()));
    if !now.is_empty() && meta::at(status, &["allocation"]).is_none() {
        errors.push(FieldError::forbidden(&path, "may not be specified when `allocated` is not set"));
    } else if meta::deleting(new) && now.iter().any(|consumer| !before.contains(consumer)) {
        let detail =
            "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.push(FieldError::forbidden(&path, detail));
    }
    errors
}

fn result(path: &Path, allocation: &Value, requests: &Value) -> Errors {
    let (at, devices) = (path.child("devices"), &allocation["devices"]);
    let mut errors = each(&at, devices, "results", REQUESTS_MAX, |path, result| {
        let mut errors = reference(&path.child("request"), meta::text(result, &["request"]), requests);
        errors.extend(device_name(path, result));
        errors.extend(binding_conditions(path, result));
        errors.extend(each(path, result, "tolerations", TOLERATIONS_MAX, toleration));
        errors.extend(share(path, result));
        errors
    });
    // Of the class and of the claim.
    errors.extend(each(&at, devices, "config", 2 * CONFIG_MAX, |path, config| {
        let known = ["FromClaim", "FromClass"];
        let mut errors = match meta::text(config, &["source"]) {
            "" => vec![FieldError::required(&path.child("source"), "")],
            source if known.contains(&source) => Errors::new(),
            source => vec![FieldError::not_supported(&path.child("source"), source, &known)],
        };
        errors.extend(references(path, config, requests));
        errors.extend(configuration(path, config));
        errors
    }));
    if let Some(selector) = meta::at(allocation, &["nodeSelector"]) {
        errors.extend(node_selector(&path.child("nodeSelector"), selector));
    }
    errors
}

fn share(path: &Path, device: &Value) -> Option<FieldError> {
    let share = device.get("shareID")?.as_str()?;
    let path = path.child("shareID");
    match uuid::Uuid::parse_str(share) {
        Err(error) => Some(FieldError::invalid(&path, share, format!("error validating uid: {error}"))),
        Ok(uid) if uid.to_string() == share => None,
        Ok(_) => {
            let detail = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with \
                          lowercase hexadecimal characters";
            Some(FieldError::invalid(&path, share, detail))
        }
    }
}

fn device(path: &Path, device: &Value) -> Errors {
    let mut errors = device_name(path, device);
    errors.extend(share(path, device));
    let conditions = meta::items(device, &["conditions"]);
    if conditions.len() > DEVICE_CONDITIONS_MAX {
        let path = path.child("conditions");
        errors.push(FieldError::too_many(&path, conditions.len(), DEVICE_CONDITIONS_MAX));
    }
    if let Some(data) = meta::at(device, &["data"]) {
        errors.extend(raw(&path.child("data"), data));
    }
    if let Some(network) = meta::at(device, &["networkData"]) {
        errors.extend(self::network(&path.child("networkData"), network));
    }
    errors
}

fn network(path: &Path, network: &Value) -> Errors {
    let mut errors = Errors::new();
    for (key, max) in
        [("interfaceName", INTERFACE_BYTES_MAX), ("hardwareAddress", HARDWARE_ADDRESS_BYTES_MAX)]
    {
        if meta::text(network, &[key]).len() > max {
            errors.push(FieldError::too_long(&path.child(key), max));
        }
    }
    errors.extend(each(path, network, "ips", ADDRESSES_MAX, |path, address| {
        let address = address.as_str().unwrap_or_default();
        let detail = match address.parse::<IpNet>() {
            Err(_) => "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)".to_owned(),
            Ok(parsed) if parsed.to_string() == address => return Errors::new(),
            Ok(parsed) => format!("must be in canonical form (\"{parsed}\")"),
        };
        vec![FieldError::invalid(path, address, detail)]
    }));
    errors.extend(duplicates(&path.child("ips"), meta::items(network, &["ips"]), Value::clone));
    errors
}

//! Endpoints, for those who keep them by hand; ours are EndpointSlices.

use crate::{
    meta,
    strategy::{Call, NameRule, Strategy},
    validate::{
        Errors,
        meta::{invalid, name_errors},
        port_number,
    },
};
use keelson_schema::Path;
use serde_json::Value;

/// Endpoints.
pub struct Endpoints;

impl Strategy for Endpoints {
    fn create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let mut errors = Errors::new();
        for (index, subset) in meta::items(object, &["subsets"]).iter().enumerate() {
            let path = Path::new("subsets").index(index);
            for list in ["addresses", "notReadyAddresses"] {
                for (index, address) in meta::items(subset, &[list]).iter().enumerate() {
                    let path = path.child(list).index(index).child("ip");
                    let ip = meta::text(address, &["ip"]);
                    errors.extend(invalid(&path, ip, name_errors(NameRule::Ip, ip)));
                }
            }
            for (index, port) in meta::items(subset, &["ports"]).iter().enumerate() {
                let number = meta::number(port, &["port"]).unwrap_or_default();
                errors.extend(port_number(&path.child("ports").index(index).child("port"), number));
            }
        }
        errors
    }
}

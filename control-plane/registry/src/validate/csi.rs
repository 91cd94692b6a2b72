//! Names of CSI drivers, wherever they stand.
//!
//! Rules: upstream's `ValidateCSIDriverName`.

use super::{Errors, meta::invalid};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;

/// A driver's name, as the CSI specification bounds it.
const DRIVER_BYTES_MAX: usize = 63;

/// The name of a CSI driver.
pub fn driver_name(path: &Path, name: &str) -> Errors {
    let mut errors = Errors::new();
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return errors;
    }
    if name.len() > DRIVER_BYTES_MAX {
        errors.push(FieldError::too_long(path, DRIVER_BYTES_MAX));
    }
    errors.extend(invalid(path, name, names::dns1123_subdomain(&name.to_lowercase())));
    errors
}

//! Schemas of custom kinds, and objects of them.

use keelson_schema::{ContentType, Custom, FieldValidation, Path, coerce, custom, decode, structured};
use serde_json::Value;

/// `{"schema": .., "object": .., "old": ..}`, in JSON.
pub fn run(data: &[u8]) {
    let Ok(input) = serde_json::from_slice::<Value>(data) else { return };
    if !custom::check(&input["schema"], &Path::root()).is_empty() {
        return;
    }
    let custom = Custom::new("example.com", "v1", "Thing", input["schema"].clone());
    let _ = custom.openapi();
    let body = input["object"].to_string();
    for validation in [FieldValidation::Strict, FieldValidation::Warn] {
        let Ok(decoded) = decode(body.as_bytes(), ContentType::Json, custom.ty(), validation) else {
            continue;
        };
        let mut object = decoded.value;
        custom.settle(&mut object);
        let settled = object.clone();
        custom.settle(&mut object);
        assert_eq!(object, settled, "settled twice");
        let old = coerce(input["old"].clone(), custom.ty(), FieldValidation::Ignore).ok();
        let _ = custom.validate(&object, old.as_ref().map(|old| &old.value));
        if structured::check(custom.ty(), &object).is_ok() {
            let _ = structured::merged(custom.ty(), &settled, &object);
            let _ = structured::set_of(custom.ty(), &object);
        }
    }
}

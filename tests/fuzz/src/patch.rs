//! Patches of each type, of an object of each kind.

use crate::{
    decode::settled,
    fixtures::{self, Fixture},
};
use keelson_schema::{
    FieldValidation, coerce, decode_config, patch,
    structured::{self, FieldSet},
};

/// A byte for the type, a byte for the kind, the patch.
pub fn run(data: &[u8]) {
    let [form, kind, patch @ ..] = data else { return };
    let fixture = fixtures::by(*kind);
    let original = || fixture.object.clone();
    let patched = match form % 5 {
        0 => patch::json(&fixture.object, patch),
        1 => patch::merge(original(), patch),
        2 => patch::strategic(fixture.ty, original(), patch),
        3 => return applied(fixture, patch),
        _ => return fields(patch),
    };
    let Ok(patched) = patched else { return };
    if let Ok(decoded) = coerce(patched, fixture.ty, FieldValidation::Ignore) {
        settled(fixture.ty, decoded.value);
    }
}

/// Applying a configuration twice is applying it once.
fn applied(fixture: &Fixture, config: &[u8]) {
    let Ok(config) = decode_config(config, FieldValidation::Ignore) else { return };
    if structured::check(fixture.ty, &config.value).is_err() {
        return;
    }
    let once = structured::merged(fixture.ty, &fixture.object, &config.value);
    let twice = structured::merged(fixture.ty, &once, &config.value);
    assert_eq!(twice, once, "applied twice");
    same(&structured::set_of(fixture.ty, &once));
}

/// `managedFields[].fieldsV1` as a client may send it.
fn fields(text: &[u8]) {
    if let Ok(set) = str::from_utf8(text).map_err(drop).and_then(|text| FieldSet::decode(text).map_err(drop))
    {
        same(&set);
    }
}

fn same(set: &FieldSet) {
    let mut text = Vec::new();
    set.encode(&mut text);
    let text = String::from_utf8(text).expect("JSON is text");
    assert_eq!(&FieldSet::decode(&text).expect("what is encoded decodes"), set);
}

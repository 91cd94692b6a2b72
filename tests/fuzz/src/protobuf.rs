//! Bodies in protobuf.

use crate::fixtures;
use keelson_schema::{ContentType, FieldValidation, TypeRef, decode, encode, peek_type_meta};
use serde_json::Value;

/// A byte for the kind, then the body: once as it is, once as the message in an envelope that is right.
pub fn run(data: &[u8]) {
    let [kind, body @ ..] = data else { return };
    let fixture = fixtures::by(*kind);
    drop(peek_type_meta(body, ContentType::Protobuf, "object"));
    drop(read(fixture.ty, body));
    let Some(value) = read(fixture.ty, &encode::envelope(&fixture.api_version, &fixture.kind, body)) else {
        return;
    };
    let message = encode::message(fixture.ty, &value).expect("what was decoded is of its type");
    let again = read(fixture.ty, &encode::envelope(&fixture.api_version, &fixture.kind, &message));
    assert_eq!(again.as_ref(), Some(&value), "encoded and decoded once more");
}

fn read(ty: TypeRef<'_>, body: &[u8]) -> Option<Value> {
    decode(body, ContentType::Protobuf, ty, FieldValidation::Ignore).ok().map(|decoded| decoded.value)
}

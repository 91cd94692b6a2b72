//! Bodies encoded by generated code that is not ours, compared with the same object in JSON. Fields that Go always
//! writes are spelled out as empty, as its encoder does.

mod objects;
mod questions;
mod refusals;

use std::collections::BTreeMap;

use k8s_pb::api::core::v1 as core;
use k8s_pb::apimachinery::pkg::api::resource::Quantity;
use k8s_pb::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_pb::apimachinery::pkg::runtime::{TypeMeta as PbTypeMeta, Unknown};
use k8s_pb::apimachinery::pkg::util::intstr::IntOrString;
use prost::Message;
use serde_json::{Value, json};

use crate::decode::{ContentType, Decoded, FieldValidation, decode, peek_type_meta};
use crate::types::{Schemas, TypeRef};

fn body_of(api_version: &str, kind: &str, raw: Vec<u8>) -> Vec<u8> {
    let envelope = Unknown {
        type_meta: Some(PbTypeMeta { api_version: Some(api_version.into()), kind: Some(kind.into()) }),
        raw: Some(raw),
        content_encoding: Some(String::new()),
        content_type: Some(String::new()),
    };
    [b"k8s\0".to_vec(), envelope.encode_to_vec()].concat()
}

fn ty(api_version: &str, kind: &str) -> TypeRef<'static> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let schemas = Schemas::builtin();
    match kind {
        "DeleteOptions" => schemas.delete_options(),
        _ => schemas.kind(group, version, kind).expect("a built-in kind"),
    }
}

fn read(api_version: &str, kind: &str, message: &impl Message) -> Decoded {
    let body = body_of(api_version, kind, message.encode_to_vec());
    let found = peek_type_meta(&body, ContentType::Protobuf, "object").expect("an envelope");
    assert_eq!((found.api_version.as_str(), found.kind.as_str()), (api_version, kind));
    decode(&body, ContentType::Protobuf, ty(api_version, kind), FieldValidation::Strict).expect("a good body")
}

/// Both encodings of one object are decoded to the same value.
#[track_caller]
fn same<M: Message + Default>(message: &M, json: Value) {
    let (api_version, kind) =
        (json["apiVersion"].as_str().expect("a version"), json["kind"].as_str().expect("a kind"));
    let from_json = decode(
        json.to_string().as_bytes(),
        ContentType::Json,
        ty(api_version, kind),
        FieldValidation::Strict,
    )
    .expect("good JSON");
    assert_eq!(read(api_version, kind, message).value, from_json.value);
    // And back: what we encode is read by the generated code, which drops what it does not know.
    let ours = crate::encode::message(ty(api_version, kind), &from_json.value).expect("canonical JSON");
    let theirs = M::decode(ours.as_slice()).expect("a good message");
    assert_eq!(read(api_version, kind, &theirs).value, from_json.value);
}

#[expect(clippy::unnecessary_wraps, reason = "every field of the generated messages is an Option")]
fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Metadata as Go writes it: most of it empty.
fn named(name: &str) -> Option<meta::ObjectMeta> {
    Some(meta::ObjectMeta {
        name: text(name),
        generate_name: text(""),
        namespace: text(""),
        self_link: text(""),
        uid: text(""),
        resource_version: text(""),
        generation: Some(0),
        creation_timestamp: Some(meta::Time::default()),
        ..Default::default()
    })
}

fn port(number: i32) -> Option<IntOrString> {
    Some(IntOrString { r#type: Some(0), int_val: Some(number), str_val: text("") })
}

fn container() -> core::Container {
    core::Container {
        name: text("web"),
        image: text("web:1"),
        working_dir: text(""),
        ports: vec![core::ContainerPort {
            name: text(""),
            host_port: Some(0),
            container_port: Some(80),
            protocol: text("TCP"),
            host_ip: text(""),
        }],
        resources: Some(core::ResourceRequirements {
            limits: BTreeMap::from([("cpu".to_owned(), Quantity { string: text("1000m") })]),
            ..Default::default()
        }),
        readiness_probe: Some(core::Probe {
            handler: Some(core::ProbeHandler {
                http_get: Some(core::HttpGetAction {
                    path: text("/"),
                    port: port(80),
                    host: text(""),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            initial_delay_seconds: Some(0),
            ..Default::default()
        }),
        env: vec![core::EnvVar {
            name: text("CPU"),
            value: text(""),
            value_from: Some(core::EnvVarSource {
                resource_field_ref: Some(core::ResourceFieldSelector {
                    container_name: text(""),
                    resource: text("limits.cpu"),
                    divisor: Some(Quantity { string: text("0") }),
                }),
                ..Default::default()
            }),
        }],
        stdin: Some(false),
        ..Default::default()
    }
}

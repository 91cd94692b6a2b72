//! audit.k8s.io/v1 Event: what is known of a request at one of its stages, and how that is written.

use crate::{
    body::{Body, Identity},
    policy::{Level, Stage},
};
use keelson_auth::UserInfo;
use serde::{Serialize, Serializer};
use serde_json::{Value, value::RawValue};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

/// metav1 MicroTime.
const MICRO_TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
/// Bytes of a User-Agent that are kept, as upstream's.
const USER_AGENT_BYTES_MAX: usize = 1024;
/// Marks an event that does not hold all it should.
const TRUNCATED: &str = "audit.k8s.io/truncated";

/// What stays the same of a request from its first stage to its last.
#[derive(Clone, Debug)]
pub struct Facts {
    /// How much is recorded of it.
    pub level: Level,
    /// Whether bodies lose their managedFields.
    pub omit_managed_fields: bool,
    /// Names the request, also towards the client.
    pub audit_id: String,
    /// Path and query as the client wrote them.
    pub request_uri: String,
    /// The API's verb; of a path that is no resource the HTTP method in lower case.
    pub verb: String,
    /// Who asks; without a name where nobody knows.
    pub user: Arc<UserInfo>,
    /// Where the request came from, the nearest last; empty for a component of this process.
    pub source_ips: Vec<IpAddr>,
    /// The client's program, as it says.
    pub user_agent: String,
    /// What the request is about; None for a path that is no resource.
    pub object: Option<ObjectReference>,
    /// When it came.
    pub received: OffsetDateTime,
}

/// What the path of a request names; "" for what it does not.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the API's own")]
pub struct ObjectReference {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
}

/// A request at one of its stages.
#[derive(Clone, Debug)]
pub struct Event {
    /// The request.
    pub facts: Arc<Facts>,
    /// Which stage.
    pub stage: Stage,
    /// When it was reached.
    pub at: OffsetDateTime,
    /// Whom the user acts as.
    pub impersonated: Option<Arc<UserInfo>>,
    /// The verb by which that was allowed, in constrained impersonation.
    pub impersonation_constraint: Option<&'static str>,
    /// The metav1 Status of a failure; of all else `code` is enough. Null before there is an answer.
    pub status: Value,
    /// The request's object or patch.
    pub request: Option<Body>,
    /// The answer's object.
    pub response: Option<Body>,
    /// Whether the answer was too large to be kept.
    pub truncated: bool,
    /// What was noted on the way.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    kind: &'static str,
    api_version: &'static str,
    level: Level,
    #[serde(rename = "auditID")]
    audit_id: &'a str,
    stage: Stage,
    #[serde(rename = "requestURI")]
    request_uri: &'a str,
    verb: &'a str,
    user: User<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated_user: Option<User<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication_metadata: Option<AuthenticationMetadata>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "<[_]>::is_empty")]
    source_ips: &'a [IpAddr],
    #[serde(skip_serializing_if = "str::is_empty")]
    user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<ObjectReference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_object: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_object: Option<&'a RawValue>,
    #[serde(serialize_with = "micro_time")]
    request_received_timestamp: OffsetDateTime,
    #[serde(serialize_with = "micro_time")]
    stage_timestamp: OffsetDateTime,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, &'a str>,
}

/// How it was decided who asks.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AuthenticationMetadata {
    impersonation_constraint: &'static str,
}

/// authentication.k8s.io/v1 UserInfo.
#[derive(Serialize)]
struct User<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: &'a BTreeMap<String, Vec<String>>,
}

impl<'a> User<'a> {
    fn of(user: &'a UserInfo) -> Self {
        Self { username: &user.name, uid: &user.uid, groups: &user.groups, extra: &user.extra }
    }
}

fn micro_time<S: Serializer>(time: &OffsetDateTime, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&time.format(MICRO_TIME).map_err(serde::ser::Error::custom)?)
}

impl Event {
    /// One line of JSON. One with more than `bytes_max` bytes is made once more without its bodies; None where that is
    /// still too long.
    pub(crate) fn line(&self, bytes_max: Option<usize>) -> Option<Vec<u8>> {
        let facts = &self.facts;
        let identity = self.request.as_ref().map(Body::identity).unwrap_or_default();
        let at = |level: Level, body: &Option<Body>| {
            let body = body.as_ref().filter(|_| facts.level >= level)?;
            body.json(facts.omit_managed_fields)
        };
        let request = at(Level::Request, &self.request);
        let response = at(Level::RequestResponse, &self.response);
        // A list in protobuf: nothing here knows its fields.
        let unreadable =
            facts.level >= Level::RequestResponse && self.response.is_some() && response.is_none();
        let truncated = self.truncated || unreadable;
        let whole = self.render(&identity, request.as_deref(), response.as_deref(), truncated);
        let fits = |line: &Vec<u8>| bytes_max.is_none_or(|max| line.len() <= max);
        match fits(&whole) {
            true => Some(whole),
            false => Some(self.render(&identity, None, None, true)).filter(fits),
        }
    }

    fn render(
        &self,
        identity: &Identity,
        request: Option<&RawValue>,
        response: Option<&RawValue>,
        truncated: bool,
    ) -> Vec<u8> {
        let facts = &*self.facts;
        let mut annotations: BTreeMap<&str, &str> =
            self.annotations.iter().map(|(key, value)| (&**key, &**value)).collect();
        if truncated {
            annotations.insert(TRUNCATED, "true");
        }
        let agent = &facts.user_agent;
        let line = Line {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: facts.level,
            audit_id: &facts.audit_id,
            stage: self.stage,
            request_uri: &facts.request_uri,
            verb: &facts.verb,
            user: User::of(&facts.user),
            impersonated_user: self.impersonated.as_deref().map(User::of),
            authentication_metadata: self
                .impersonation_constraint
                .map(|impersonation_constraint| AuthenticationMetadata { impersonation_constraint }),
            source_ips: &facts.source_ips,
            user_agent: &agent[..agent.floor_char_boundary(USER_AGENT_BYTES_MAX.min(agent.len()))],
            object_ref: facts.object.as_ref().map(|object| object.completed(identity)),
            response_status: self.response_status(),
            request_object: request,
            response_object: response,
            request_received_timestamp: facts.received,
            stage_timestamp: self.at,
            annotations,
        };
        serde_json::to_vec(&line).expect("texts, times and JSON that was read make JSON")
    }

    /// What of the status may be told: it is bounded, other than a Status' metadata.
    fn response_status(&self) -> Option<Value> {
        let own = self.response.as_ref().filter(|_| self.is_deletion()).and_then(Body::status);
        let status = own.as_ref().unwrap_or(&self.status).as_object()?;
        let mut told = serde_json::Map::new();
        told.insert("metadata".to_owned(), Value::Object(serde_json::Map::new()));
        for key in ["status", "message", "reason", "details", "code"] {
            if let Some(value) = status.get(key).filter(|value| !value.is_null()) {
                told.insert(key.to_owned(), value.clone());
            }
        }
        if !told.contains_key("code") {
            told.insert("code".to_owned(), self.status["code"].clone());
        }
        Some(Value::Object(told))
    }

    /// The one sort of request whose success may be answered with a Status.
    fn is_deletion(&self) -> bool {
        matches!(&*self.facts.verb, "delete" | "deletecollection")
    }
}

impl ObjectReference {
    /// With what the path left open and the request's object says.
    fn completed(&self, object: &Identity) -> Self {
        let either = |own: &String, other: &String| if own.is_empty() { other } else { own }.clone();
        Self {
            name: either(&self.name, &object.name),
            namespace: either(&self.namespace, &object.namespace),
            uid: either(&self.uid, &object.uid),
            resource_version: either(&self.resource_version, &object.resource_version),
            ..self.clone()
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::body::Media;
    use serde_json::json;

    /// A create of a Secret, answered.
    pub(crate) fn event(level: Level) -> Event {
        let facts = Facts {
            level,
            omit_managed_fields: false,
            audit_id: "id".into(),
            request_uri: "/api/v1/namespaces/ns/secrets?dryRun=All".into(),
            verb: "create".into(),
            user: Arc::new(UserInfo::authenticated("jane", ["dev"])),
            source_ips: vec!["192.0.2.1".parse().unwrap()],
            user_agent: "kubectl".into(),
            object: Some(ObjectReference {
                resource: "secrets".into(),
                namespace: "ns".into(),
                api_version: "v1".into(),
                ..ObjectReference::default()
            }),
            received: OffsetDateTime::UNIX_EPOCH,
        };
        let body = |text: &'static str| Body { bytes: text.into(), media: Media::Json, gzip: false };
        Event {
            facts: Arc::new(facts),
            stage: Stage::ResponseComplete,
            at: OffsetDateTime::UNIX_EPOCH + time::Duration::microseconds(1500),
            impersonated: None,
            impersonation_constraint: None,
            status: json!({"code": 201}),
            request: Some(body(r#"{"metadata":{"name":"s","uid":"u"},"data":{"k":"v"}}"#)),
            response: Some(body("{\"metadata\":{\"name\":\"s\"}}\n")),
            truncated: false,
            annotations: BTreeMap::from([("a/b".to_owned(), "c".to_owned())]),
        }
    }

    fn line(event: &Event) -> Value {
        serde_json::from_slice(&event.line(None).unwrap()).unwrap()
    }

    #[test]
    fn each_level_writes_what_it_says() {
        let seen = line(&event(Level::Metadata));
        assert_eq!(
            seen,
            json!({
                "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "id",
                "stage": "ResponseComplete", "requestURI": "/api/v1/namespaces/ns/secrets?dryRun=All",
                "verb": "create", "user": {"username": "jane", "groups": ["dev", "system:authenticated"]},
                "sourceIPs": ["192.0.2.1"], "userAgent": "kubectl",
                "objectRef": {"resource": "secrets", "namespace": "ns", "name": "s", "uid": "u", "apiVersion": "v1"},
                "responseStatus": {"metadata": {}, "code": 201},
                "requestReceivedTimestamp": "1970-01-01T00:00:00.000000Z",
                "stageTimestamp": "1970-01-01T00:00:00.001500Z",
                "annotations": {"a/b": "c"},
            })
        );
        let seen = line(&event(Level::Request));
        assert_eq!(seen["requestObject"]["data"]["k"], "v");
        assert_eq!(seen["responseObject"], Value::Null);
        assert_eq!(line(&event(Level::RequestResponse))["responseObject"]["metadata"]["name"], "s");
    }

    #[test]
    fn an_event_that_is_too_long_loses_its_bodies_and_then_itself() {
        let event = event(Level::RequestResponse);
        let length = event.line(None).unwrap().len();
        assert_eq!(event.line(Some(length)).unwrap().len(), length);
        let cut: Value = serde_json::from_slice(&event.line(Some(length - 1)).unwrap()).unwrap();
        assert_eq!(cut["requestObject"], Value::Null);
        assert_eq!(cut["annotations"]["audit.k8s.io/truncated"], "true");
        assert_eq!(event.line(Some(100)), None);
    }

    #[test]
    fn a_status_is_told_without_what_may_be_of_any_size() {
        let failed = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {"continue": "x"}, "status": "Failure",
            "message": "no", "reason": "Forbidden", "details": {"name": "s"}, "code": 403,
        });
        let seen = line(&Event { status: failed, response: None, ..event(Level::Metadata) });
        let wanted = json!({"metadata": {}, "status": "Failure", "message": "no", "reason": "Forbidden",
                            "details": {"name": "s"}, "code": 403});
        assert_eq!(seen["responseStatus"], wanted);
    }
}

//! What FlowSchema and PriorityLevelConfiguration (flowcontrol.apiserver.k8s.io/v1) say, as far as it decides anything.

use serde::Deserialize;
use serde_json::Value;

/// An object that does not have the shape of its kind. The registry validates; meeting one means a foreign writer.
#[derive(Debug, thiserror::Error)]
#[error("the {kind} {name:?} is malformed")]
pub struct Malformed {
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub source: serde_json::Error,
}

/// Which requests belong together, and at which priority level.
#[derive(Clone, Debug)]
pub struct FlowSchema {
    /// Its name.
    pub name: String,
    /// Its uid, which answers name it by.
    pub uid: String,
    pub(crate) spec: FlowSchemaSpec,
}

/// How many requests of a level run at a time, and how the others wait.
#[derive(Clone, Debug)]
pub struct PriorityLevel {
    /// Its name.
    pub name: String,
    /// Its uid, which answers name it by.
    pub uid: String,
    pub(crate) spec: PriorityLevelSpec,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FlowSchemaSpec {
    pub(crate) priority_level_configuration: Reference,
    #[serde(default = "default_precedence")]
    pub(crate) matching_precedence: i32,
    pub(crate) distinguisher_method: Option<Distinguisher>,
    #[serde(default)]
    pub(crate) rules: Vec<Rules>,
}

/// The API's default.
fn default_precedence() -> i32 {
    1000
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Reference {
    pub(crate) name: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Distinguisher {
    #[serde(rename = "type")]
    pub(crate) by: By,
}

/// What tells the flows of a schema apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum By {
    #[serde(rename = "ByUser")]
    User,
    #[serde(rename = "ByNamespace")]
    Namespace,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rules {
    pub(crate) subjects: Vec<Subject>,
    #[serde(default)]
    pub(crate) resource_rules: Vec<ResourceRule>,
    #[serde(default, rename = "nonResourceRules")]
    pub(crate) path_rules: Vec<PathRule>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind")]
pub(crate) enum Subject {
    User {
        user: Reference,
    },
    Group {
        group: Reference,
    },
    ServiceAccount {
        #[serde(rename = "serviceAccount")]
        account: Account,
    },
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Account {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResourceRule {
    pub(crate) verbs: Vec<String>,
    pub(crate) api_groups: Vec<String>,
    pub(crate) resources: Vec<String>,
    #[serde(default)]
    pub(crate) cluster_scope: bool,
    #[serde(default)]
    pub(crate) namespaces: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PathRule {
    pub(crate) verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    pub(crate) paths: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum PriorityLevelSpec {
    /// Never waits; its shares count where others' are worked out.
    Exempt {
        #[serde(default)]
        exempt: Shares,
    },
    Limited {
        limited: Limited,
    },
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shares {
    pub(crate) nominal_concurrency_shares: Option<u32>,
    pub(crate) lendable_percent: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Limited {
    #[serde(flatten)]
    pub(crate) shares: Shares,
    pub(crate) borrowing_limit_percent: Option<u32>,
    #[serde(default)]
    pub(crate) limit_response: LimitResponse,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum LimitResponse {
    #[default]
    Reject,
    Queue {
        #[serde(default)]
        queuing: Queuing,
    },
}

/// How requests of a level wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Queuing {
    pub(crate) queues: usize,
    pub(crate) hand_size: usize,
    pub(crate) queue_length_limit: usize,
}

/// The API's defaults.
impl Default for Queuing {
    fn default() -> Self {
        Self { queues: 64, hand_size: 8, queue_length_limit: 50 }
    }
}

fn read<T: for<'a> Deserialize<'a>>(
    kind: &'static str,
    object: &Value,
) -> Result<(String, String, T), Malformed> {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    let spec = T::deserialize(&object["spec"]);
    spec.map(|spec| (text("name"), text("uid"), spec)).map_err(|source| Malformed {
        kind,
        name: text("name"),
        source,
    })
}

impl FlowSchema {
    /// Reads an API object.
    pub fn read(object: &Value) -> Result<Self, Malformed> {
        let (name, uid, spec) = read("FlowSchema", object)?;
        Ok(Self { name, uid, spec })
    }
}

impl PriorityLevel {
    /// Reads an API object.
    pub fn read(object: &Value) -> Result<Self, Malformed> {
        let (name, uid, spec) = read("PriorityLevelConfiguration", object)?;
        Ok(Self { name, uid, spec })
    }
}

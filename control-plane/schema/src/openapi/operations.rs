//! Paths and operations: which URL takes which verb of which kind, with which parameters and bodies.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::parameters;
use crate::types::Schemas;

pub(super) const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// kubectl asks here whether a kind takes strategic merge patches.
const CUSTOM_PATCH_TYPES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

/// What a document has to know of a kind.
#[derive(Clone, Copy, Debug)]
pub struct KindFacts<'a> {
    /// Its group; empty for the core.
    pub group: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Its name.
    pub kind: &'a str,
    /// Its resource name.
    pub plural: &'a str,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// As discovery has them: `create`, `delete`, `deletecollection`, `get`, `list`, `patch`, `update`, `watch`.
    pub verbs: &'a [&'a str],
    /// What hangs below its objects.
    pub subresources: &'a [SubresourceFacts<'a>],
    /// The definition of a custom kind.
    pub definition: Option<&'a Value>,
}

/// What a document has to know of a subresource.
#[derive(Clone, Copy, Debug)]
pub struct SubresourceFacts<'a> {
    /// `status`, `scale`, `exec` ..
    pub name: &'a str,
    /// As discovery has them.
    pub verbs: &'a [&'a str],
    /// Group, version and kind of what is sent and answered, where that is not the parent's.
    pub kind: Option<(&'a str, &'a str, &'a str)>,
}

/// The kind that an operation is about.
#[derive(Clone, Copy)]
struct About<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
    namespaced: bool,
    custom: bool,
    /// Group, version and kind of what is sent and answered: its own, or a subresource's.
    body: (&'a str, &'a str, &'a str),
}

/// The object of all paths, as JSON text: it is large, and as a tree of values many times larger.
pub(super) fn paths(group: &str, version: &str, kinds: &[KindFacts<'_>]) -> String {
    let base = format!("/{}", super::v3_key(group, version));
    let mut paths = String::from("{");
    for kind in kinds {
        let about = About {
            group: kind.group,
            version: kind.version,
            kind: kind.kind,
            namespaced: kind.namespaced,
            custom: kind.definition.is_some(),
            body: (kind.group, kind.version, kind.kind),
        };
        let has = |verb: &str| kind.verbs.contains(&verb);
        let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
        let collection = format!("{base}{scope}/{}", kind.plural);
        let item = format!("{collection}/{{name}}");

        let mut operations = vec![];
        if has("list") {
            operations.push(("get", operation(about, Verb::List, "")));
        }
        if has("create") {
            operations.push(("post", operation(about, Verb::Create, "")));
        }
        if has("deletecollection") {
            operations.push(("delete", operation(about, Verb::DeleteCollection, "")));
        }
        insert(&mut paths, collection, kind.namespaced, None, operations);
        if kind.namespaced && has("list") {
            let all = vec![(
                "get",
                operation(About { namespaced: false, ..about }, Verb::List, "ForAllNamespaces"),
            )];
            insert(&mut paths, format!("{base}/{}", kind.plural), false, None, all);
        }
        let operations = item_operations(about, kind.verbs, "");
        insert(&mut paths, item.clone(), kind.namespaced, Some(kind.kind), operations);
        for sub in kind.subresources {
            let about = About { body: sub.kind.unwrap_or(about.body), ..about };
            let operations = match sub.kind {
                Some((group, version, kind)) if Schemas::builtin().kind(group, version, kind).is_none() => {
                    connections(about, sub.verbs, sub.name)
                }
                _ => item_operations(about, sub.verbs, sub.name),
            };
            insert(
                &mut paths,
                format!("{item}/{}", sub.name),
                kind.namespaced,
                Some(about.body.2),
                operations,
            );
        }
    }
    paths.push('}');
    paths
}

fn item_operations(about: About<'_>, verbs: &[&str], sub: &str) -> Vec<(&'static str, Value)> {
    [
        ("get", "get", Verb::Get),
        ("create", "post", Verb::Create),
        ("update", "put", Verb::Update),
        ("patch", "patch", Verb::Patch),
        ("delete", "delete", Verb::Delete),
    ]
    .into_iter()
    // A kind is created at its collection; a subresource at itself.
    .filter(|(verb, ..)| verbs.contains(verb) && (!sub.is_empty() || *verb != "create"))
    .map(|(_, method, verb)| (method, operation(about, verb, sub)))
    .collect()
}

/// Streams and proxies (`exec`, `proxy` ..): their options come as parameters of the query and have no definition, and
/// what is answered is somebody else's. They are operations of their options' kind: of the pod's, a client that looks for a
/// parameter of its patches would find them without.
fn connections(about: About<'_>, verbs: &[&str], sub: &str) -> Vec<(&'static str, Value)> {
    let tag = tag(about.group, about.version);
    let scope = if about.namespaced { "Namespaced" } else { "" };
    let methods =
        [("get", "get"), ("create", "post"), ("update", "put"), ("patch", "patch"), ("delete", "delete")];
    let served = methods.into_iter().filter(|(verb, _)| verbs.contains(verb));
    served
        .map(|(_, method)| {
            let word = format!("connect{}{}", pascal(&tag), pascal(method));
            let operation = json!({
                "operationId": format!("{word}{scope}{}{}", about.kind, pascal(sub)),
                "tags": [tag],
                "description": format!("connect {} requests to {sub} of {}", method.to_uppercase(), about.kind),
                "responses": {
                    "200": {"description": "OK", "content": {"*/*": {"schema": {"type": "string"}}}},
                    "401": {"description": "Unauthorized"},
                },
                "x-kubernetes-action": "connect",
                "x-kubernetes-group-version-kind": group_version_kind(about.body),
            });
            (method, operation)
        })
        .collect()
}

fn insert(
    paths: &mut String,
    path: String,
    in_namespace: bool,
    named: Option<&str>,
    operations: Vec<(&'static str, Value)>,
) {
    if operations.is_empty() {
        return;
    }
    let mut object: Map<String, Value> = operations.into_iter().map(|(m, o)| (m.to_owned(), o)).collect();
    object.insert("parameters".into(), parameters::of_path(in_namespace, named));
    let separator = if paths.len() > 1 { "," } else { "" };
    write!(paths, "{separator}{}:{}", json!(path), Value::Object(object))
        .expect("writing to memory does not fail");
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    List,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    /// The start of the operation's id, and the value of x-kubernetes-action.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Verb::Get => ("read", "get"),
            Verb::List => ("list", "list"),
            Verb::Create => ("create", "post"),
            Verb::Update => ("replace", "put"),
            Verb::Patch => ("patch", "patch"),
            Verb::Delete => ("delete", "delete"),
            Verb::DeleteCollection => ("delete", "deletecollection"),
        }
    }
}

fn operation(about: About<'_>, verb: Verb, suffix: &str) -> Value {
    let (group, version, kind) = about.body;
    let own = definition_name(group, version, kind);
    let (word, action) = verb.words();
    let answer = match verb {
        Verb::List => format!("{own}List"),
        Verb::Delete | Verb::DeleteCollection => format!("{META}.Status"),
        _ => own.clone(),
    };
    let tag = tag(about.group, about.version);
    let scope = if about.namespaced { "Namespaced" } else { "" };
    let many = if verb == Verb::DeleteCollection { "Collection" } else { "" };
    let mut operation = json!({
        "operationId": format!("{word}{}{many}{scope}{}{}", pascal(&tag), about.kind, pascal(suffix)),
        "tags": [tag],
        "description": describe(verb, about, suffix),
        "parameters": parameters::of(verb),
        "responses": responses(verb, &answer),
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": group_version_kind(about.body),
    });
    let body = match verb {
        Verb::Create | Verb::Update => Some((["*/*"].as_slice(), own, true)),
        Verb::Patch if !about.custom => Some((PATCH_TYPES.as_slice(), format!("{META}.Patch"), true)),
        Verb::Patch => Some((CUSTOM_PATCH_TYPES.as_slice(), format!("{META}.Patch"), true)),
        Verb::Delete | Verb::DeleteCollection => {
            Some((["*/*"].as_slice(), format!("{META}.DeleteOptions"), false))
        }
        Verb::Get | Verb::List => None,
    };
    if let Some((types, definition, required)) = body {
        let mut body = json!({"content": content(types, &definition)});
        if required {
            body["required"] = true.into();
        }
        operation["requestBody"] = body;
    }
    operation
}

fn responses(verb: Verb, answer: &str) -> Value {
    let good = |description: &str| json!({"description": description, "content": content(&["application/json"], answer)});
    let mut responses = json!({"200": good("OK"), "401": {"description": "Unauthorized"}});
    match verb {
        Verb::Create => {
            responses["201"] = good("Created");
            responses["202"] = good("Accepted");
        }
        Verb::Update | Verb::Patch => responses["201"] = good("Created"),
        Verb::Delete => responses["202"] = good("Accepted"),
        Verb::Get | Verb::List | Verb::DeleteCollection => {}
    }
    responses
}

fn group_version_kind((group, version, kind): (&str, &str, &str)) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

fn describe(verb: Verb, about: About<'_>, sub: &str) -> String {
    let kind = about.kind;
    let of = if sub.is_empty() || verb == Verb::List { String::new() } else { format!("{sub} of ") };
    match verb {
        Verb::Get => format!("read {of}the specified {kind}"),
        Verb::List if about.custom => format!("list objects of kind {kind}"),
        Verb::List => format!("list or watch objects of kind {kind}"),
        Verb::Create => format!("create {of}{}", with_article(kind)),
        Verb::Update => format!("replace {of}the specified {kind}"),
        Verb::Patch => format!("partially update {of}the specified {kind}"),
        Verb::Delete => format!("delete {of}{}", with_article(kind)),
        Verb::DeleteCollection => format!("delete collection of {kind}"),
    }
}

/// `a Pod`, `an Event`, `Endpoints`: by the letters alone, as upstream.
fn with_article(kind: &str) -> String {
    let plural = kind.ends_with('s') && !kind.ends_with("ss");
    let vowel = kind.starts_with(|first: char| "aeiou".contains(first.to_ascii_lowercase()));
    match (plural, vowel) {
        (true, _) => kind.to_owned(),
        (false, true) => format!("an {kind}"),
        (false, false) => format!("a {kind}"),
    }
}

fn content(types: &[&str], definition: &str) -> Value {
    let schema = json!({"schema": reference(definition)});
    Value::Object(types.iter().map(|ty| ((*ty).to_owned(), schema.clone())).collect())
}

pub(super) fn reference(definition: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{definition}")})
}

/// `apps_v1`, `core_v1`, `rbacAuthorization_v1`: how published operations are grouped.
fn tag(group: &str, version: &str) -> String {
    let short = group.strip_suffix(".k8s.io").unwrap_or(group);
    let mut words = short.split('.').filter(|word| !word.is_empty());
    let first = words.next().unwrap_or("core").to_owned();
    let name = words.fold(first, |name, word| name + &pascal(word));
    format!("{name}_{version}")
}

/// Each word, as `_` parts them, with a capital.
fn pascal(text: &str) -> String {
    text.split(['_', '-'])
        .map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
                .unwrap_or_default()
        })
        .collect()
}

/// The published name of a kind's definition.
#[must_use]
pub fn definition_name(group: &str, version: &str, kind: &str) -> String {
    Schemas::builtin().kind(group, version, kind).and_then(|ty| ty.name()).map_or_else(
        || {
            // As upstream names kinds without a Go type: the group's parts reversed.
            let reversed: Vec<&str> = group.rsplit('.').collect();
            format!("{}.{version}.{kind}", reversed.join("."))
        },
        str::to_owned,
    )
}

//! Policies and bindings, compiled: read once a change of theirs. Of a policy that has not changed the programs are kept.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use keelson_cel::admission::{Has, environment};
use keelson_cel::{Environment, Library, Program, Type};
use keelson_registry::{Registry, meta};
use serde_json::Value;

use crate::matching::{Criteria, GROUP};

/// All policies of one sort with their bindings.
pub(super) struct Policies {
    plural: &'static str,
    bindings_plural: &'static str,
    compiled: ArcSwapOption<Compiled>,
}

struct Compiled {
    /// Of the last change of policies and of bindings.
    revisions: (u64, u64),
    bound: Arc<[Bound]>,
    /// By name and resourceVersion.
    policies: HashMap<(String, String), Arc<Policy>>,
}

/// A policy and where it holds. One without bindings holds nowhere and is not here.
pub(super) struct Bound {
    pub(super) policy: Arc<Policy>,
    pub(super) bindings: Vec<Binding>,
}

/// What becomes of a request about which a policy or a webhook cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailurePolicy {
    Fail,
    Ignore,
}

/// An expression and its program. One that was stored compiled; should it not any more, that is its result.
pub(super) struct Expression {
    pub(super) text: String,
    pub(super) program: Result<Program, String>,
}

pub(super) struct Policy {
    pub(super) name: String,
    pub(super) criteria: Result<Criteria, String>,
    /// apiVersion and kind of the parameters.
    pub(super) param_kind: Option<(String, String)>,
    pub(super) conditions: Vec<Expression>,
    pub(super) failure: FailurePolicy,
    pub(super) validations: Vec<Validation>,
    /// Keys and what makes their values.
    pub(super) audits: Vec<(String, Expression)>,
    pub(super) mutations: Vec<Mutation>,
    /// Whether it wants to see what came after it.
    pub(super) reinvoke: bool,
}

pub(super) struct Validation {
    pub(super) expression: Expression,
    pub(super) message: String,
    pub(super) message_expression: Option<Expression>,
    pub(super) reason: String,
}

/// How an object is changed.
pub(super) enum Mutation {
    Apply(Expression),
    JsonPatch(Expression),
}

pub(super) struct Binding {
    pub(super) name: String,
    /// Absent: whatever the policy is about.
    pub(super) criteria: Option<Result<Criteria, String>>,
    /// paramRef as it stands.
    pub(super) param_ref: Option<Value>,
    pub(super) actions: Actions,
}

/// validationActions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Actions {
    pub(super) deny: bool,
    pub(super) warn: bool,
    pub(super) audit: bool,
}

impl Actions {
    /// As the API has them.
    pub(super) fn names(self) -> Vec<&'static str> {
        let all = [("Deny", self.deny), ("Warn", self.warn), ("Audit", self.audit)];
        all.into_iter().filter(|(_, wished)| *wished).map(|(name, _)| name).collect()
    }
}

impl Policies {
    pub(super) fn new(plural: &'static str, bindings_plural: &'static str) -> Self {
        Self { plural, bindings_plural, compiled: ArcSwapOption::empty() }
    }

    /// The policies as the caches have them now: one whose write was answered counts.
    pub(super) fn bound(&self, registry: &Registry) -> Arc<[Bound]> {
        let table = registry.table();
        let kinds = (
            table.by_resource(GROUP, "v1", self.plural),
            table.by_resource(GROUP, "v1", self.bindings_plural),
        );
        let (Some(policies), Some(bindings)) = kinds else { return Arc::new([]) };
        // Taken before the objects are read: what is compiled is at least as new as it says.
        let revisions = (registry.cached_revision(policies), registry.cached_revision(bindings));
        let known = self.compiled.load();
        if let Some(known) = known.as_ref().filter(|known| known.revisions == revisions) {
            return known.bound.clone();
        }
        let objects = |kind| registry.cached_all(kind, None).into_iter().map(|entry| entry.to_value());
        let before = known.as_ref().map(|known| &known.policies);
        let compiled = compile(revisions, objects(policies), objects(bindings), before);
        let bound = compiled.bound.clone();
        self.compiled.store(Some(Arc::new(compiled)));
        bound
    }
}

fn compile(
    revisions: (u64, u64),
    policies: impl Iterator<Item = Value>,
    bindings: impl Iterator<Item = Value>,
    before: Option<&HashMap<(String, String), Arc<Policy>>>,
) -> Compiled {
    let mut by_policy: HashMap<String, Vec<Binding>> = HashMap::new();
    for binding in bindings {
        let policy = meta::text(&binding, &["spec", "policyName"]).to_owned();
        by_policy.entry(policy).or_default().push(Binding::read(&binding));
    }
    let (mut bound, mut kept) = (Vec::new(), HashMap::new());
    for object in policies {
        let name = meta::field(&object, "name").to_owned();
        let Some(bindings) = by_policy.remove(&name) else { continue };
        let id = (name, meta::field(&object, "resourceVersion").to_owned());
        let policy = before.and_then(|before| before.get(&id)).cloned();
        let policy = policy.unwrap_or_else(|| Arc::new(Policy::read(&object)));
        kept.insert(id, policy.clone());
        bound.push(Bound { policy, bindings });
    }
    Compiled { revisions, bound: bound.into(), policies: kept }
}

/// The matchConditions of a policy's spec or of a webhook.
pub(super) fn match_conditions(parent: &Value, environment: &Environment) -> Vec<Expression> {
    let conditions = meta::items(parent, &["matchConditions"]).iter();
    conditions.map(|one| Expression::read(one, "expression", environment, &[Type::Bool])).collect()
}

impl Expression {
    fn read(parent: &Value, key: &str, environment: &Environment, wanted: &[Type]) -> Self {
        let text = meta::text(parent, &[key]).to_owned();
        let program = match wanted {
            [] => Program::compile(&text, environment),
            wanted => Program::compile_as(&text, environment, wanted),
        };
        Self { text, program: program.map_err(|error| error.to_string()) }
    }
}

impl Policy {
    pub(super) fn read(object: &Value) -> Self {
        let (none, spec) = (Value::Null, object.get("spec"));
        let spec = spec.unwrap_or(&none);
        let param_kind = meta::at(spec, &["paramKind"]).map(|kind| {
            (meta::text(kind, &["apiVersion"]).to_owned(), meta::text(kind, &["kind"]).to_owned())
        });
        let has = Has { params: param_kind.is_some(), authorizer: true };
        let plain = environment(has);
        let with_variables = composited(spec, environment(has));
        let messages = composited(spec, environment(Has { authorizer: false, ..has }));
        let validations = meta::items(spec, &["validations"]).iter();
        let audits = meta::items(spec, &["auditAnnotations"]).iter();
        let for_mutation = with_variables.clone().for_mutation();
        Self {
            name: meta::field(object, "name").to_owned(),
            criteria: criteria(meta::at(spec, &["matchConstraints"]).unwrap_or(&none)),
            param_kind,
            conditions: match_conditions(spec, &plain),
            failure: match meta::text(spec, &["failurePolicy"]) {
                "Ignore" => FailurePolicy::Ignore,
                _ => FailurePolicy::Fail,
            },
            validations: validations.map(|one| Validation::read(one, &with_variables, &messages)).collect(),
            audits: audits
                .map(|one| {
                    let wanted = [Type::STRING, Type::Null];
                    let value = Expression::read(one, "valueExpression", &with_variables, &wanted);
                    (meta::text(one, &["key"]).to_owned(), value)
                })
                .collect(),
            mutations: meta::items(spec, &["mutations"])
                .iter()
                .map(|one| Mutation::read(one, &for_mutation))
                .collect(),
            reinvoke: meta::text(spec, &["reinvocationPolicy"]) == "IfNeeded",
        }
    }
}

/// The environment with the policy's variables, as far as they compile; whoever names one that does not fails so.
fn composited(spec: &Value, environment: Environment) -> Environment {
    meta::items(spec, &["variables"]).iter().fold(environment, |environment, variable| {
        let text = meta::text(variable, &["expression"]);
        match Program::compile(text, &environment) {
            Ok(program) => environment.with_composited(meta::text(variable, &["name"]), program.into()),
            Err(_) => environment,
        }
    })
}

impl Validation {
    fn read(given: &Value, environment: &Environment, messages: &Environment) -> Self {
        let has_message = !meta::text(given, &["messageExpression"]).is_empty();
        Self {
            expression: Expression::read(given, "expression", environment, &[Type::Bool]),
            message: meta::text(given, &["message"]).trim().to_owned(),
            message_expression: has_message
                .then(|| Expression::read(given, "messageExpression", messages, &[Type::STRING])),
            reason: meta::text(given, &["reason"]).to_owned(),
        }
    }
}

impl Mutation {
    fn read(given: &Value, environment: &Environment) -> Self {
        let none = Value::Null;
        let of = |key: &str, ty| {
            Expression::read(meta::at(given, &[key]).unwrap_or(&none), "expression", environment, &[ty])
        };
        match meta::text(given, &["patchType"]) {
            "JSONPatch" => Self::JsonPatch(of("jsonPatch", Type::list(Type::Library(Library::JsonPatch)))),
            _ => Self::Apply(of("applyConfiguration", Type::Library(Library::MutationObject))),
        }
    }
}

impl Binding {
    fn read(object: &Value) -> Self {
        let none = Value::Null;
        let spec = object.get("spec").unwrap_or(&none);
        let actions = meta::items(spec, &["validationActions"]);
        let has = |action: &str| actions.iter().any(|own| own.as_str() == Some(action));
        Self {
            name: meta::field(object, "name").to_owned(),
            criteria: meta::at(spec, &["matchResources"]).map(criteria),
            param_ref: meta::at(spec, &["paramRef"]).cloned(),
            actions: Actions { deny: has("Deny"), warn: has("Warn"), audit: has("Audit") },
        }
    }
}

fn criteria(given: &Value) -> Result<Criteria, String> {
    Criteria::of_policy(given).map_err(|error| error.to_string())
}

//! ValidatingAdmissionPolicy: what becomes of the policies' objections.

use keelson_registry::{Attributes, KindTable, Reason, Registry, Status, status::StatusCause};
use serde_json::{Value, json};

use super::clerk::Clerk;
use super::compiled::{Binding, Bound, FailurePolicy, Policy};
use super::evaluation::{Denial, Judgement, annotations, conditions_hold, denials};
use super::request::{Seen, request};
use super::{Policies, metrics, params};
use crate::matching::{Resource, Subject, equivalents};
use crate::plugin::forbidden;
use crate::surroundings::Surroundings;

/// The annotation in which a violation is recorded that is not a denial.
const FAILURE_ANNOTATION: &str = "validation.policy.admission.k8s.io/validation_failure";

/// A policy's objection, and under which binding.
struct Told<'p> {
    policy: &'p str,
    /// None where the policy itself could not be configured.
    binding: Option<&'p str>,
    denial: Denial,
}

impl Policies {
    /// Asks all validating policies that are about the request. The object is absent on delete.
    pub(crate) async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        let registry = self.registry()?;
        let bound = self.validating.bound(&registry);
        if bound.is_empty() {
            return Ok(());
        }
        let table = registry.table();
        let others = equivalents(&table, attributes.kind, attributes.subresource);
        let subject = Subject::new(attributes, object, &others);
        if subject.is_exempt() || subject.is_review() {
            return Ok(());
        }
        let mut told = Vec::new();
        let mut noted = Vec::new();
        let mut around = Surroundings::default();
        for Bound { policy, bindings } in bound.iter() {
            let wanted = match &policy.criteria {
                Ok(criteria) => around.wanted(&registry, criteria, &subject).await?,
                Err(error) => {
                    configured(policy, None, error, &mut told);
                    continue;
                }
            };
            let Some(resource) = wanted else { continue };
            for binding in bindings {
                let about = match &binding.criteria {
                    None => true,
                    Some(Ok(criteria)) => around.wanted(&registry, criteria, &subject).await?.is_some(),
                    Some(Err(error)) => {
                        configured(policy, Some(binding), error, &mut told);
                        false
                    }
                };
                if !about {
                    continue;
                }
                match params::collect(&registry, policy, binding, attributes).await {
                    Err(error) => configured(policy, Some(binding), &error, &mut told),
                    Ok(all) => {
                        let namespace = around.namespace_object(&registry, attributes).await?;
                        let shown = Shown::new(&registry, &table, attributes, object, resource).await?;
                        for params in &all {
                            let found = self.ask(policy, attributes, &shown, &namespace, params).await;
                            let found = heed(policy, binding, attributes, found, &mut noted);
                            told.extend(found.into_iter().map(|denial| Told {
                                policy: &policy.name,
                                binding: Some(&binding.name),
                                denial,
                            }));
                        }
                    }
                }
            }
        }
        if !noted.is_empty() {
            attributes.annotations.add(FAILURE_ANNOTATION, || Value::from(noted).to_string());
        }
        told.into_iter().next().map_or(Ok(()), |first| Err(first.status(attributes, object)))
    }

    /// What the policy objects to. What it annotates is noted here.
    async fn ask(
        &self,
        policy: &Policy,
        attributes: &Attributes<'_>,
        shown: &Shown,
        namespace: &Value,
        params: &Value,
    ) -> Judgement {
        let clerk = Clerk::new(&self.authorizer, attributes, &shown.name);
        let seen = Seen {
            object: &shown.object,
            old: &shown.old,
            request: &shown.request,
            namespace,
            params,
            clerk: &clerk,
        };
        let (found, annotated) = clerk.settle(|| judged(policy, &seen)).await;
        annotated.into_iter().for_each(|(key, value)| attributes.annotations.add(key, || value));
        found
    }
}

/// What the policy objects to, and its annotations.
fn judged(policy: &Policy, seen: &Seen<'_>) -> (Judgement, Vec<(String, String)>) {
    let bindings = seen.bindings();
    let mut found = match conditions_hold(&policy.conditions, policy.failure, &bindings) {
        Ok(false) => return (Judgement::default(), Vec::new()),
        Ok(true) => denials(policy, &bindings),
        Err(error) => Judgement { denials: vec![Denial::new(error)], ignored: Vec::new() },
    };
    let annotated = annotations(policy, &bindings).unwrap_or_else(|error| {
        found.denials.push(Denial::new(error));
        Vec::new()
    });
    (found, annotated)
}

/// What the binding denies of what was found; what it only warns of or records is done here.
fn heed(
    policy: &Policy,
    binding: &Binding,
    attributes: &Attributes<'_>,
    found: Judgement,
    noted: &mut Vec<Value>,
) -> Vec<Denial> {
    let (own, name) = (&policy.name, &binding.name);
    found.ignored.iter().for_each(|measured| metrics::ignored(own, name, *measured));
    for denial in &found.denials {
        metrics::objected(own, name, binding.actions, denial.measured);
        if binding.actions.warn {
            attributes.warnings.add(format!(
                "Validation failed for ValidatingAdmissionPolicy '{own}' with binding '{name}': {}",
                denial.message
            ));
        }
        if binding.actions.audit && attributes.annotations.are_kept() {
            noted.push(json!({
                "message": denial.message,
                "policy": own,
                "binding": name,
                "expressionIndex": denial.index,
                "validationActions": binding.actions.names(),
            }));
        }
    }
    if binding.actions.deny { found.denials } else { Vec::new() }
}

/// A policy or binding that cannot be put to work objects to everything, unless it is to be ignored then.
fn configured<'p>(policy: &'p Policy, binding: Option<&'p Binding>, error: &str, told: &mut Vec<Told<'p>>) {
    if policy.failure == FailurePolicy::Fail {
        let what = if binding.is_some() { "binding" } else { "policy" };
        let denial = Denial::new(format!("failed to configure {what}: {error}"));
        told.push(Told { policy: &policy.name, binding: binding.map(|binding| &*binding.name), denial });
    }
}

impl Told<'_> {
    fn status(self, attributes: &Attributes<'_>, object: Option<&Value>) -> Status {
        let with = self.binding.map(|binding| format!(" with binding '{binding}'")).unwrap_or_default();
        let message = format!(
            "ValidatingAdmissionPolicy '{}'{with} denied request: {}",
            self.policy, self.denial.message
        );
        refused(attributes, object, message, &self.denial.reason)
    }
}

/// A refusal by a policy: worded as a 403, but by its own reason, 422 where it gives none.
pub(super) fn refused(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    message: String,
    reason: &str,
) -> Status {
    let mut status = forbidden(attributes, object.or(attributes.old), &message);
    (status.code, status.reason) = match reason {
        "Forbidden" => (403, Reason::Forbidden),
        "Unauthorized" => (401, Reason::Unauthorized),
        "RequestEntityTooLarge" => (413, Reason::RequestEntityTooLarge),
        _ => (422, Reason::Invalid),
    };
    let cause = StatusCause { reason: String::new(), message, field: String::new() };
    status.details.get_or_insert_default().causes.push(cause);
    status
}

/// The objects in the form in which a policy wants to see them, and the request about them.
pub(super) struct Shown {
    pub(super) object: Value,
    pub(super) old: Value,
    pub(super) request: Value,
    pub(super) name: String,
}

impl Shown {
    pub(super) async fn new(
        registry: &Registry,
        table: &KindTable,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        wanted: Resource<'_>,
    ) -> Result<Self, Status> {
        let own = attributes.kind;
        let kind = table.by_resource(wanted.group, wanted.version, wanted.plural).map_or(own, |kind| kind);
        let other = !std::ptr::eq(own, kind) && own.gvk() != kind.gvk();
        // A subresource's own body (Scale) has one form.
        let plain = matches!(attributes.subresource, "" | "status");
        let show = async |object: Option<&Value>| match object {
            None => Ok(Value::Null),
            Some(object) if other && plain => {
                let converted = registry.converted(own, kind, object.clone()).await;
                converted.map_err(|status| Status::internal(status.message))
            }
            Some(object) => Ok(object.clone()),
        };
        let name = match attributes.name {
            "" => object.map(|object| keelson_registry::meta::field(object, "name")).unwrap_or_default(),
            name => name,
        };
        Ok(Self {
            object: show(object).await?,
            old: show(attributes.old).await?,
            request: request(attributes, kind, name),
            name: name.to_owned(),
        })
    }
}

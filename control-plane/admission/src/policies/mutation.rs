//! MutatingAdmissionPolicy: one policy after the other changes the object, each sees what the one before it left.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use keelson_cel::{Bindings, Budget, Value as Cel};
use keelson_registry::{Attributes, Kind, KindTable, Registry, Status, admitted, merged, meta};
use serde_json::Value;

use super::clerk::Clerk;
use super::compiled::{Binding, Bound, Expression, FailurePolicy, Mutation, Policy};
use super::evaluation::{conditions_hold, run};
use super::request::Seen;
use super::validation::{Shown, refused};
use super::{Policies, metrics, params};
use crate::matching::{Subject, equivalents};
use crate::surroundings::Surroundings;

/// What the first round leaves for a second one.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Asked already, and willing to be asked again.
    willing: HashSet<String>,
    /// To be asked again: the object changed after they saw it.
    again: HashSet<String>,
    /// The object as the round left it.
    output: Value,
    /// Whether any policy changed the object.
    pub(crate) changed: bool,
}

/// Which policies of a round are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    First,
    Again,
}

impl Round {
    fn object_changed(&mut self) {
        self.again.extend(self.willing.drain());
    }
}

impl Policies {
    /// Asks the mutating policies. On a delete there is nothing to change.
    pub(crate) async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
    ) -> Result<Round, Status> {
        let mut round = Round::default();
        if let Some(object) = object {
            self.pass(attributes, object, &mut round, Pass::First).await?;
        }
        Ok(round)
    }

    /// Asks those again that were asked before the object changed, and wish so.
    pub(crate) async fn reinvoke(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        mut round: Round,
    ) -> Result<(), Status> {
        if *object != round.output {
            round.object_changed();
        }
        if round.again.is_empty() {
            return Ok(());
        }
        self.pass(attributes, object, &mut round, Pass::Again).await
    }

    async fn pass(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        round: &mut Round,
        pass: Pass,
    ) -> Result<(), Status> {
        let registry = self.registry()?;
        let bound = self.mutating.bound(&registry);
        if bound.is_empty() {
            return Ok(());
        }
        let table = registry.table();
        let mut around = Surroundings::default();
        for Bound { policy, bindings } in bound.iter() {
            if pass == Pass::Again && !round.again.contains(&policy.name) {
                continue;
            }
            for binding in bindings {
                let asked =
                    Asked { policies: self, registry: &registry, table: &table, attributes, policy, binding };
                let Some(changed) = asked.run(&mut around, object).await? else { continue };
                if let Some(changed) = changed {
                    *object = changed;
                    round.changed = true;
                    round.object_changed();
                }
                if policy.reinvoke {
                    round.willing.insert(policy.name.clone());
                }
            }
        }
        if round.changed {
            round.output = object.clone();
        }
        Ok(())
    }
}

/// One policy under one binding.
struct Asked<'a, 'b> {
    policies: &'a Policies,
    registry: &'a Registry,
    table: &'a Arc<KindTable>,
    attributes: &'a Attributes<'b>,
    policy: &'a Policy,
    binding: &'a Binding,
}

impl Asked<'_, '_> {
    /// None where the policy is not about the request; then the object where it changed.
    async fn run(&self, around: &mut Surroundings, object: &Value) -> Result<Option<Option<Value>>, Status> {
        let others = equivalents(self.table, self.attributes.kind, self.attributes.subresource);
        let subject = Subject::new(self.attributes, Some(object), &others);
        if subject.is_exempt() || subject.is_review() {
            return Ok(None);
        }
        let mut resource = None;
        for criteria in [Some(&self.policy.criteria), self.binding.criteria.as_ref()].into_iter().flatten() {
            match criteria {
                Err(error) => {
                    return self.fail(object, format!("failed to configure policy: {error}")).map(|()| None);
                }
                Ok(criteria) => match around.wanted(self.registry, criteria, &subject).await? {
                    None => return Ok(None),
                    wanted => resource = resource.or(wanted),
                },
            }
        }
        let Some(resource) = resource else { return Ok(None) };
        let all = match params::collect(self.registry, self.policy, self.binding, self.attributes).await {
            Ok(all) => all,
            Err(error) => {
                return self.fail(object, format!("failed to configure binding: {error}")).map(|()| None);
            }
        };
        let namespace = around.namespace_object(self.registry, self.attributes).await?;
        let kind = self.table.by_resource(resource.group, resource.version, resource.plural);
        let kind = kind.map_or(self.attributes.kind, |kind| kind);
        let (mut current, mut changed) = (None, false);
        for params in &all {
            let seen = current.as_ref().or(Some(object));
            let shown = Shown::new(self.registry, self.table, self.attributes, seen, resource).await?;
            let clerk = Clerk::new(&self.policies.authorizer, self.attributes, &shown.name);
            let began = Instant::now();
            let outcome = clerk.settle(|| self.changed(kind, &shown, &namespace, params, &clerk)).await;
            if !matches!(outcome, Ok(None)) {
                metrics::mutated(&self.policy.name, &self.binding.name, began.elapsed(), outcome.is_err());
            }
            match outcome {
                Err(error) => self.fail(object, error)?,
                Ok(None) => {}
                Ok(Some(next)) => {
                    let next = self.in_own_form(kind, next).await?;
                    changed |= next != *current.as_ref().unwrap_or(object);
                    current = Some(next);
                }
            }
        }
        Ok(Some(current.filter(|_| changed)))
    }

    /// The object after all mutations, as the policy sees it; none where a condition does not hold.
    fn changed(
        &self,
        kind: &Kind,
        shown: &Shown,
        namespace: &Value,
        params: &Value,
        clerk: &Clerk<'_>,
    ) -> Result<Option<Value>, String> {
        let mut budget = Budget::default();
        let mut object = Cow::Borrowed(&shown.object);
        for (index, mutation) in self.policy.mutations.iter().enumerate() {
            let next = {
                let seen = Seen {
                    object: &object,
                    old: &shown.old,
                    request: &shown.request,
                    namespace,
                    params,
                    clerk,
                };
                let bindings = seen.bindings();
                if index == 0 && !conditions_hold(&self.policy.conditions, self.policy.failure, &bindings)? {
                    return Ok(None);
                }
                patched(mutation, kind, self.attributes.subresource, &object, &bindings, &mut budget)?
            };
            let next = admitted(kind, self.attributes.subresource, next).map_err(|status| status.message)?;
            same_object(&object, &next)?;
            object = Cow::Owned(next);
        }
        Ok(Some(object.into_owned()))
    }

    async fn in_own_form(&self, kind: &Kind, object: Value) -> Result<Value, Status> {
        let own = self.attributes.kind;
        if own.gvk() == kind.gvk() || !matches!(self.attributes.subresource, "" | "status") {
            return Ok(object);
        }
        let converted = self.registry.converted(kind, own, object).await;
        converted.map_err(|status| Status::internal(status.message))
    }

    /// Refuses, unless the policy is to be ignored then.
    fn fail(&self, object: &Value, error: String) -> Result<(), Status> {
        if self.policy.failure == FailurePolicy::Ignore {
            return Ok(());
        }
        let (policy, binding) = (&self.policy.name, &self.binding.name);
        let message = format!("policy '{policy}' with binding '{binding}' denied request: {error}");
        Err(refused(self.attributes, Some(object), message, ""))
    }
}

fn patched(
    mutation: &Mutation,
    kind: &Kind,
    sub: &str,
    object: &Value,
    bindings: &Bindings<'_>,
    budget: &mut Budget,
) -> Result<Value, String> {
    let json = |expression: &Expression, budget: &mut Budget| {
        let value: Cel<'_> = run(expression, bindings, budget)?;
        value.to_json().ok_or_else(|| format!("expression '{}' made what is not JSON", expression.text))
    };
    match mutation {
        Mutation::JsonPatch(expression) => {
            let patch = json(expression, budget)?;
            keelson_registry::patched(object, &patch).map_err(|error| format!("JSON Patch: {error}"))
        }
        Mutation::Apply(expression) => {
            let mut config = json(expression, budget)?;
            for key in ["apiVersion", "kind"] {
                config[key] = object[key].clone();
            }
            merged(kind, sub, object, &config).map_err(|error| format!("invalid ApplyConfiguration: {error}"))
        }
    }
}

/// A mutation changes the object, it does not make another of it.
fn same_object(before: &Value, after: &Value) -> Result<(), String> {
    for path in [
        ["apiVersion", ""],
        ["kind", ""],
        ["metadata", "name"],
        ["metadata", "namespace"],
        ["metadata", "uid"],
    ] {
        let path: Vec<&str> = path.into_iter().filter(|part| !part.is_empty()).collect();
        if meta::text(before, &path) != meta::text(after, &path) {
            return Err(format!("must not change {}", path.join(".")));
        }
    }
    Ok(())
}

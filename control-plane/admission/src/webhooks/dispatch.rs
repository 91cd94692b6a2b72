//! Who is asked in which order, and what comes of the answers together.

use super::{
    Round, Webhooks, call,
    configuration::Hook,
    error::Refusal,
    note::{self, Place},
    others,
    review::Question,
};
use crate::{
    matching::{Resource, Subject},
    metrics,
    policies::FailurePolicy,
    surroundings::Surroundings,
};
use futures::{StreamExt, stream};
use keelson_registry::{Attributes, Kind, Registry, Status, admitted};
use serde_json::Value;
use std::{sync::Arc, time::Instant};

/// Validating webhooks asked at a time about one request.
const IN_FLIGHT_MAX: usize = 64;

/// Which webhooks of a round are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    First,
    Again,
}

impl Webhooks {
    /// Asks the mutating webhooks, one after the other. The object is absent on delete.
    pub(crate) async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
    ) -> Result<Round, Status> {
        let mut round = Round::default();
        self.pass(attributes, object, &mut round, Pass::First).await?;
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
        self.pass(attributes, Some(object), &mut round, Pass::Again).await
    }

    async fn pass(
        &self,
        attributes: &Attributes<'_>,
        mut object: Option<&mut Value>,
        round: &mut Round,
        pass: Pass,
    ) -> Result<(), Status> {
        let registry = self.registry()?;
        let hooks = self.mutating.hooks(&registry);
        if hooks.is_empty() {
            return Ok(());
        }
        let table = registry.table();
        let others = others(&table, attributes);
        let mut around = Surroundings::default();
        for (index, hook) in hooks.iter().enumerate() {
            if pass == Pass::Again && !round.again.contains(&hook.id) {
                continue;
            }
            let seen = object.as_deref();
            let subject = Subject::new(attributes, seen, &others);
            if subject.is_exempt() {
                return Ok(());
            }
            let Some(resource) = self.wanted(&registry, hook, attributes, &subject, &mut around).await?
            else {
                continue;
            };
            let asked = Asked { registry: &registry, hook, attributes, resource };
            let place = Place { kind: "mutating", round: pass as usize, index };
            let changed = match self.ask_for_patch(&asked, seen, place).await {
                Ok(changed) => changed,
                Err(refusal) => {
                    asked.fail(refusal, place)?;
                    None
                }
            };
            note::mutation(attributes, hook, place, changed.is_some());
            if let (Some(changed), Some(object)) = (changed, object.as_deref_mut()) {
                *object = changed;
                round.changed = true;
                round.object_changed();
            }
            if hook.reinvoke {
                round.willing.insert(hook.id.clone());
            }
        }
        if round.changed
            && let Some(object) = object
        {
            round.output = object.clone();
        }
        Ok(())
    }

    /// The object as the webhook wants it, in the request's form, where it differs.
    async fn ask_for_patch(
        &self,
        asked: &Asked<'_>,
        object: Option<&Value>,
        place: Place,
    ) -> Result<Option<Value>, Refusal> {
        let (patch, shown) = asked.ask(&self.client, object, true).await?;
        if patch.is_empty() || patch.as_slice() == b"[]" {
            return Ok(None);
        }
        let Some(object) = object else {
            return Err(Refusal::Final(Status::internal(format!(
                "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                asked.hook.name
            ))));
        };
        let patched = asked.patched(object, &shown, &patch).await.map_err(Refusal::Final)?;
        if patched.is_some() {
            note::patch(asked.attributes, asked.hook, place, &patch);
        }
        Ok(patched)
    }

    /// Asks all validating webhooks that are about the request.
    pub(crate) async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        let registry = self.registry()?;
        let hooks = self.validating.hooks(&registry);
        if hooks.is_empty() {
            return Ok(());
        }
        let table = registry.table();
        let others = others(&table, attributes);
        let mut around = Surroundings::default();
        let subject = Subject::new(attributes, object, &others);
        if subject.is_exempt() {
            return Ok(());
        }
        let mut all = Vec::new();
        for (index, hook) in hooks.iter().enumerate() {
            if let Some(resource) = self.wanted(&registry, hook, attributes, &subject, &mut around).await? {
                let place = Place { kind: "validating", round: 0, index };
                all.push((Asked { registry: &registry, hook, attributes, resource }, place));
            }
        }
        let asks: Vec<_> =
            all.into_iter().map(|(asked, place)| asked.judge(&self.client, object, place)).collect();
        let began = Instant::now();
        let answers: Vec<Result<(), Status>> = stream::iter(asks).buffered(IN_FLIGHT_MAX).collect().await;
        // They are asked side by side: what the request waits is not their sum.
        keelson_metrics::waits::note(began.elapsed());
        answers.into_iter().collect()
    }
}

fn outcome(answer: &Result<Vec<u8>, Refusal>, failure: FailurePolicy) -> metrics::Asked {
    match (answer, failure) {
        (Ok(_), _) => metrics::Asked::Allowed,
        (Err(Refusal::Final(status)), _) => metrics::Asked::Denied(status.code),
        (Err(Refusal::Unanswered(_)), FailurePolicy::Ignore) => metrics::Asked::FailedOpen,
        (Err(Refusal::Unanswered(_)), FailurePolicy::Fail) => metrics::Asked::FailedClosed,
    }
}

/// A webhook that is about a request.
struct Asked<'a> {
    registry: &'a Registry,
    hook: &'a Hook,
    attributes: &'a Attributes<'a>,
    /// The form that it wants to see.
    resource: Resource<'a>,
}

impl Asked<'_> {
    /// Answers with the patch, and the object that it is about.
    async fn ask(
        &self,
        client: &keelson_webhook::Client,
        object: Option<&Value>,
        mutating: bool,
    ) -> Result<(Vec<u8>, Value), Refusal> {
        let kind = self.kind().map_err(Refusal::Final)?;
        let shown = async |object: Option<&Value>| match (object, &kind) {
            (None, _) => Ok(Value::Null),
            (Some(object), None) => Ok(object.clone()),
            (Some(object), Some(kind)) => self.converted(self.attributes.kind, kind, object.clone()).await,
        };
        let (object, old) = (shown(object).await, shown(self.attributes.old).await);
        let (object, old) = (object.map_err(Refusal::Final)?, old.map_err(Refusal::Final)?);
        let uid = uuid::Uuid::new_v4().to_string();
        let question = Question {
            uid: &uid,
            attributes: self.attributes,
            kind: kind.as_deref().unwrap_or(self.attributes.kind),
            object: &object,
            old: &old,
        };
        let began = Instant::now();
        let answer = call::ask(client, self.hook, &question, mutating).await;
        let (asked, took) = (outcome(&answer, self.hook.failure), began.elapsed());
        if mutating {
            keelson_metrics::waits::note(took);
        }
        metrics::webhook(&self.hook.name, mutating, self.attributes.operation, asked, took);
        Ok((answer?, object))
    }

    /// A form that cannot be had is the server's failure, whatever the webhook's policy.
    async fn converted(&self, from: &Kind, to: &Kind, object: Value) -> Result<Value, Status> {
        let converted = self.registry.converted(from, to, object).await;
        converted.map_err(|status| Status::internal(status.message))
    }

    /// Asks a validating one.
    async fn judge(
        self,
        client: &keelson_webhook::Client,
        object: Option<&Value>,
        place: Place,
    ) -> Result<(), Status> {
        match self.ask(client, object, false).await {
            Ok(_) => Ok(()),
            Err(refusal) => self.fail(refusal, place),
        }
    }

    /// The kind of the form, where it is another than the request's.
    fn kind(&self) -> Result<Option<Arc<Kind>>, Status> {
        let (own, wanted) = (self.attributes.kind, self.resource);
        // A subresource's own body (Scale) has one form.
        let plain = matches!(self.attributes.subresource, "" | "status");
        if !plain
            || (&*own.group, &*own.version, &*own.plural) == (wanted.group, wanted.version, wanted.plural)
        {
            return Ok(None);
        }
        let found = self.registry.table().by_resource(wanted.group, wanted.version, wanted.plural).cloned();
        found.map(Some).ok_or_else(|| Status::internal(format!("{} is not served", wanted.plural)))
    }

    /// Applies a patch to what was shown and brings it back into the request's form; None when nothing changed.
    async fn patched(&self, object: &Value, shown: &Value, patch: &[u8]) -> Result<Option<Value>, Status> {
        let name = &self.hook.name;
        let patched = keelson_schema::patch::json(shown, patch).map_err(|why| {
            Status::internal(format!("admission webhook {name:?} sent a patch that does not apply: {why}"))
        })?;
        for key in ["apiVersion", "kind"] {
            if patched.get(key) != shown.get(key) {
                return Err(Status::internal(format!(
                    "admission webhook {name:?} attempted to change the {key} of the object"
                )));
            }
        }
        if patched == *shown {
            return Ok(None);
        }
        let own = self.attributes.kind;
        let back = match self.kind()? {
            Some(kind) => self.converted(&kind, own, patched).await?,
            None => patched,
        };
        let back = admitted(own, self.attributes.subresource, back)?;
        Ok((back != *object).then_some(back))
    }

    /// Ok where the webhook's policy lets a request go on without it.
    fn fail(&self, refusal: Refusal, place: Place) -> Result<(), Status> {
        let name = &self.hook.name;
        if let Refusal::Unanswered(why) = &refusal
            && self.hook.failure == FailurePolicy::Ignore
        {
            tracing::warn!(webhook = name, %why, "a webhook could not be asked; its policy is to go on without it");
            note::failed_open(self.attributes, self.hook, place);
            return Ok(());
        }
        let status = refusal.into_status(name);
        tracing::debug!(webhook = name, %status, "a webhook kept a request from being done");
        Err(status)
    }
}

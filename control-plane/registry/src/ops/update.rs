//! PUT and PATCH: from the present state to the next, again if another writer came between.

use super::{
    Registry, Stored, Target,
    carry::{carry_all_but_status, carry_system_fields, check_versions, differs_in_spec},
    commit::{ATTEMPTS_MAX, Outcome, encode},
    create::Proposed,
    match_namespace, scale,
};
use crate::{
    admit::Operation,
    context::Context,
    entry::Entry,
    kind::{Kind, Storage},
    meta,
    options::PatchType,
    shape,
    status::Status,
    validate,
};
use keelson_store::{Compare, Write};
use serde_json::{Value, json};
use std::{borrow::Cow, sync::Arc};

/// What the client wants of the present state.
pub(crate) enum Intent<'a> {
    Replace(Value),
    Patch(PatchType, &'a [u8]),
}

/// The next state, checked and admitted.
struct Proposal {
    object: Value,
    old: Value,
}

impl Registry {
    /// Replaces an object, or the part of it that the subresource is.
    pub async fn update(
        &self,
        context: &Context,
        kind: &Arc<Kind>,
        namespace: Option<&str>,
        name: &str,
        sub: Option<&str>,
        body: Value,
    ) -> Result<Stored, Status> {
        let target = Target::new(kind, namespace, name, sub);
        self.modify(context, target, &Intent::Replace(body)).await
    }

    pub(crate) async fn modify(
        &self,
        context: &Context,
        target: Target<'_>,
        intent: &Intent<'_>,
    ) -> Result<Stored, Status> {
        let cache = self.cache(target.kind)?;
        served(&target)?;
        let key: Arc<str> = target.key().into();
        // What the cache shows may be old: whatever would be refused is judged again on the newest state.
        let (mut current, mut newest) = (cache.get(&key), false);
        for _ in 0..ATTEMPTS_MAX {
            let outcome = match &current {
                Some(entry) => self.attempt(context, &target, intent, entry).await,
                None if newest => return self.modify_absent(context, target, intent).await,
                None => Err(target.not_found()),
            };
            match outcome {
                Ok(Some(proposed)) => return answer(&target, proposed),
                Err(status) if newest => return Err(status),
                Ok(None) | Err(_) => {}
            }
            let unsure = outcome.err();
            self.fresh().await?;
            let seen = current.as_ref().map(|entry| entry.mod_revision());
            current = cache.get(&key);
            newest = true;
            if let (Some(status), Some(entry)) = (unsure, &current)
                && seen == Some(entry.mod_revision())
            {
                return Err(status);
            }
        }
        Err(Status::modified(&target.kind.group_resource(), target.name))
    }

    async fn modify_absent(
        &self,
        context: &Context,
        target: Target<'_>,
        intent: &Intent<'_>,
    ) -> Result<Stored, Status> {
        match intent {
            Intent::Replace(body) if target.kind.strategy.create_on_update() && target.sub.is_empty() => {
                if !meta::field(body, "resourceVersion").is_empty() || !meta::field(body, "uid").is_empty() {
                    return Err(Status::modified(&target.kind.group_resource(), target.name));
                }
                let mut body = body.clone();
                match_name(&target, &body)?;
                meta::set(&mut body, "name", Some(json!(target.name)));
                self.create_object(context, target, body).await
            }
            _ => Err(target.not_found()),
        }
    }

    /// One try on one state. None: another writer came between.
    async fn attempt(
        &self,
        context: &Context,
        target: &Target<'_>,
        intent: &Intent<'_>,
        entry: &Arc<Entry>,
    ) -> Result<Option<Proposed>, Status> {
        let Proposal { mut object, old } = self.propose(context, target, intent, entry).await?;
        let strategy = self.stored_kind(target.kind)?.strategy;
        let last_hold_gone = meta::deleting(&object)
            && meta::finalizers(&object).is_empty()
            && meta::number(&object, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0) == 0
            && !strategy.held(&object);
        let allocation = self.allocation(target, context.now);
        let next = if last_hold_gone { None } else { Some(&mut object) };
        let sides = strategy.allocate(&allocation, next, Some(&old))?;
        if context.dry_run {
            return Ok(Some(Proposed::DryRun(object)));
        }
        let key = entry.head.key();
        let own = Compare::ModRevision(key.clone(), entry.mod_revision());
        if last_hold_gone {
            return match self.run(own, Write::Delete { key: key.clone() }, sides).await? {
                Outcome::Committed(revision) => {
                    self.progress.wait(revision).await?;
                    Ok(Some(Proposed::DryRun(object)))
                }
                Outcome::KeyChanged | Outcome::SideChanged => Ok(None),
            };
        }
        let body = encode(object)?;
        if body == *entry.body() {
            return Ok(Some(Proposed::Written(entry.clone())));
        }
        let write = Write::Put { key: key.clone(), value: body.clone(), ttl: strategy.ttl() };
        match self.run(own, write, sides).await? {
            Outcome::Committed(revision) => {
                self.written(target, key, body, revision).await.map(|entry| Some(Proposed::Written(entry)))
            }
            Outcome::KeyChanged | Outcome::SideChanged => Ok(None),
        }
    }

    async fn propose(
        &self,
        context: &Context,
        target: &Target<'_>,
        intent: &Intent<'_>,
        entry: &Arc<Entry>,
    ) -> Result<Proposal, Status> {
        let old = entry.to_value();
        let shown = shown(target, &old)?;
        let mut new = match intent {
            Intent::Replace(body) => body.clone(),
            Intent::Patch(form, patch) => {
                shape::patch(context, target.kind, target.sub, *form, &shown, patch)?
            }
        };
        match_namespace(target, &mut new)?;
        match_name(target, &new)?;
        if target.sub != "scale" {
            shape::default(target.kind, &mut new);
        }
        let admission = self.admission();
        admission
            .mutate(&target.attributes(context, Operation::Update, Some(&shown)), Some(&mut new))
            .await?;
        check_versions(target, intent, &new, &old)?;
        let admitted = (target.sub == "scale").then(|| new.clone());
        let object = self.prepare(context, target, new, &old)?;
        let seen = admitted.as_ref().unwrap_or(&object);
        admission.validate(&target.attributes(context, Operation::Update, Some(&shown)), Some(seen)).await?;
        drop(shown);
        Ok(Proposal { object, old })
    }

    /// Puts together the next stored object from what the client may change and what it may not, and validates it.
    fn prepare(
        &self,
        context: &Context,
        target: &Target<'_>,
        new: Value,
        old: &Value,
    ) -> Result<Value, Status> {
        let stored = self.stored_kind(target.kind)?;
        let (strategy, call) = (stored.strategy, target.call(context));
        let mut object = match (target.sub, target.kind.storage) {
            ("scale", _) => scale::into_object(target.kind, old, &new)?,
            (_, Storage::View(conversion)) => conversion.to_stored(new),
            _ => new,
        };
        carry_system_fields(&mut object, old);
        match target.sub {
            "status" => {
                carry_all_but_status(&mut object, old);
                strategy.prepare_status(&call, &mut object, old);
            }
            _ => {
                if target.kind.has_status() {
                    meta::carry(meta::map_of(&mut object), "status", old.get("status"));
                }
                strategy.prepare_update(&call, &mut object, old);
                if strategy.has_generation() && differs_in_spec(&object, old) {
                    meta::set(&mut object, "generation", Some(json!(meta::generation(old) + 1)));
                }
            }
        }
        let mut errors = validate::meta::object_meta_update(&stored, &object, old);
        errors.extend(match target.sub {
            "status" => strategy.validate_status(&call, &object, old),
            _ => strategy.validate_update(&call, &object, old),
        });
        if !errors.is_empty() {
            return Err(Status::invalid(&target.kind.group_kind(), target.name, errors));
        }
        if target.sub.is_empty() {
            for warning in strategy.warnings(&call, &object, Some(old)) {
                context.warnings.add(warning);
            }
        }
        Ok(object)
    }
}

/// The present state in the form that the request is about.
fn shown<'a>(target: &Target<'_>, old: &'a Value) -> Result<Cow<'a, Value>, Status> {
    match (target.sub, target.kind.storage) {
        ("scale", _) => scale::of(target.kind, old).map(Cow::Owned),
        (_, Storage::View(conversion)) => Ok(Cow::Owned(conversion.to_view(old.clone()))),
        _ => Ok(Cow::Borrowed(old)),
    }
}

fn served(target: &Target<'_>) -> Result<(), Status> {
    let known = match target.sub {
        "" => true,
        "status" | "scale" | "finalize" => target.kind.subresource(target.sub).is_some(),
        _ => false,
    };
    if known { Ok(()) } else { Err(Status::method_not_allowed(&target.kind.group_resource(), "update")) }
}

fn answer(target: &Target<'_>, proposed: Proposed) -> Result<Stored, Status> {
    let body = proposed.shown_as(target.kind)?;
    if target.sub != "scale" {
        return Ok(Stored { body, code: 200 });
    }
    let scale = scale::of(target.kind, &body.to_value())?;
    Ok(Stored { body: super::StoredBody::Value(scale), code: 200 })
}

fn match_name(target: &Target<'_>, body: &Value) -> Result<(), Status> {
    match meta::field(body, "name") {
        name if name == target.name => Ok(()),
        "" => Err(Status::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            target.name
        ))),
        name => Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        ))),
    }
}

//! PUT and PATCH: from the present state to the next, again if another writer came between.

use super::{
    Registry, Stored, Target,
    carry::{carry_all_but_status, carry_system_fields, check_versions, differs_in_spec, match_name},
    commit::{ATTEMPTS_MAX, Encoded, Outcome, encode_in},
    create::{Proposed, Wish},
    match_namespace, scale,
    wanted::Wanted,
};
use crate::{
    admit::Operation,
    context::Context,
    entry::Entry,
    kind::{Kind, Storage},
    managed::{self, Config, Given, Ledger, Memo, Unseen},
    meta,
    options::PatchType,
    status::{Reason, Status},
    validate,
};
use keelson_store::{Compare, Write};
use serde_json::{Value, json};
use std::{borrow::Cow, sync::Arc};

/// What the client wants of the present state.
pub(crate) enum Intent<'a> {
    Replace(Value, Given),
    Patch(PatchType, &'a [u8]),
    Apply(Config),
}

/// The next state, checked and admitted.
struct Proposal {
    object: Value,
    old: Value,
    ledger: Ledger,
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
        mut body: Value,
    ) -> Result<Stored, Status> {
        let target = Target::new(kind, namespace, name, sub);
        let given = Given::take(&mut body);
        self.modify(context, target, &Intent::Replace(body, given)).await
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
                None if newest => match self.modify_absent(context, target, intent).await {
                    // Another one has made it meanwhile: the configuration is applied to that.
                    Err(status) if status.reason == Reason::AlreadyExists && intent.is_apply() => Ok(None),
                    outcome => return outcome,
                },
                None => Err(target.not_found()),
            };
            match outcome {
                Ok(Some(proposed)) => return self.answer(&target, proposed).await,
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
        if !target.sub.is_empty() {
            return Err(target.not_found());
        }
        let (mut body, managed) = match intent {
            Intent::Replace(body, given) if target.kind.strategy.create_on_update() => {
                if !meta::field(body, "resourceVersion").is_empty() || !meta::field(body, "uid").is_empty() {
                    return Err(Status::modified(&target.kind.group_resource(), target.name));
                }
                (body.clone(), Wish::Tracked(given.clone()))
            }
            Intent::Apply(config) => {
                let (uid, version) = config.preconditions();
                if !uid.is_empty() {
                    let why = format!(
                        "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                    );
                    return Err(Status::conflict(&target.kind.group_resource(), target.name, why));
                }
                if !version.is_empty() {
                    return Err(Status::modified(&target.kind.group_resource(), target.name));
                }
                let made =
                    |memo: &Memo| managed::new_object(context, &self.track(context, &target, memo), config);
                let (object, managed) = self.in_versions(target.kind, Unseen::Fails, made).await??;
                (object, Wish::Applied(managed))
            }
            _ => return Err(target.not_found()),
        };
        if let Some(creation) = &context.creation {
            creation.may_create().await?;
        }
        match_name(&target, &body)?;
        meta::set(&mut body, "name", Some(json!(target.name)));
        self.create_object(context, target, body, managed).await
    }

    /// One try on one state. None: another writer came between.
    async fn attempt(
        &self,
        context: &Context,
        target: &Target<'_>,
        intent: &Intent<'_>,
        entry: &Arc<Entry>,
    ) -> Result<Option<Proposed>, Status> {
        let Proposal { mut object, old, ledger } = self.propose(context, target, intent, entry).await?;
        let before = entry.managed();
        let managed = ledger.text(&before);
        let strategy = self.stored_kind(target.kind)?.strategy;
        let last_hold_gone = meta::deleting(&object)
            && meta::finalizers(&object).is_empty()
            && meta::number(&object, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0) == 0
            && !strategy.held(&object);
        let allocation = self.allocation(target, context.now);
        let next = if last_hold_gone { None } else { Some(&mut object) };
        let sides = strategy.allocate(&allocation, next, Some(&old))?;
        if context.dry_run {
            let object = self.as_written(target.kind, object, managed).await?;
            return Ok(Some(Proposed::dry_run(object, managed)));
        }
        let key = entry.head.key();
        let own = Compare::ModRevision(key.clone(), entry.mod_revision());
        if last_hold_gone {
            return match self.run(own, Write::Delete { key: key.clone() }, sides).await? {
                Outcome::Committed(revision) => {
                    self.progress.wait(revision).await?;
                    Ok(Some(Proposed::dry_run(object, managed)))
                }
                Outcome::KeyChanged | Outcome::SideChanged => Ok(None),
            };
        }
        let object = self.as_written(target.kind, object, managed).await?;
        let encoded = encoded(intent, target.kind, &object, managed)?;
        if entry.is_body(&encoded.bytes) || ledger.is_idle() && encoded.is_but_for_managed(entry) {
            return Ok(Some(Proposed::Written(entry.clone())));
        }
        let body = encoded.bytes;
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
        let old = self.present(target, entry).await?.to_unmanaged_value();
        let shown = shown(target, &old)?;
        let wanted = |memo: &Memo| self.wanted(context, target, intent, entry, (&old, &shown), memo);
        let unseen = if intent.is_apply() { Unseen::Fails } else { Unseen::IsLeft };
        let Wanted { mut new, ledger } = self.in_versions(target.kind, unseen, wanted).await??;
        let admission = self.admission();
        admission
            .mutate(&target.attributes(context, Operation::Update, Some(&shown)), Some(&mut new))
            .await?;
        match_namespace(target, &mut new)?;
        check_versions(target, intent, &new, &old)?;
        let admitted = (target.sub == "scale").then(|| new.clone());
        let object = self.prepare(context, target, new, &old)?;
        let seen = admitted.as_ref().unwrap_or(&object);
        admission.validate(&target.attributes(context, Operation::Update, Some(&shown)), Some(seen)).await?;
        drop(shown);
        Ok(Proposal { object, old, ledger })
    }

    /// The present state, a custom kind's in the version of the request: its rules are that version's.
    pub(super) async fn present(
        &self,
        target: &Target<'_>,
        entry: &Arc<Entry>,
    ) -> Result<Arc<Entry>, Status> {
        if target.kind.custom.is_none() {
            return Ok(entry.clone());
        }
        let shown = self.shown(target.kind, entry).await?;
        shown.ok_or_else(|| Status::internal("the stored object cannot be shown in this version"))
    }

    async fn answer(&self, target: &Target<'_>, proposed: Proposed) -> Result<Stored, Status> {
        let body = self.shown_as(target.kind, proposed).await?;
        if target.sub != "scale" {
            return Ok(Stored { body, code: 200 });
        }
        let scale = scale::of(target.kind, &body.to_value())?;
        Ok(Stored { body: super::StoredBody::Value(scale), code: 200 })
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
        if is_part(target.sub) {
            strategy.narrow(target.sub, &mut object, old);
        }
        carry_system_fields(&mut object, old);
        match target.sub {
            "status" | "approval" => {
                carry_all_but_status(&mut object, old);
                strategy.prepare_status(&call, &mut object, old);
            }
            _ => {
                if target.kind.has_status() {
                    meta::carry(meta::map_of(&mut object), "status", old.get("status"));
                }
                strategy.prepare_update(&call, &mut object, old);
                if strategy.has_generation() && differs_in_spec(target.kind, &object, old) {
                    meta::set(&mut object, "generation", Some(json!(meta::generation(old) + 1)));
                }
            }
        }
        let mut errors = validate::meta::object_meta_update(&stored, &object, old);
        errors.extend(match target.sub {
            "status" | "approval" => strategy.validate_status(&call, &object, old),
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

impl Intent<'_> {
    fn is_apply(&self) -> bool {
        matches!(self, Self::Apply(_))
    }
}

/// An object that is too large with managedFields goes without, unless they are what the request is about.
fn encoded(intent: &Intent<'_>, kind: &Kind, object: &Value, managed: &str) -> Result<Encoded, Status> {
    let version = kind.stored_version();
    encode_in(object, managed, version).or_else(|status| {
        if intent.is_apply() || managed.is_empty() { Err(status) } else { encode_in(object, "", version) }
    })
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
        "status" | "scale" | "finalize" | "approval" => target.kind.subresource(target.sub).is_some(),
        sub => is_part(sub) && target.kind.subresource(sub).is_some(),
    };
    if known { Ok(()) } else { Err(Status::method_not_allowed(&target.kind.group_resource(), "update")) }
}

/// Whether the subresource is a part of the object's spec, written in the object's own form.
pub(super) fn is_part(sub: &str) -> bool {
    matches!(sub, "ephemeralcontainers" | "resize")
}

//! DELETE: at once, after a grace, or when the last finalizer is gone.
//!
//! Rules: upstream's `BeforeDelete` and `updateForGracefulDeletionAndFinalizers`. One deviation: a graceful kind deleted
//! with grace 0 goes in one transaction; upstream writes the deletion time first and deletes then.

use super::{
    Registry, StoredBody, Target,
    commit::{ATTEMPTS_MAX, Outcome, encode},
    create::Proposed,
};
use crate::{
    admit::Operation,
    context::Context,
    entry::Entry,
    kind::{Kind, Storage},
    meta,
    options::{DeleteOptions, Propagation},
    status::{Details, Status, success},
    strategy::{Deletion, Strategy},
};
use keelson_semantics::timestamp;
use keelson_store::{Compare, Write};
use serde_json::{Value, json};
use std::{borrow::Cow, sync::Arc};
use time::Duration;

/// The finalizer by which dependents are orphaned first.
pub const ORPHAN_FINALIZER: &str = "orphan";
/// The finalizer by which dependents are deleted first.
pub const FOREGROUND_FINALIZER: &str = "foregroundDeletion";

/// What a deletion came to.
#[derive(Debug)]
pub struct Deleted {
    /// The object as it is or was last, or a Status; which of them follows upstream, by kind.
    pub body: StoredBody,
    /// Whether the object is gone; else its deletion has begun.
    pub gone: bool,
}

/// What to do with the present state.
enum Step {
    /// Nothing: deletion is under way already.
    Pending,
    /// Write this state.
    Mark(Value),
    Remove,
}

impl Registry {
    /// Deletes one object, or begins to.
    pub async fn delete(
        &self,
        context: &Context,
        kind: &Arc<Kind>,
        namespace: Option<&str>,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, Status> {
        options.check()?;
        if let (None, Some(warning)) = (options.propagation(), kind.strategy.unsaid_propagation()) {
            context.warnings.add(warning.to_owned());
        }
        let target = Target::new(kind, namespace, name, None);
        let cache = self.cache(kind)?;
        let key = target.key();
        let (mut current, mut newest) = (cache.get(&key), false);
        for _ in 0..ATTEMPTS_MAX {
            let outcome = match &current {
                Some(entry) => self.attempt_delete(context, &target, options, entry).await,
                None => Err(target.not_found()),
            };
            let unsure = match outcome {
                Ok(Some(deleted)) => return Ok(deleted),
                Err(status) if newest => return Err(status),
                // Another writer came between, or what the cache showed was perhaps old.
                Ok(None) => None,
                Err(status) => Some(status),
            };
            let seen = current.as_ref().map(|entry| entry.mod_revision());
            self.fresh().await?;
            current = cache.get(&key);
            newest = true;
            if let (Some(status), Some(entry)) = (unsure, &current)
                && seen == Some(entry.mod_revision())
            {
                return Err(status);
            }
        }
        Err(Status::modified(&kind.group_resource(), name))
    }

    async fn attempt_delete(
        &self,
        context: &Context,
        target: &Target<'_>,
        options: &DeleteOptions,
        entry: &Arc<Entry>,
    ) -> Result<Option<Deleted>, Status> {
        let old = entry.to_unmanaged_value();
        check_preconditions(target, options, &old)?;
        let stored = self.stored_kind(target.kind)?;
        let shown = match (target.kind.storage, &target.kind.custom) {
            (Storage::View(conversion), _) => Cow::Owned(conversion.to_view(old.clone())),
            (_, Some(_)) => Cow::Owned(self.present(target, entry).await?.to_unmanaged_value()),
            _ => Cow::Borrowed(&old),
        };
        let mut attributes = target.attributes(context, Operation::Delete, Some(&shown));
        attributes.options.deletion = Some(options);
        let admission = self.admission();
        admission.mutate(&attributes, None).await?;
        admission.validate(&attributes, None).await?;
        let key = entry.head.key();
        let own = Compare::ModRevision(key.clone(), entry.mod_revision());
        match step(stored.strategy, options, &old, context) {
            Step::Pending => {
                let body = self.shown_as(target.kind, Proposed::Written(entry.clone())).await?;
                Ok(Some(Deleted { body, gone: false }))
            }
            Step::Mark(object) if context.dry_run => {
                let proposed = Proposed::dry_run(object, &entry.managed());
                let body = self.shown_as(target.kind, proposed).await?;
                Ok(Some(Deleted { body, gone: false }))
            }
            Step::Mark(object) => {
                let body = encode(&object, &entry.managed())?.bytes;
                let write = Write::Put { key: key.clone(), value: body.clone(), ttl: stored.strategy.ttl() };
                let Outcome::Committed(revision) = self.run(own, write, Vec::new()).await? else {
                    return Ok(None);
                };
                let entry = self.written(target, key, body, revision).await?;
                let body = self.shown_as(target.kind, Proposed::Written(entry)).await?;
                Ok(Some(Deleted { body, gone: false }))
            }
            Step::Remove => {
                let sides =
                    stored.strategy.allocate(&self.allocation(target, context.now), None, Some(&old))?;
                if !context.dry_run {
                    let write = Write::Delete { key: key.clone() };
                    let Outcome::Committed(revision) = self.run(own, write, sides).await? else {
                        return Ok(None);
                    };
                    self.progress.wait(revision).await?;
                }
                Ok(Some(Deleted { body: self.removed(target, entry).await?, gone: true }))
            }
        }
    }

    /// Upstream returns the object for kinds whose storage says ReturnDeletedObject, for others a Status.
    async fn removed(&self, target: &Target<'_>, entry: &Arc<Entry>) -> Result<StoredBody, Status> {
        const RETURNED: &[&str] = &[
            "pods",
            "services",
            "serviceaccounts",
            "persistentvolumes",
            "persistentvolumeclaims",
            "podtemplates",
            "resourcequotas",
        ];
        if target.kind.group.is_empty() && RETURNED.contains(&&*target.kind.plural) {
            return self.shown_as(target.kind, Proposed::Written(entry.clone())).await;
        }
        Ok(StoredBody::Value(success(
            200,
            Some(Details {
                name: target.name.to_owned(),
                group: target.kind.group.to_string(),
                kind: target.kind.plural.to_string(),
                uid: entry.head.uid.to_string(),
                ..Details::default()
            }),
        )))
    }
}

pub(super) fn check_preconditions(
    target: &Target<'_>,
    options: &DeleteOptions,
    old: &Value,
) -> Result<(), Status> {
    let wanted = &options.preconditions;
    let checks =
        [("UID", &wanted.uid, "uid"), ("ResourceVersion", &wanted.resource_version, "resourceVersion")];
    for (what, wanted, key) in checks {
        let found = meta::field(old, key);
        if let Some(wanted) = wanted
            && wanted != found
        {
            let why = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
            );
            return Err(Status::conflict(&target.kind.group_resource(), target.name, why));
        }
    }
    Ok(())
}

/// Upstream's decision, without effects.
fn step(strategy: &dyn Strategy, options: &DeleteOptions, old: &Value, context: &Context) -> Step {
    let mut object = old.clone();
    let set = meta::number(old, &["metadata", "deletionGracePeriodSeconds"]);
    match (strategy.deletion(old, options), meta::deleting(old), set) {
        (Deletion::Graceful { .. }, true, Some(set)) => {
            // Once begun, the grace can only be shortened.
            let wanted = options.grace_period_s.map_or(set, |wanted| if wanted < 0 { 1 } else { wanted });
            if wanted < set {
                set_finalizers(strategy, options, &mut object);
                shorten(&mut object, set, wanted);
            }
            if wanted == 0 && meta::finalizers(&object).is_empty() {
                Step::Remove
            } else if wanted < set {
                Step::Mark(object)
            } else {
                Step::Pending
            }
        }
        (Deletion::Graceful { seconds }, false, _) => {
            set_finalizers(strategy, options, &mut object);
            if seconds == 0 && meta::finalizers(&object).is_empty() {
                return Step::Remove;
            }
            mark(strategy, context, &mut object, seconds);
            Step::Mark(object)
        }
        _ => {
            set_finalizers(strategy, options, &mut object);
            if meta::finalizers(&object).is_empty() && !strategy.held(&object) {
                return Step::Remove;
            }
            if meta::deleting(old) && meta::finalizers(&object) == meta::finalizers(old) {
                return Step::Pending;
            }
            mark(strategy, context, &mut object, 0);
            Step::Mark(object)
        }
    }
}

fn mark(strategy: &dyn Strategy, context: &Context, object: &mut Value, seconds: i64) {
    if !meta::deleting(object) {
        let generation = meta::generation(object);
        if generation > 0 {
            meta::set(object, "generation", Some(json!(generation + 1)));
        }
        let at = context.now + Duration::seconds(seconds);
        meta::set(object, "deletionTimestamp", Some(meta::time_text(at)));
    }
    meta::set(object, "deletionGracePeriodSeconds", Some(json!(seconds)));
    strategy.on_deleting(object);
}

fn shorten(object: &mut Value, set: i64, wanted: i64) {
    let at = timestamp::parse(meta::field(object, "deletionTimestamp"));
    if let Ok(at) = at {
        let at = at - Duration::seconds(set) + Duration::seconds(wanted);
        meta::set(object, "deletionTimestamp", Some(meta::time_text(at)));
    }
    meta::set(object, "deletionGracePeriodSeconds", Some(json!(wanted)));
}

/// The garbage collector's finalizers follow the policy asked for, else what the object has, else the kind's default.
fn set_finalizers(strategy: &dyn Strategy, options: &DeleteOptions, object: &mut Value) {
    let mut finalizers: Vec<String> = meta::finalizers(object).into_iter().map(str::to_owned).collect();
    let has = |name: &str| finalizers.iter().any(|own| own == name);
    let policy = options.propagation().unwrap_or_else(|| {
        if has(ORPHAN_FINALIZER) {
            Propagation::Orphan
        } else if has(FOREGROUND_FINALIZER) {
            Propagation::Foreground
        } else {
            strategy.default_propagation()
        }
    });
    finalizers.retain(|name| name != ORPHAN_FINALIZER && name != FOREGROUND_FINALIZER);
    match policy {
        Propagation::Orphan => finalizers.push(ORPHAN_FINALIZER.to_owned()),
        Propagation::Foreground => finalizers.push(FOREGROUND_FINALIZER.to_owned()),
        Propagation::Background => {}
    }
    meta::set(object, "finalizers", (!finalizers.is_empty()).then(|| json!(finalizers)));
}

//! From the present state and what a client wants of it to the state that this would be, and whose its fields are then.
//!
//! What comes after (admission, what strategies and the server set) is nobody's. One exception is looked at here: what a
//! write of the status says of metadata and the strategy does not let through is not the writer's.

use super::{
    Target,
    carry::match_name,
    match_namespace, scale,
    update::{Intent, is_part},
};
use crate::{
    Registry,
    context::Context,
    entry::{Entry, MANAGED_KEY},
    managed::{self, Given, Ledger, Memo, Track},
    meta,
    options::PatchType,
    shape,
    status::Status,
};
use serde_json::{Value, json};
use std::borrow::Cow;

/// The state that a client wants, in the form that the request is about, with its defaults.
pub(super) struct Wanted {
    pub(super) new: Value,
    pub(super) ledger: Ledger,
}

impl Registry {
    /// `old` is the present state as stored (a custom kind's in the version of the request), `shown` the same in the request's form; neither has managedFields.
    pub(super) fn wanted(
        &self,
        context: &Context,
        target: &Target<'_>,
        intent: &Intent<'_>,
        entry: &Entry,
        (old, shown): (&Value, &Value),
        memo: &Memo,
    ) -> Result<Wanted, Status> {
        let (track, before) = (self.track(context, target, memo), entry.managed());
        let (mut new, given) = match intent {
            Intent::Replace(body, given) => (body.clone(), Cow::Borrowed(given)),
            Intent::Patch(form, patch) => {
                let (new, given) = patched(context, target, *form, patch, shown, entry)?;
                (new, Cow::Owned(given))
            }
            Intent::Apply(config) => {
                let live = if target.sub == "scale" { old } else { shown };
                let (mut new, ledger) = managed::apply(context, &track, config, &before, live)?;
                fit(target, &mut new)?;
                if target.sub == "scale" {
                    new = scale::of(target.kind, &new)?;
                }
                return Ok(Wanted { new, ledger });
            }
        };
        if target.sub == "scale" {
            match_namespace(target, &mut new)?;
            match_name(target, &new)?;
            let scaled = scale::into_object(target.kind, old, &new)?;
            let ledger = track.updated(&before, &given, old, &scaled);
            return Ok(Wanted { new, ledger });
        }
        fit(target, &mut new)?;
        if is_part(target.sub) {
            target.kind.strategy.narrow(target.sub, &mut new, old);
        }
        let kept = self.let_through(context, target, &new, old);
        let ledger = track.updated(&before, &given, shown, &kept);
        drop(kept);
        Ok(Wanted { new, ledger })
    }

    pub(super) fn track<'a>(
        &'a self,
        context: &'a Context,
        target: &Target<'a>,
        memo: &'a Memo,
    ) -> Track<'a> {
        Track {
            memo: Some(memo),
            table: self.table(),
            kind: target.kind,
            sub: target.sub,
            manager: &context.field_manager,
            now: context.now,
        }
    }

    /// A wanted state as far as a write of the status changes metadata. Hardly one does, so that making it is no matter.
    fn let_through<'v>(
        &self,
        context: &Context,
        target: &Target<'_>,
        new: &'v Value,
        old: &Value,
    ) -> Cow<'v, Value> {
        const OPEN: [&str; 4] = ["annotations", "finalizers", "labels", "ownerReferences"];
        let changes = |key: &&str| meta::at(new, &["metadata", key]) != meta::at(old, &["metadata", key]);
        if !matches!(target.sub, "status" | "approval") || !OPEN.iter().any(changes) {
            return Cow::Borrowed(new);
        }
        let mut probe = json!({"metadata": new["metadata"], "status": {}});
        target.kind.strategy.prepare_status(&target.call(context), &mut probe, old);
        let mut kept = new.clone();
        kept["metadata"] = probe["metadata"].take();
        Cow::Owned(kept)
    }
}

/// Checks the names and fills in the defaults.
fn fit(target: &Target<'_>, new: &mut Value) -> Result<(), Status> {
    match_namespace(target, new)?;
    match_name(target, new)?;
    shape::default(target.kind, new);
    Ok(())
}

/// The patched state. managedFields are put before the patch only where it speaks of them.
fn patched(
    context: &Context,
    target: &Target<'_>,
    form: PatchType,
    patch: &[u8],
    shown: &Value,
    entry: &Entry,
) -> Result<(Value, Given), Status> {
    let name = &MANAGED_KEY[1..MANAGED_KEY.len() - 2];
    let speaks = patch.windows(name.len()).any(|window| window == name);
    let mut before = Cow::Borrowed(shown);
    if speaks && target.sub != "scale" {
        put_managed(before.to_mut(), &entry.managed());
    }
    let mut new = shape::patch(context, target.kind, target.sub, form, &before, patch)?;
    let given = Given::take(&mut new);
    Ok((new, given))
}

/// Puts the entries into an object that is shown.
pub(super) fn put_managed(object: &mut Value, managed: &str) {
    if let Ok(entries @ Value::Array(_)) = serde_json::from_str(managed) {
        meta::set(object, "managedFields", Some(entries));
    }
}

//! POST: a new object.

use super::{
    Registry, Stored, StoredBody, Target,
    commit::{ATTEMPTS_MAX, Outcome, encode_in},
    match_namespace,
    wanted::put_managed,
};
use crate::{
    admit::Operation,
    context::Context,
    entry::Entry,
    kind::{Kind, Storage},
    managed::{Given, Memo, Unseen},
    meta, shape,
    status::Status,
    validate,
};
use bytes::Bytes;
use keelson_store::{Compare, Revision, Write};
use rand::Rng;
use serde_json::{Value, json};
use std::sync::Arc;

/// Letters of generated names: no vowels, so that no words arise.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of the random part of a generated name.
const GENERATED_LEN: usize = 5;
/// The prefix is cut so that a generated name is a label.
const GENERATED_PREFIX_MAX: usize = 63 - GENERATED_LEN;
/// How many generated names are tried.
const GENERATED_ATTEMPTS_MAX: usize = 8;

impl Registry {
    /// Creates an object, or acts on an existing one through a subresource that is only created (`pods/binding`).
    /// `name_hint` is the name in the request's path, where it has one.
    pub async fn create(
        &self,
        context: &Context,
        kind: &Arc<Kind>,
        namespace: Option<&str>,
        sub: Option<&str>,
        name_hint: Option<&str>,
        mut body: Value,
    ) -> Result<Stored, Status> {
        self.cache(kind)?;
        let target = Target::new(kind, namespace, name_hint.unwrap_or_default(), sub);
        match (&*kind.group, &*kind.plural, target.sub) {
            (_, _, "") => {
                let wish = Wish::Tracked(Given::take(&mut body));
                self.create_object(context, target, body, wish).await
            }
            ("", "pods", "binding") => self.bind(context, target, body).await,
            _ => Err(Status::method_not_allowed(&kind.group_resource(), "create")),
        }
    }

    pub(crate) async fn create_object(
        &self,
        context: &Context,
        target: Target<'_>,
        mut body: Value,
        wish: Wish,
    ) -> Result<Stored, Status> {
        if target.kind.custom.as_ref().is_some_and(|custom| custom.is_terminating()) {
            let mut status = Status::method_not_allowed(&target.kind.group_resource(), "create");
            status.message = "create not allowed while custom resource definition is terminating".to_owned();
            return Err(status);
        }
        match_namespace(&target, &mut body)?;
        if target.kind.namespaced && target.namespace.is_empty() {
            return Err(Status::bad_request("an empty namespace may not be set during creation"));
        }
        shape::default(target.kind, &mut body);
        let entries = match wish {
            Wish::Applied(entries) => NewEntries { text: entries, kept: true },
            Wish::Tracked(given) => {
                let created = |memo: &Memo| self.track(context, &target, memo).created(&given, &body);
                NewEntries {
                    text: self.in_versions(target.kind, Unseen::IsLeft, created).await?,
                    kept: false,
                }
            }
        };
        let (stored_kind, body) = self.as_stored(context, target.kind, body)?;
        let given_name = meta::field(&body, "name").to_owned();
        let stored_target = Target { kind: &stored_kind, name: &given_name, ..target };
        let entry = self.create_stored(context, stored_target, body, &entries).await?;
        Ok(Stored { body: self.shown_as(target.kind, entry).await?, code: 201 })
    }

    /// A view's body becomes the stored kind's, with the defaults of that; its own rules are checked on the way.
    fn as_stored(
        &self,
        context: &Context,
        kind: &Arc<Kind>,
        body: Value,
    ) -> Result<(Arc<Kind>, Value), Status> {
        let Storage::View(conversion) = kind.storage else { return Ok((kind.clone(), body)) };
        let call = Target::new(kind, None, "", None).call(context);
        let errors = kind.strategy.validate(&call, &body);
        if !errors.is_empty() {
            return Err(Status::invalid(&kind.group_kind(), meta::field(&body, "name"), errors));
        }
        let (stored, mut body) = (self.stored_kind(kind)?, conversion.to_stored(body));
        shape::default(&stored, &mut body);
        Ok((stored, body))
    }

    /// The kind whose objects are in the store.
    pub(crate) fn stored_kind(&self, kind: &Arc<Kind>) -> Result<Arc<Kind>, Status> {
        self.cache(kind).map(|cache| cache.kind.clone())
    }

    async fn create_stored(
        &self,
        context: &Context,
        target: Target<'_>,
        mut object: Value,
        entries: &NewEntries,
    ) -> Result<Proposed, Status> {
        let admission = self.admission();
        admission.mutate(&target.attributes(context, Operation::Create, None), Some(&mut object)).await?;
        match_namespace(&target, &mut object)?;
        let generate =
            meta::field(&object, "name").is_empty() && !meta::field(&object, "generateName").is_empty();
        fill_system_fields(context, &mut object);
        for attempt in 1.. {
            if generate {
                let name = generated(meta::field(&object, "generateName"));
                meta::set(&mut object, "name", Some(json!(name)));
            }
            let name = meta::field(&object, "name").to_owned();
            let target = Target { name: &name, ..target };
            let body = if generate { object.clone() } else { std::mem::take(&mut object) };
            let prepared = self.prepare_new(context, &target, body);
            let prepared = validated(context, &target, prepared)?;
            admission.validate(&target.attributes(context, Operation::Create, None), Some(&prepared)).await?;
            // Only now, as upstream: admission has its say about whatever is asked.
            if !meta::field(&prepared, "resourceVersion").is_empty() {
                return Err(Status::bad_request(
                    "resourceVersion should not be set on objects to be created",
                ));
            }
            match self.commit_new(context, &target, prepared, entries).await {
                Err(status) if generate && status.code == 409 && attempt < GENERATED_ATTEMPTS_MAX => {}
                outcome => return outcome,
            }
        }
        unreachable!("the loop above only ends by returning")
    }

    fn prepare_new(&self, context: &Context, target: &Target<'_>, mut object: Value) -> Value {
        let strategy = target.kind.strategy;
        if target.kind.has_status() && !strategy.keeps_status_on_create() {
            meta::map_of(&mut object).remove("status");
        }
        strategy.prepare_create(&target.call(context), &mut object);
        if strategy.has_generation() {
            meta::set(&mut object, "generation", Some(json!(1)));
        }
        object
    }

    async fn commit_new(
        &self,
        context: &Context,
        target: &Target<'_>,
        mut prepared: Value,
        entries: &NewEntries,
    ) -> Result<Proposed, Status> {
        let key: Arc<str> = target.key().into();
        let strategy = target.kind.strategy;
        let mut newest = false;
        for _ in 0..ATTEMPTS_MAX {
            let mut object =
                if strategy.allocates() { prepared.clone() } else { std::mem::take(&mut prepared) };
            let allocation = self.allocation(target, context.now);
            let sides = match strategy.allocate(&allocation, Some(&mut object), None) {
                // What the caches show may be old: what it takes may have been given back since.
                Err(_) if !newest => {
                    self.fresh().await?;
                    newest = true;
                    continue;
                }
                sides => sides?,
            };
            if context.dry_run {
                self.fresh().await?;
                if let Some(existing) = self.cache(target.kind)?.get(&key) {
                    return Err(exists(target, Some(&existing)));
                }
                let object = self.as_written(target.kind, object, &entries.text).await?;
                return Ok(Proposed::dry_run(object, &entries.text));
            }
            let object = self.as_written(target.kind, object, &entries.text).await?;
            let version = target.kind.stored_version();
            let body = match encode_in(&object, &entries.text, version) {
                Err(_) if !entries.kept => encode_in(&object, "", version)?.bytes,
                encoded => encoded?.bytes,
            };
            let write = Write::Put { key: key.clone(), value: body.clone(), ttl: strategy.ttl() };
            match self.run(Compare::Absent(key.clone()), write, sides).await? {
                Outcome::Committed(revision) => return self.made(target, &key, body, revision).await,
                Outcome::KeyChanged => {
                    self.fresh().await?;
                    return Err(exists(target, self.cache(target.kind)?.get(&key).as_ref()));
                }
                Outcome::SideChanged => {
                    self.fresh().await?;
                }
            }
        }
        Err(Status::conflict(
            &target.kind.group_resource(),
            target.name,
            format!("other writers took what it needs {ATTEMPTS_MAX} times; please try again"),
        ))
    }

    async fn made(
        &self,
        target: &Target<'_>,
        key: &Arc<str>,
        body: Bytes,
        revision: Revision,
    ) -> Result<Proposed, Status> {
        self.written(target, key, body, revision).await.map(Proposed::Written)
    }
}

/// The result of a write, before it is shown in the form that was asked for.
pub(crate) enum Proposed {
    Written(Arc<Entry>),
    DryRun(Value),
}

/// Where a new object's managedFields come from.
pub(crate) enum Wish {
    /// Its writer's fields are those it has.
    Tracked(Given),
    /// It was applied, with these.
    Applied(String),
}

/// managedFields of a new object, as JSON.
struct NewEntries {
    text: String,
    /// Whether the object may not do without; else it goes without them when it is too large with them.
    kept: bool,
}

impl Proposed {
    /// An object that was not stored, as it would be.
    pub(crate) fn dry_run(mut object: Value, managed: &str) -> Self {
        put_managed(&mut object, managed);
        Self::DryRun(object)
    }
}

impl Registry {
    /// The object in the version that the kind's objects are stored in, where that takes more than another name.
    pub(super) async fn as_written(
        &self,
        kind: &Kind,
        mut object: Value,
        managed: &str,
    ) -> Result<Value, Status> {
        let (Some(family), Some(version)) = (kind.family(), kind.stored_version()) else { return Ok(object) };
        put_managed(&mut object, managed);
        let written = self.converter.values(family, vec![object], version).await?;
        Ok(written.into_iter().next().unwrap_or_default())
    }

    /// The outcome of a write in the form of the request.
    pub(super) async fn shown_as(&self, kind: &Kind, proposed: Proposed) -> Result<StoredBody, Status> {
        let object = match proposed {
            Proposed::Written(entry) => {
                let shown = self.shown(kind, &entry).await?;
                let none = || Status::internal("the stored object cannot be shown in this version");
                return shown.map(StoredBody::Entry).ok_or_else(none);
            }
            Proposed::DryRun(object) => object,
        };
        Ok(StoredBody::Value(match (kind.storage, &kind.custom) {
            (Storage::View(conversion), _) => conversion.to_view(object),
            (_, Some(_)) if kind.family().is_some() => self.converted(kind, kind, object).await?,
            (_, Some(custom)) => custom.show(kind.api_version(), object),
            _ => object,
        }))
    }
}

fn validated(context: &Context, target: &Target<'_>, object: Value) -> Result<Value, Status> {
    let (kind, call) = (target.kind, target.call(context));
    let mut errors = validate::meta::object_meta(kind, &object);
    errors.extend(kind.strategy.validate(&call, &object));
    if !errors.is_empty() {
        return Err(Status::invalid(&kind.group_kind(), target.name, errors));
    }
    for warning in kind.strategy.warnings(&call, &object, None) {
        context.warnings.add(warning);
    }
    Ok(object)
}

/// What the server alone decides about a new object.
fn fill_system_fields(context: &Context, object: &mut Value) {
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
        meta::set(object, key, None);
    }
    meta::set(object, "uid", Some(json!(uuid::Uuid::new_v4().to_string())));
    meta::set(object, "creationTimestamp", Some(meta::time_text(context.now)));
}

fn generated(prefix: &str) -> String {
    let cut = prefix.char_indices().map(|(at, _)| at).take_while(|at| *at <= GENERATED_PREFIX_MAX).last();
    let mut name = match cut {
        Some(at) if prefix.len() > GENERATED_PREFIX_MAX => prefix[..at].to_owned(),
        _ => prefix.to_owned(),
    };
    let mut random = rand::rng();
    name.extend((0..GENERATED_LEN).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])));
    name
}

fn exists(target: &Target<'_>, existing: Option<&Arc<Entry>>) -> Status {
    let mut status = Status::already_exists(&target.kind.group_resource(), target.name);
    if existing.is_some_and(|entry| entry.head.deleting) {
        status.message = format!("object is being deleted: {}", status.message);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_fit_a_label() {
        for prefix in ["a-", &"x".repeat(63), &"x".repeat(80)] {
            let name = generated(prefix);
            assert!(name.len() <= 63 && name.len() > GENERATED_LEN, "{name}");
        }
        assert!(generated("web-").starts_with("web-"));
    }
}

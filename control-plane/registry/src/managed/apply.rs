//! Server-side apply on one state: the next state, its entries, or the conflicts as the API tells them.

use super::{
    Ledger,
    entry::{self, Entry, Manager, Operation},
    last_applied,
    track::{Given, STRIPPED, Track, stored},
    versions::{KindVersions, written_by},
};
use crate::{
    context::Context,
    kind::Kind,
    meta,
    ops::scale,
    shape,
    status::{Reason, Status, StatusCause},
};
use keelson_schema::{
    decode_config,
    structured::{Applied, Apply, Conflict, FieldSet, Owner, check},
};
use serde_json::{Map, Value, json};

/// Who owns what was there before anybody applied.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// What is applied, checked against the schema of the resource.
pub(crate) struct Config {
    /// As sent; of a Scale, the part of its object that it stands for.
    object: Value,
    force: bool,
}

impl Config {
    /// Reads the body of an apply, JSON or YAML.
    pub(crate) fn parse(
        context: &Context,
        kind: &Kind,
        sub: &str,
        body: &[u8],
        force: bool,
    ) -> Result<Self, Status> {
        let decoded = decode_config(body, context.field_validation).map_err(Status::bad_request)?;
        for warning in decoded.warnings {
            context.warnings.add(warning);
        }
        let mut object = decoded.value;
        let wanted = shape::body_of(kind, sub);
        let given = (meta::text(&object, &["apiVersion"]), meta::text(&object, &["kind"]));
        if given != (shape::group_version(wanted.0, wanted.1).as_str(), wanted.2) {
            let named = described(&object);
            return Err(Status::bad_request(format!("invalid object type: {named}")));
        }
        if meta::at(&object, &["metadata", "managedFields"]).is_some() {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        meta::set(&mut object, "managedFields", None);
        let ty = shape::type_of(kind, sub)
            .ok_or_else(|| Status::internal(format!("there is no schema for {}", kind.group_kind())))?;
        check(ty, &object).map_err(|errors| {
            let (namespace, name) = (meta::field(&object, "namespace"), meta::field(&object, "name"));
            // Upstream says 500 here, as it has found wrong itself (kubernetes#139253): the client's mistake is a 400.
            Status::bad_request(format!(
                "failed to create typed patch object ({namespace}/{name}; {}): {errors}",
                described(&object)
            ))
        })?;
        let mut object = if sub == "scale" { of_scale(kind, &object) } else { object };
        kind.strategy.narrow_config(sub, &mut object);
        Ok(Self { object, force })
    }

    /// uid and resourceVersion that the configuration names.
    pub(crate) fn preconditions(&self) -> (&str, &str) {
        (meta::field(&self.object, "uid"), meta::field(&self.object, "resourceVersion"))
    }
}

/// `apps/v1, Kind=Deployment`, `/v1, Kind=Pod`.
fn described(object: &Value) -> String {
    let version = meta::text(object, &["apiVersion"]);
    let slash = if version.contains('/') { "" } else { "/" };
    format!("{slash}{version}, Kind={}", meta::text(object, &["kind"]))
}

/// A Scale that is applied, as the part of the object that it sets.
fn of_scale(kind: &Kind, scale: &Value) -> Value {
    let mut object = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {}});
    for key in ["name", "namespace", "uid", "resourceVersion"] {
        if let Some(value) = meta::at(scale, &["metadata", key]) {
            object["metadata"][key] = value.clone();
        }
    }
    if let Some(replicas) = meta::at(scale, &["spec", "replicas"]) {
        scale::set_replicas(kind, &mut object, replicas.clone());
    }
    object
}

/// The object that an apply makes where there is none, not yet defaulted, and the text of its entries.
pub(crate) fn new_object(
    context: &Context,
    track: &Track<'_>,
    config: &Config,
) -> Result<(Value, String), Status> {
    let nothing = Value::Object(Map::new());
    let (object, ledger) = run(context, track, config, Vec::new(), "", &nothing)?;
    Ok((object, ledger.text("").to_owned()))
}

/// Applies to `live`, which is as the kind shows it and has the entries `before`.
pub(crate) fn apply(
    context: &Context,
    track: &Track<'_>,
    config: &Config,
    before: &str,
    live: &Value,
) -> Result<(Value, Ledger), Status> {
    let mut entries = readable(stored(before));
    if entries.is_empty() {
        let first = Track { manager: BEFORE_FIRST_APPLY, ..track.clone() };
        entries = stored(&first.created(&Given::Nothing, live));
    }
    run(context, track, config, entries, before, live)
}

/// Those whose fields can be read, and read: an apply looks at all of them. The rest is as good as none, as upstream has it.
fn readable(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.retain_mut(|entry| match entry.read_fields() {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(manager = entry.manager.name, %error, "managed fields are forgotten");
            false
        }
    });
    entries
}

fn run(
    context: &Context,
    track: &Track<'_>,
    config: &Config,
    mut entries: Vec<Entry>,
    before: &str,
    live: &Value,
) -> Result<(Value, Ledger), Status> {
    let manager = track.manager(Operation::Apply);
    let last = entries.iter().position(|entry| entry.manager.is(&manager)).map(|at| entries.remove(at));
    let applied = merged(track, config, &entries, last.as_ref(), live)?;
    let same = settle(&mut entries, &applied);
    let changed = applied.object != *live;
    let same = claim(&mut entries, track, manager, last, &applied.owns, changed) && same;
    let mut object = applied.object;
    if track.manager == last_applied::KUBECTL {
        last_applied::renew(&mut object, &config.object);
    }
    let object = shape::decode_applied(context, track.kind, object)?;
    let text = entry::write(entries);
    let ledger = if text == before { Ledger::Kept } else { Ledger::Next { text, alone: !same } };
    Ok((object, ledger))
}

/// Merges, forcing what a client-side apply of the same client wrote.
fn merged(
    track: &Track<'_>,
    config: &Config,
    entries: &[Entry],
    last: Option<&Entry>,
    live: &Value,
) -> Result<Applied, Status> {
    let versions = KindVersions { table: &track.table, kind: track.kind, memo: track.memo };
    let keep = written_by(track.kind, track.sub);
    let version = track.kind.api_version();
    let owner = |entry: &Entry| {
        let set = entry.set().map_err(Status::internal)?.into_owned();
        Ok::<_, Status>(Owner { version: entry.manager.api_version.clone(), set })
    };
    let last = last.map(owner).transpose()?;
    let others = entries.iter().map(owner).collect::<Result<Vec<_>, _>>()?;
    let apply = |force: bool| Apply {
        versions: &versions,
        version: &version,
        live,
        config: &config.object,
        keep: &keep,
        last: last.as_ref(),
        others: &others,
        force,
    };
    let mut conflicts = match apply(config.force).run() {
        Ok(applied) => return Ok(applied),
        Err(conflicts) => conflicts,
    };
    if track.manager == last_applied::KUBECTL {
        let allowed = last_applied::unchanged_since(track, live);
        conflicts.retain(|conflict| !allowed.contains(&conflict.path));
    }
    if conflicts.is_empty() {
        return apply(true).run().map_err(|conflicts| conflict_status(entries, &conflicts));
    }
    Err(conflict_status(entries, &conflicts))
}

/// Leaves everybody else what the apply leaves them. Whether that is what they had.
fn settle(entries: &mut Vec<Entry>, applied: &Applied) -> bool {
    let mut same = true;
    let mut left = applied.others.iter();
    entries.retain_mut(|entry| match left.next().and_then(Option::as_ref) {
        None => true,
        Some(set) => {
            same = false;
            entry.replace(set.clone());
            !set.is_empty()
        }
    });
    same
}

/// Writes the applier's entry. Whether it owns what it owned.
fn claim(
    entries: &mut Vec<Entry>,
    track: &Track<'_>,
    manager: Manager,
    last: Option<Entry>,
    owns: &FieldSet,
    changed: bool,
) -> bool {
    let owns = owns.difference(&STRIPPED);
    let same = match &last {
        Some(last) => last.manager == manager && last.set().is_ok_and(|set| *set == owns),
        None => owns.is_empty(),
    };
    if !owns.is_empty() {
        let time = last.filter(|_| same && !changed).map_or_else(|| track.time(), |last| last.time);
        entries.push(Entry::new(manager, time, owns));
    }
    same
}

/// 409 with a cause for each field.
fn conflict_status(entries: &[Entry], conflicts: &[Conflict]) -> Status {
    let who = |conflict: &Conflict| entries[conflict.owner].manager.described();
    let message = match conflicts {
        [one] => format!("Apply failed with 1 conflict: conflict with {}: {}", who(one), one.path),
        several => {
            let mut names: Vec<String> = several.iter().map(who).collect();
            names.sort();
            names.dedup();
            let lines: Vec<String> = names
                .iter()
                .flat_map(|name| {
                    let fields = several.iter().filter(|one| who(one) == *name);
                    std::iter::once(format!("conflicts with {name}:"))
                        .chain(fields.map(|one| format!("- {}", one.path)))
                        .collect::<Vec<_>>()
                })
                .collect();
            format!("Apply failed with {} conflicts: {}", several.len(), lines.join("\n"))
        }
    };
    let mut status = Status::new(409, Reason::Conflict, message);
    let causes = conflicts.iter().map(|conflict| StatusCause {
        reason: "FieldManagerConflict".to_owned(),
        message: format!("conflict with {}", who(conflict)),
        field: conflict.path.to_string(),
    });
    status.details =
        Some(Box::new(crate::status::Details { causes: causes.collect(), ..Default::default() }));
    status
}

//! What a Deployment does next. Pure: from the Deployment and its ReplicaSets to the ReplicaSets as they should be.
//!
//! ```text
//!   paused, or scaled since the sets were sized ──▶ scale in proportion, keep templates
//!   Recreate ──▶ old sets to 0 ──▶ wait until their pods are gone ──▶ new set
//!   RollingUpdate ──▶ new set up, or ──▶ old sets down (unhealthy pods first); one of both a step
//! ```
//! Rules: the Deployment page of the documentation; every step leaves the bounds of the update intact.

use super::{
    bounds::{self, bounds},
    revision::{self, DESIRED_REPLICAS, MAX_REPLICAS},
    status,
    template::{self, NewTemplate},
};
use keelson_harness::{
    Timestamp,
    views::{Deployment, DeploymentStatus, ReplicaSet, ReplicaSetStatus},
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// A ReplicaSet as it is and as it should be.
#[derive(Clone, Debug)]
pub(super) struct Set {
    /// `None`: it is to be created.
    pub(super) existing: Option<Arc<ReplicaSet>>,
    pub(super) name: String,
    pub(super) replicas: i32,
    pub(super) min_ready_seconds: i32,
    pub(super) annotations: BTreeMap<String, String>,
    /// Of a set that is to be created.
    pub(super) template: Option<NewTemplate>,
    pub(super) delete: bool,
}

impl Set {
    fn of(set: &Arc<ReplicaSet>) -> Self {
        Set {
            name: set.metadata.name.to_string(),
            replicas: set.spec.replicas,
            min_ready_seconds: set.spec.min_ready_seconds,
            annotations: (*set.metadata.annotations).clone(),
            existing: Some(set.clone()),
            template: None,
            delete: false,
        }
    }

    /// What its status says; zeros if it is to be created.
    pub(super) fn status(&self) -> ReplicaSetStatus {
        self.existing.as_ref().map(|s| s.status.clone()).unwrap_or_default()
    }

    /// Does it differ from what exists?
    pub(super) fn is_changed(&self) -> bool {
        self.existing.as_ref().is_none_or(|s| {
            s.spec.replicas != self.replicas
                || s.spec.min_ready_seconds != self.min_ready_seconds
                || *s.metadata.annotations != self.annotations
        })
    }

    fn available(&self) -> i32 {
        self.existing.as_ref().map_or(0, |s| s.status.available_replicas)
    }

    fn age(&self) -> Option<Timestamp> {
        self.existing.as_ref().and_then(|s| s.metadata.creation_timestamp)
    }
}

/// Everything that is to be done, in this order: sets, annotation, status.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) old: Vec<Set>,
    pub(super) new: Option<Set>,
    /// The Deployment's revision annotation, if it changes.
    pub(super) revision: Option<i64>,
    pub(super) status: DeploymentStatus,
    /// Look again, whatever happens: a deadline passes.
    pub(super) recheck: Option<Duration>,
}

/// What the planner looks at.
pub(super) struct Snapshot<'a> {
    pub(super) deployment: &'a Deployment,
    /// All ReplicaSets that it owns.
    pub(super) sets: &'a [Arc<ReplicaSet>],
    /// Uids of sets with pods that have not ended, terminating ones included. Read for Recreate.
    pub(super) with_pods: &'a dyn Fn(&ReplicaSet) -> bool,
    pub(super) now: Timestamp,
}

/// The whole step. An error means the template is not JSON, which the API does not allow.
pub(super) fn plan(snapshot: &Snapshot<'_>) -> Result<Plan, serde_json::Error> {
    let deployment = snapshot.deployment;
    let wanted = template::comparable(&deployment.spec.template)?;
    let mut step = Step::new(snapshot, &wanted);
    if deployment.metadata.is_deleting() {
        return Ok(step.finish(snapshot.now, Report::Counts));
    }
    status::paused(&mut step.status, deployment, snapshot.now);
    if deployment.spec.paused {
        step.find_new(snapshot.now);
        step.scale();
        step.clean_up();
        return Ok(step.finish(snapshot.now, Report::Counts));
    }
    if step.was_scaled() {
        step.find_new(snapshot.now);
        step.scale();
        return Ok(step.finish(snapshot.now, Report::Counts));
    }
    match bounds::is_rolling(&deployment.spec) {
        true => step.roll(&wanted, snapshot.now)?,
        false => step.recreate(&wanted, snapshot)?,
    }
    Ok(step.finish(snapshot.now, Report::Progress))
}

/// What the status says besides numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Report {
    Counts,
    Progress,
}

struct Step<'a> {
    deployment: &'a Deployment,
    /// Oldest first.
    old: Vec<Set>,
    new: Option<Set>,
    revision: Option<i64>,
    status: DeploymentStatus,
}

impl<'a> Step<'a> {
    fn new(snapshot: &Snapshot<'a>, wanted: &Value) -> Self {
        let mut sets: Vec<&Arc<ReplicaSet>> = snapshot.sets.iter().collect();
        sets.sort_by_key(|s| (s.metadata.creation_timestamp, s.metadata.name.clone()));
        let current = sets.iter().position(|s| template::is_of(s, wanted));
        let new = current.map(|at| Set::of(sets.remove(at)));
        let old = sets.into_iter().map(Set::of).collect();
        Step {
            deployment: snapshot.deployment,
            old,
            new,
            revision: None,
            status: snapshot.deployment.status.clone(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(&self.new)
    }

    fn total(&self) -> i32 {
        self.all().map(|s| s.replicas).sum()
    }

    /// The newest revision is one above that of all old sets.
    fn newest_revision(&self) -> i64 {
        let revision = |s: &Set| s.existing.as_ref().map_or(0, |s| revision::revision(&s.metadata));
        self.old.iter().map(revision).max().unwrap_or(0) + 1
    }

    /// Brings the annotations of the set of the current template up to date, if there is one.
    fn find_new(&mut self, now: Timestamp) {
        let newest = self.newest_revision();
        let Some(set) = &mut self.new else { return };
        set.annotations = revision::of_new_set(&self.deployment.metadata, &set.annotations, newest);
        set.min_ready_seconds = self.deployment.spec.min_ready_seconds;
        let reached = revision::number(&set.annotations, revision::REVISION).map_or(newest, i64::from);
        if revision::revision(&self.deployment.metadata) != reached {
            self.revision = Some(reached);
        }
        status::found(&mut self.status, self.deployment, &set.name, now);
    }

    /// Finds the set of the current template, or plans it.
    fn need_new(&mut self, wanted: &Value, now: Timestamp) -> Result<(), serde_json::Error> {
        if self.new.is_some() {
            self.find_new(now);
            return Ok(());
        }
        let newest = self.newest_revision();
        let template = template::new_template(self.deployment, wanted)?;
        let mut annotations = revision::of_new_set(&self.deployment.metadata, &BTreeMap::new(), newest);
        let desired = self.deployment.spec.replicas;
        revision::remember_sizes(&mut annotations, desired, desired + bounds(self.deployment).surge);
        self.revision = (revision::revision(&self.deployment.metadata) != newest).then_some(newest);
        status::created(&mut self.status, self.deployment, &template.name, now);
        self.new = Some(Set {
            existing: None,
            name: template.name.clone(),
            replicas: bounds::new_set_replicas(self.deployment, 0, self.total()),
            min_ready_seconds: self.deployment.spec.min_ready_seconds,
            annotations,
            template: Some(template),
            delete: false,
        });
        Ok(())
    }

    /// Was `spec.replicas` changed since the sets were sized?
    fn was_scaled(&self) -> bool {
        let desired = |s: &Set| revision::number(&s.annotations, DESIRED_REPLICAS);
        let differs = |s: &Set| desired(s).is_some_and(|d| d != self.deployment.spec.replicas);
        self.all().any(|s| s.replicas > 0 && differs(s))
    }

    fn resize(deployment: &Deployment, set: &mut Set, replicas: i32) {
        set.replicas = replicas.max(0);
        let desired = deployment.spec.replicas;
        revision::remember_sizes(&mut set.annotations, desired, desired + bounds(deployment).surge);
    }

    fn scale(&mut self) {
        let wanted = self.deployment.spec.replicas;
        let deployment = self.deployment;
        if let Some(set) = self.active_or_latest() {
            if set.replicas != wanted {
                Self::resize(deployment, set, wanted);
            }
        } else if self.is_saturated() {
            for set in self.old.iter_mut().filter(|s| s.replicas > 0) {
                Self::resize(deployment, set, 0);
            }
        } else if bounds::is_rolling(&self.deployment.spec) {
            self.scale_in_proportion();
        }
    }

    /// The only set with replicas, or if there is none the newest; `None` if several have some.
    fn active_or_latest(&mut self) -> Option<&mut Set> {
        match self.all().filter(|s| s.replicas > 0).count() {
            0 => self.new.as_mut().or(self.old.last_mut()),
            1 => self.old.iter_mut().chain(&mut self.new).find(|s| s.replicas > 0),
            _ => None,
        }
    }

    fn is_saturated(&self) -> bool {
        let wanted = self.deployment.spec.replicas;
        self.new.as_ref().is_some_and(|s| {
            let desired = revision::number(&s.annotations, DESIRED_REPLICAS);
            s.replicas == wanted && desired == Some(wanted) && s.available() == wanted
        })
    }

    /// Larger sets get more, so that a Deployment scaled amid an update keeps the balance of old and new.
    fn scale_in_proportion(&mut self) {
        let deployment = self.deployment;
        let wanted = deployment.spec.replicas;
        let allowed = if wanted > 0 { wanted + bounds(deployment).surge } else { 0 };
        let to_add = allowed - self.total();
        let mut sets: Vec<&mut Set> =
            self.old.iter_mut().chain(&mut self.new).filter(|s| s.replicas > 0).collect();
        // Of equal sizes the newer grow first and the older shrink first.
        match to_add > 0 {
            true => sets.sort_by(|a, b| b.replicas.cmp(&a.replicas).then(b.age().cmp(&a.age()))),
            false => sets.sort_by(|a, b| b.replicas.cmp(&a.replicas).then(a.age().cmp(&b.age()))),
        }
        let mut added = 0;
        let mut sizes = Vec::with_capacity(sets.len());
        for set in &sets {
            let before = revision::number(&set.annotations, MAX_REPLICAS).unwrap_or(0);
            let share = bounds::proportion(deployment, set.replicas, before, to_add, added);
            added += share;
            sizes.push(set.replicas + share);
        }
        if let Some(largest) = sizes.first_mut() {
            *largest += to_add - added;
        }
        for (set, size) in sets.into_iter().zip(sizes) {
            Self::resize(deployment, set, size);
        }
    }

    fn roll(&mut self, wanted: &Value, now: Timestamp) -> Result<(), serde_json::Error> {
        let is_new = self.new.is_none();
        self.need_new(wanted, now)?;
        let moves = is_new || self.grow_new() || self.shrink_old();
        if !moves && status::is_complete(self.deployment, &self.deployment.status) {
            self.clean_up();
        }
        Ok(())
    }

    /// True: the new set changes its size, and the old ones wait for the next step.
    fn grow_new(&mut self) -> bool {
        let (deployment, total) = (self.deployment, self.total());
        let wanted = deployment.spec.replicas;
        let Some(set) = &mut self.new else { return false };
        let size = match set.replicas > wanted {
            true => wanted,
            false => bounds::new_set_replicas(deployment, set.replicas, total),
        };
        if size == set.replicas {
            return false;
        }
        Self::resize(deployment, set, size);
        true
    }

    fn shrink_old(&mut self) -> bool {
        if self.old.iter().all(|s| s.replicas == 0) {
            return false;
        }
        let deployment = self.deployment;
        let min_available = deployment.spec.replicas - bounds(deployment).unavailable;
        let new_unavailable = self.new.as_ref().map_or(0, |s| s.replicas - s.available());
        let most = self.total() - min_available - new_unavailable;
        if most <= 0 {
            return false;
        }
        let dropped = self.drop_unhealthy(most);
        let available: i32 = self.all().map(Set::available).sum();
        let mut left = available - min_available;
        let mut taken = 0;
        for set in self.old.iter_mut().filter(|s| s.replicas > 0) {
            if left <= 0 {
                break;
            }
            let count = set.replicas.min(left);
            Self::resize(deployment, set, set.replicas - count);
            left -= count;
            taken += count;
        }
        dropped + taken > 0
    }

    /// Old pods that are not available go first: they cost no capacity.
    fn drop_unhealthy(&mut self, most: i32) -> i32 {
        let mut dropped = 0;
        for set in self.old.iter_mut().filter(|s| s.replicas > 0) {
            let count = (most - dropped).min(set.replicas - set.available());
            if count > 0 {
                Self::resize(self.deployment, set, set.replicas - count);
                dropped += count;
            }
        }
        dropped
    }

    fn recreate(&mut self, wanted: &Value, snapshot: &Snapshot<'_>) -> Result<(), serde_json::Error> {
        self.find_new(snapshot.now);
        let deployment = self.deployment;
        let mut scaled = false;
        for set in self.old.iter_mut().filter(|s| s.replicas > 0) {
            Self::resize(deployment, set, 0);
            scaled = true;
        }
        let alive = |s: &Set| s.existing.as_ref().is_some_and(|s| (snapshot.with_pods)(s));
        if scaled || self.old.iter().any(alive) {
            return Ok(());
        }
        self.need_new(wanted, snapshot.now)?;
        if let Some(set) = &mut self.new
            && set.replicas != deployment.spec.replicas
        {
            Self::resize(deployment, set, deployment.spec.replicas);
        }
        if status::is_complete(deployment, &deployment.status) {
            self.clean_up();
        }
        Ok(())
    }

    /// Old sets beyond the history, if they are empty and their status says so of their newest generation.
    fn clean_up(&mut self) {
        let Some(limit) = self.deployment.spec.revision_history_limit.filter(|&l| l != i32::MAX) else {
            return;
        };
        let mut old: Vec<&mut Set> = self
            .old
            .iter_mut()
            .filter(|s| s.existing.as_ref().is_some_and(|s| !s.metadata.is_deleting()))
            .collect();
        let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        old.sort_by_key(|s| s.existing.as_ref().map_or(0, |s| revision::revision(&s.metadata)));
        for set in old.into_iter().take(surplus) {
            set.delete = set.existing.as_ref().is_some_and(|s| {
                let seen = s.metadata.generation <= s.status.observed_generation;
                seen && s.status.replicas == 0 && s.spec.replicas == 0 && set.replicas == 0
            });
        }
    }

    fn finish(mut self, now: Timestamp, report: Report) -> Plan {
        let sets: Vec<&Set> = self.old.iter().chain(&self.new).collect();
        let mut status = status::counts(self.deployment, &self.status, &sets, self.new.as_ref(), now);
        let mut recheck = None;
        if report == Report::Progress {
            recheck = status::progress(&mut status, self.deployment, &sets, self.new.as_ref(), now);
        }
        let old = std::mem::take(&mut self.old);
        Plan { old, new: self.new, revision: self.revision, status, recheck }
    }
}

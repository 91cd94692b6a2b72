//! Pods by what they are selected by: one record for all pods of a workload.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::types::Profile;

/// Number of a profile; given again when nobody has it any more.
pub(super) type ProfileId = u32;
/// Number of a pod; as above.
pub(super) type PodId = u32;

/// A profile, and who has it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) profile: Arc<Profile>,
    pub(super) pods: BTreeSet<PodId>,
    /// How many of them are on this node.
    pub(super) local: usize,
}

/// All profiles.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    slots: Vec<Option<Shared>>,
    free: Vec<ProfileId>,
    by_profile: HashMap<Arc<Profile>, ProfileId>,
}

impl Profiles {
    /// One more pod has it.
    pub(super) fn join(&mut self, profile: Profile, pod: PodId, local: bool) -> ProfileId {
        let id = self.by_profile.get(&profile).copied().unwrap_or_else(|| self.make(profile));
        if let Some(shared) = self.slots[id as usize].as_mut() {
            shared.pods.insert(pod);
            shared.local += usize::from(local);
        }
        id
    }

    fn make(&mut self, profile: Profile) -> ProfileId {
        let profile = Arc::new(profile);
        let shared = Shared { profile: profile.clone(), pods: BTreeSet::new(), local: 0 };
        let id = self.free.pop().unwrap_or(self.slots.len() as ProfileId);
        match self.slots.get_mut(id as usize) {
            Some(slot) => *slot = Some(shared),
            None => self.slots.push(Some(shared)),
        }
        self.by_profile.insert(profile, id);
        id
    }

    /// One pod less has it.
    pub(super) fn leave(&mut self, id: ProfileId, pod: PodId, local: bool) {
        let Some(shared) = self.slots[id as usize].as_mut() else { return };
        shared.pods.remove(&pod);
        shared.local -= usize::from(local);
    }

    /// Forgets one that nobody has; answers whether it did.
    pub(super) fn forget_unused(&mut self, id: ProfileId) -> bool {
        let slot = &mut self.slots[id as usize];
        let Some(unused) = slot.take_if(|shared| shared.pods.is_empty()) else { return false };
        self.by_profile.remove(&unused.profile);
        self.free.push(id);
        true
    }

    pub(super) fn get(&self, id: ProfileId) -> Option<&Shared> {
        self.slots.get(id as usize)?.as_ref()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_profile.len()
    }
}

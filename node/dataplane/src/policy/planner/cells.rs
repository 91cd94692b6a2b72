//! Entries of a group and a class: what follows from both being what they are. They never change, they only come and go.

use std::collections::BTreeSet;

use keelson_ebpf_common::policy::{Direction, Id};

use super::{Planner, Round};
use crate::policy::{
    ports::prefixes,
    types::{Allows, Class, Group, PortPrefix, Ports, Verdict},
};

impl Planner {
    /// Brings the entries in line with the groups and classes that there are.
    pub(super) fn fill_cells(&mut self, round: &mut Round) {
        for id in std::mem::take(&mut round.idle_classes) {
            if self.classes.get(id).is_some_and(|state| state.users == 0) {
                self.drop_class(id, round);
            }
        }
        let mut cells = std::mem::take(&mut self.without_room.cells);
        for group in &round.new_groups {
            cells.insert((*group, Id::ANYONE));
            cells.extend(self.classes.iter().map(|(class, _)| (*group, class)));
        }
        for class in round.new_classes.iter().filter(|class| self.classes.get(**class).is_some()) {
            cells.extend(self.groups.iter().map(|(group, _)| (group, *class)));
        }
        for (group, class) in cells {
            self.fill_cell(group, class, round);
        }
    }

    fn fill_cell(&mut self, group: Id, class: Id, round: &mut Round) {
        let Some(state) = self.groups.get(group) else { return };
        let of_class = self.classes.get(class).map(|state| &state.class);
        if of_class.is_none() && class != Id::ANYONE {
            return;
        }
        let entries = entries(group, &state.group, class, of_class);
        if self.verdicts.len() + entries.len() > self.room.verdicts {
            self.without_room.cells.insert((group, class));
            return;
        }
        self.verdicts.extend(&entries);
        round.changes.verdicts.extend(entries);
    }

    fn drop_class(&mut self, id: Id, round: &mut Round) {
        let Some(state) = self.classes.remove(id) else { return };
        self.class_ids.remove(&state.class);
        let groups: Vec<Id> = self.groups.iter().map(|(group, _)| group).collect();
        for group in groups {
            self.drop_cell(group, id, round);
        }
        self.without_room.cells.retain(|(_, class)| *class != id);
    }

    pub(super) fn drop_cells_of_group(&mut self, group: Id, round: &mut Round) {
        let (first, last) = (first_of(group, Id::NONE), first_of(group, Id::ANYONE));
        let classes: BTreeSet<Id> =
            self.verdicts.range(first..).take_while(|v| v.group == group).map(|v| v.class).collect();
        debug_assert!(first < last);
        for class in classes {
            self.drop_cell(group, class, round);
        }
        self.without_room.cells.retain(|(of, _)| *of != group);
    }

    fn drop_cell(&mut self, group: Id, class: Id, round: &mut Round) {
        let cell = self.verdicts.range(first_of(group, class)..);
        let cell: Vec<Verdict> = cell.take_while(|v| v.group == group && v.class == class).copied().collect();
        for verdict in &cell {
            self.verdicts.remove(verdict);
        }
        round.changes.verdicts_gone.extend(cell);
    }
}

/// Comes before every entry of a cell.
const fn first_of(group: Id, class: Id) -> Verdict {
    Verdict { group, class, direction: Direction::Ingress, ports: None }
}

/// What a group lets a class do; for [`Id::ANYONE`], what it lets everybody do.
fn entries(group_id: Id, group: &Group, class_id: Id, class: Option<&Class>) -> BTreeSet<Verdict> {
    let directions = [(Direction::Ingress, &group.ingress), (Direction::Egress, &group.egress)];
    let mut entries = BTreeSet::new();
    for (direction, allows) in directions {
        let ports = allows.iter().flat_map(|allows| ports(allows, class));
        entries.extend(ports.map(|ports| Verdict { group: group_id, class: class_id, direction, ports }));
    }
    entries
}

fn ports(allows: &Allows, class: Option<&Class>) -> Vec<Option<PortPrefix>> {
    let mut found = Vec::new();
    for (peer, ports) in allows {
        let applies = match (peer, class) {
            (Some(peer), Some(class)) => class.peers.binary_search(peer).is_ok(),
            (Some(_), None) => false,
            // What everybody may do is said once; only the names of ports are a pod's own.
            (None, class) => class.is_some() == matches!(ports, Ports::Named { .. }),
        };
        if !applies {
            continue;
        }
        match ports {
            Ports::All => found.push(None),
            Ports::Range { protocol, first, last } => {
                found.extend(prefixes(*protocol, *first, *last).into_iter().map(Some));
            }
            Ports::Named { protocol, name } => {
                let own = class.iter().flat_map(|class| &class.ports);
                let own = own.filter(|port| (port.protocol, &port.name) == (*protocol, name));
                found.extend(own.flat_map(|port| prefixes(*protocol, port.number, port.number)).map(Some));
            }
        }
    }
    found
}

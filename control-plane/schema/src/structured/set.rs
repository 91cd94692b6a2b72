//! Sets of fields, as trees: what is a member, and what is below it.
//!
//! A field may be a member without what is below it, and the other way round; the operations look at members alone.

use std::cmp::Ordering;

use super::element::{Element, FieldPath};
use super::place::Place;

/// A set of fields of an object. Empty sets hold no empty branches, so that equal sets are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Sorted by element; each has a member in or below it.
    pub(super) nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) element: Element,
    pub(super) branch: Branch,
}

/// A field: whether it is in the set, and which of those below it are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Branch {
    pub(super) member: bool,
    pub(super) below: FieldSet,
}

impl Branch {
    pub(super) const fn leaf() -> Branch {
        Branch { member: true, below: FieldSet { nodes: Vec::new() } }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.below.nodes.is_empty()
    }
}

impl FieldSet {
    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A set of one field, given by the names on the way to it.
    #[must_use]
    pub fn of_path(names: &[&'static str]) -> FieldSet {
        let branch = names.iter().rev().fold(Branch::leaf(), |branch, name| Branch {
            member: false,
            below: FieldSet { nodes: vec![Node { element: Element::field(*name), branch }] },
        });
        branch.below
    }

    /// Adds a field behind all others; the caller keeps the order, or calls [`FieldSet::sort`].
    pub(super) fn push(&mut self, element: Element, branch: Branch) {
        if !branch.is_empty() {
            self.nodes.push(Node { element, branch });
        }
    }

    /// Puts fields in order that were added out of it; of equal ones the union stays.
    pub(super) fn sort(&mut self) {
        if self.nodes.is_sorted_by(|a, b| a.element < b.element) {
            return;
        }
        let mut nodes = std::mem::take(&mut self.nodes);
        nodes.sort_by(|a, b| a.element.cmp(&b.element));
        for node in nodes {
            match self.nodes.last_mut() {
                Some(last) if last.element == node.element => {
                    last.branch.member |= node.branch.member;
                    last.branch.below = last.branch.below.union(&node.branch.below);
                }
                _ => self.nodes.push(node),
            }
        }
    }

    pub(super) fn get(&self, element: &Element) -> Option<&Branch> {
        let at = self.nodes.binary_search_by(|node| node.element.cmp(element)).ok()?;
        Some(&self.nodes[at].branch)
    }

    /// Whether the field that these names lead to is in the set.
    #[must_use]
    pub fn has(&self, names: &[&str]) -> bool {
        let find = |set: &FieldSet, name: &str| {
            set.nodes.iter().position(|n| matches!(&n.element, Element::Field(own) if own == name))
        };
        let mut set = self;
        for (at, name) in names.iter().enumerate() {
            let Some(found) = find(set, name) else { return false };
            let branch = &set.nodes[found].branch;
            if at + 1 == names.len() {
                return branch.member;
            }
            set = &branch.below;
        }
        false
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => Branch { member: a.member || b.member, below: a.below.union(&b.below) },
            (Some(one), None) | (None, Some(one)) => one.clone(),
            (None, None) => Branch::default(),
        })
    }

    /// What is in this one and not in the other.
    #[must_use]
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => {
                Branch { member: a.member && !b.member, below: a.below.difference(&b.below) }
            }
            (Some(a), None) => a.clone(),
            (None, _) => Branch::default(),
        })
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => {
                Branch { member: a.member && b.member, below: a.below.intersection(&b.below) }
            }
            _ => Branch::default(),
        })
    }

    /// Whether something is in both; makes nothing.
    #[must_use]
    pub fn overlaps(&self, other: &FieldSet) -> bool {
        let (mut a, mut b) = (self.nodes.iter().peekable(), other.nodes.iter().peekable());
        while let (Some(left), Some(right)) = (a.peek(), b.peek()) {
            match left.element.cmp(&right.element) {
                Ordering::Less => drop(a.next()),
                Ordering::Greater => drop(b.next()),
                Ordering::Equal => {
                    let (left, right) = (&left.branch, &right.branch);
                    if (left.member && right.member) || left.below.overlaps(&right.below) {
                        return true;
                    }
                    a.next();
                    b.next();
                }
            }
        }
        false
    }

    /// Takes the members of the other set away; cheap where those are few.
    pub fn subtract(&mut self, other: &FieldSet) {
        for theirs in &other.nodes {
            let Ok(at) = self.nodes.binary_search_by(|own| own.element.cmp(&theirs.element)) else {
                continue;
            };
            let own = &mut self.nodes[at].branch;
            own.member &= !theirs.branch.member;
            own.below.subtract(&theirs.branch.below);
            if own.is_empty() {
                self.nodes.remove(at);
            }
        }
    }

    /// Whether everything of it is in the other set.
    #[must_use]
    pub fn is_within(&self, other: &FieldSet) -> bool {
        self.nodes.iter().all(|own| match other.get(&own.element) {
            Some(theirs) => {
                (theirs.member || !own.branch.member) && own.branch.below.is_within(&theirs.below)
            }
            None => false,
        })
    }

    /// Keeps the fields of the object's first level that are wanted, with all below them.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.nodes.retain(|node| matches!(&node.element, Element::Field(name) if wanted(name)));
    }

    /// The set with the properties on the way to its members as members; entries of maps and items of lists are things
    /// of their own and stay as they are. Whoever owns `a.b` of a structure holds `a`.
    #[must_use]
    pub(super) fn with_named(&self, place: Place<'_>) -> FieldSet {
        let nodes = self
            .nodes
            .iter()
            .map(|node| {
                let below = node.branch.below.with_named(place.below(&node.element));
                let named = !below.is_empty() && place.is_named(&node.element);
                let branch = Branch { member: node.branch.member || named, below };
                Node { element: node.element.clone(), branch }
            })
            .collect();
        FieldSet { nodes }
    }

    /// The paths of all members, each field before what is below it.
    #[must_use]
    pub fn paths(&self) -> Vec<FieldPath> {
        let mut found = Vec::new();
        self.collect(&mut Vec::new(), &mut found);
        found
    }

    fn collect(&self, trail: &mut Vec<Element>, found: &mut Vec<FieldPath>) {
        for node in &self.nodes {
            trail.push(node.element.clone());
            if node.branch.member {
                found.push(FieldPath(trail.clone()));
            }
            node.branch.below.collect(trail, found);
            trail.pop();
        }
    }

    fn combine(
        &self,
        other: &FieldSet,
        decide: impl Fn(Option<&Branch>, Option<&Branch>) -> Branch,
    ) -> FieldSet {
        let mut out = FieldSet::default();
        let (mut a, mut b) = (self.nodes.iter().peekable(), other.nodes.iter().peekable());
        loop {
            let order = match (a.peek(), b.peek()) {
                (Some(left), Some(right)) => left.element.cmp(&right.element),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return out,
            };
            let left = if order.is_le() { a.next() } else { None };
            let right = if order.is_ge() { b.next() } else { None };
            let branch = decide(left.map(|node| &node.branch), right.map(|node| &node.branch));
            if let Some(node) = left.or(right)
                && !branch.is_empty()
            {
                out.nodes.push(Node { element: node.element.clone(), branch });
            }
        }
    }
}

//! The one table of kinds: rows in code (which kinds, which strategy) joined with the facts about them (names, verbs,
//! subresources, columns) from `facts/`.

use crate::{
    kind::{Column, Kind, SelectableField, Storage, Subresource},
    scan::FieldTree,
    strategy::Strategy,
};
use std::{cmp::Ordering, sync::Arc};

const RESOURCES: &str = include_str!("../facts/resources.tsv");
const COLUMNS: &str = include_str!("../facts/table-columns.tsv");

/// One row in code: what the facts do not say about a kind.
pub struct Row {
    /// API group, "" for the core group.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Plural name.
    pub plural: &'static str,
    /// Rules.
    pub strategy: &'static dyn Strategy,
    /// Where objects are kept.
    pub storage: Storage,
    /// Subresources that are served; what the facts list beyond them is not there yet.
    pub subresources: &'static [&'static str],
    /// Field selectors.
    pub fields: &'static [SelectableField],
}

/// All served kinds.
#[derive(Default)]
pub struct KindTable {
    kinds: Vec<Arc<Kind>>,
    /// Sorted by group, version and plural, each a place in `kinds`.
    by_resource: Vec<usize>,
    /// Sorted by group, version and kind.
    by_kind: Vec<usize>,
    /// Sorted by where their objects are kept, else in the order of discovery.
    by_prefix: Vec<usize>,
}

impl KindTable {
    /// The built-in kinds.
    ///
    /// # Panics
    /// When a row has no facts: both are part of the program, and a test builds the table.
    pub fn builtin() -> Self {
        Self::of(&crate::kinds::rows())
    }

    pub(crate) fn of(rows: &[Row]) -> Self {
        Self::new(rows.iter().map(|row| Arc::new(build(row))).collect())
    }

    /// A table of these kinds, in the order of discovery.
    pub(crate) fn new(kinds: Vec<Arc<Kind>>) -> Self {
        let sorted = |compare: &dyn Fn(&Kind, &Kind) -> Ordering| {
            let mut places: Vec<usize> = (0..kinds.len()).collect();
            places.sort_by(|a, b| compare(&kinds[*a], &kinds[*b]));
            places
        };
        let by_resource = sorted(&|a, b| gvr(a).cmp(&gvr(b)));
        let by_kind = sorted(&|a, b| a.gvk().cmp(&b.gvk()));
        let by_prefix = sorted(&|a, b| a.prefix.cmp(&b.prefix));
        Self { kinds, by_resource, by_kind, by_prefix }
    }

    /// By plural name, as in a path.
    pub fn by_resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        let wanted = (group, version, plural);
        let found = self.by_resource.binary_search_by(|at| gvr(&self.kinds[*at]).cmp(&wanted)).ok()?;
        Some(&self.kinds[self.by_resource[found]])
    }

    /// By kind, as in a body.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Kind>> {
        let wanted = (group, version, kind);
        let found = self.by_kind.binary_search_by(|at| self.kinds[*at].gvk().cmp(&wanted)).ok()?;
        Some(&self.kinds[self.by_kind[found]])
    }

    /// All forms of the kind's objects, itself among them, in the order of discovery ([`Kind::same_objects`]).
    pub fn forms<'a>(&'a self, kind: &'a Kind) -> impl Iterator<Item = &'a Arc<Kind>> {
        let places = &self.by_prefix;
        let first = places.partition_point(|at| self.kinds[*at].prefix < kind.prefix);
        places[first..].iter().map(|at| &self.kinds[*at]).take_while(|other| other.same_objects(kind))
    }

    /// All, in the order of discovery.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.iter()
    }
}

fn gvr(kind: &Kind) -> (&str, &str, &str) {
    (&kind.group, &kind.version, &kind.plural)
}

fn build(row: &Row) -> Kind {
    let facts = RESOURCES
        .lines()
        .skip(1)
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .find(|cells| cells[0] == row.group && cells[1] == row.version && cells[4] == row.plural)
        .expect("every row in kinds/mod.rs has a line in facts/resources.tsv");
    let stored = match row.storage {
        Storage::View(conversion) => conversion.stored(),
        Storage::Own | Storage::Virtual => (row.group, row.plural),
    };
    Kind {
        id: Kind::next_id(),
        custom: None,
        group: row.group.into(),
        version: row.version.into(),
        kind: facts[3].into(),
        list_kind: format!("{}List", facts[3]).into(),
        plural: row.plural.into(),
        singular: facts[5].into(),
        namespaced: facts[6] == "true",
        verbs: list(facts[7]),
        short_names: list(facts[9]).into_iter().map(Into::into).collect(),
        categories: list(facts[10]).into_iter().map(Into::into).collect(),
        subresources: list(facts[8])
            .into_iter()
            .map(subresource)
            .filter(|sub| row.subresources.contains(&sub.name))
            .collect(),
        selectable_fields: row.fields.iter().map(|field| field.name.into()).collect(),
        columns: columns(row.group, row.plural),
        storage: row.storage,
        strategy: row.strategy,
        fields: FieldTree::of(row.fields),
        prefix: prefix(stored.0, stored.1),
    }
}

pub(crate) fn prefix(group: &str, plural: &str) -> String {
    let group = if group.is_empty() { "core" } else { group };
    format!("/registry/{group}/{plural}/")
}

fn list(cell: &'static str) -> Vec<&'static str> {
    cell.split(',').filter(|item| !item.is_empty()).collect()
}

/// `name[verb+verb]=group/version/Kind`.
fn subresource(cell: &'static str) -> Subresource {
    let (name, rest) = cell.split_once('[').unwrap_or((cell, "]"));
    let (verbs, body) = rest.split_once(']').unwrap_or((rest, ""));
    Subresource {
        name,
        verbs: verbs.split('+').filter(|verb| !verb.is_empty()).collect(),
        body: body.strip_prefix('=').map(|gvk| {
            // The core group has no name: `v1/Binding`.
            let (version, kind) =
                gvk.rsplit_once('/').expect("resources.tsv: a body is [group/]version/Kind");
            let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
            (group, version, kind)
        }),
    }
}

/// A kind without a printer of its own has name and creation time.
fn columns(group: &str, plural: &str) -> Vec<Column> {
    let found: Vec<Column> = COLUMNS
        .lines()
        .skip(1)
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .filter(|cells| cells[0] == group && cells[2] == plural && !cells[4].starts_with('('))
        .map(|cells| Column {
            name: cells[4].into(),
            type_: cells[5].into(),
            format: cells[6].into(),
            priority: priority(&cells),
        })
        .collect();
    if !found.is_empty() {
        return found;
    }
    vec![
        Column { name: "Name".into(), type_: "string".into(), format: "name".into(), priority: 0 },
        Column { name: "Created At".into(), type_: "date".into(), format: "".into(), priority: 0 },
    ]
}

/// The facts are compiled in: a row that cannot be read is a mistake in them, which any start shows.
fn priority(cells: &[&str]) -> i32 {
    cells[7].parse().unwrap_or_else(|error| panic!("table-columns.tsv: the priority in {cells:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_facts_and_a_place() {
        let table = KindTable::builtin();
        let pods = table.by_resource("", "v1", "pods").expect("pods are served");
        assert_eq!(pods.kind, "Pod");
        assert_eq!(pods.key(Some("ns"), "a"), "/registry/core/pods/ns/a");
        assert_eq!(pods.subresource("binding").and_then(|sub| sub.body), Some(("", "v1", "Binding")));
        assert_eq!(pods.columns.len(), 9);
        let scale =
            table.by_kind("apps", "v1", "Deployment").and_then(|kind| kind.subresource("scale").cloned());
        assert_eq!(scale.and_then(|sub| sub.body), Some(("autoscaling", "v1", "Scale")));
    }

    /// What is GA is served whole. Beta and alpha versions are not: upstream has them off unless somebody turns them on.
    #[test]
    fn all_that_is_ga_is_served_with_all_its_subresources_and_verbs() {
        let table = KindTable::builtin();
        for line in RESOURCES.lines().skip(1) {
            let cells: Vec<&str> = line.split('\t').collect();
            let found = table.by_resource(cells[0], cells[1], cells[4]);
            if cells[2] != "ga" {
                assert!(found.is_none(), "{line}: README.md says that it is not served");
                continue;
            }
            let kind = found.unwrap_or_else(|| panic!("{line}: no row in kinds/mod.rs"));
            assert_eq!(kind.verbs.join(","), cells[7], "{line}");
            let served: Vec<&str> = kind.subresources.iter().map(|sub| sub.name).collect();
            let known: Vec<&str> =
                list_of(cells[8]).map(|cell| cell.split('[').next().unwrap_or_default()).collect();
            assert_eq!(served, known, "{line}");
        }
    }

    fn list_of(cell: &str) -> impl Iterator<Item = &str> {
        cell.split(',').filter(|item| !item.is_empty())
    }

    #[test]
    fn the_columns_are_those_of_the_facts() {
        let table = KindTable::builtin();
        let mut compared = 0;
        for kind in table.iter() {
            let lines = COLUMNS.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
            let own =
                lines.filter(|cells| (cells[0], cells[2]) == kind.resource() && !cells[4].starts_with('('));
            let mut expected: Vec<_> = own.collect();
            expected.sort_by_key(|cells| {
                cells[3].parse::<u32>().unwrap_or_else(|error| panic!("{cells:?}: {error}"))
            });
            let expected: Vec<_> = expected.iter().map(|cells| cells[4..8].join(" ")).collect();
            let shown =
                kind.columns.iter().map(|c| format!("{} {} {} {}", c.name, c.type_, c.format, c.priority));
            if !expected.is_empty() {
                assert_eq!(shown.collect::<Vec<_>>(), expected, "{}", kind.plural);
                compared += 1;
            }
        }
        assert!(compared > 50, "only {compared} kinds have printers");
    }

    #[test]
    fn both_events_share_one_place() {
        let table = KindTable::builtin();
        let core = table.by_resource("", "v1", "events").expect("events are served");
        let view = table.by_resource("events.k8s.io", "v1", "events").expect("events are served");
        assert_eq!(core.prefix, view.prefix);
    }
}

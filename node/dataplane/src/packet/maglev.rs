//! Filling a table that spreads flows over backends: Maglev's, where each backend in turn takes the next free entry of a
//! permutation of its own. Pure. Nodes that have the same backends fill the same table.

use keelson_ebpf_common::{
    maglev::{self, WORD},
    net::{Address6, Port},
    packet::{Table, Tuple},
};

use crate::plan::Backend;

/// The index of a backend for each entry of a table. There are no more backends than entries, and one at least.
pub(super) fn fill(backends: &[Backend], entries: u32) -> Vec<u16> {
    const FREE: u16 = u16::MAX;
    let entries = u64::from(entries);
    let mut walks: Vec<_> = backends.iter().map(|backend| Walk::of(backend, entries)).collect();
    let mut table = vec![FREE; entries as usize];
    let mut left = table.len();
    for turn in 0.. {
        let number = turn % walks.len();
        let walk = &mut walks[number];
        while table[walk.next as usize] != FREE {
            walk.next = (walk.next + walk.step) % entries;
        }
        table[walk.next as usize] = number as u16;
        left -= 1;
        if left == 0 {
            break;
        }
    }
    table
}

/// A backend's permutation, as far as it was gone: it comes by every entry, as their number is prime.
struct Walk {
    next: u64,
    step: u64,
}

impl Walk {
    fn of(backend: &Backend, entries: u64) -> Self {
        let identity = maglev::hash(&Tuple {
            source: Address6([0; 4]),
            destination: Address6::from_ip(backend.ip()),
            source_port: Port(0),
            destination_port: Port::new(backend.port()),
            protocol: 0,
            pad: [0; 3],
        });
        let (offset, step) = (u64::from(maglev::choosing(identity)), identity & 0xffff_ffff);
        Self { next: offset % entries, step: step % (entries - 1) + 1 }
    }
}

/// The size of the table for so many backends; `None` where one needs none, or none is large enough.
pub(super) fn size_for(backends: usize) -> Option<u32> {
    let backends = u32::try_from(backends).ok().filter(|&count| count > 1)?;
    let size = maglev::size_for(backends);
    (backends <= maglev::SIZES[size as usize]).then_some(size)
}

/// A table as the words of the map.
pub(super) fn words(backends: &[Backend], table: Table) -> Vec<u64> {
    let entries = fill(backends, table.entries());
    let word = |entries: &[u16]| {
        entries.iter().enumerate().fold(0, |word, (n, &entry)| word | u64::from(entry) << (16 * n))
    };
    entries.chunks(WORD as usize).map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends(count: u16) -> Vec<Backend> {
        (0..count).map(|n| format!("10.244.{}.{}:8080", n / 200, n % 200 + 2).parse().unwrap()).collect()
    }

    fn filled(backends: &[Backend]) -> Vec<u16> {
        let size = size_for(backends.len()).unwrap();
        fill(backends, maglev::SIZES[size as usize])
    }

    #[test]
    fn each_backend_has_as_many_entries_as_any_other_give_or_take_one() {
        for count in [2, 3, 5, 6, 50, 200, 1_000] {
            let table = filled(&backends(count));
            let mut each = vec![0; count.into()];
            table.iter().for_each(|&backend| each[usize::from(backend)] += 1);
            let (least, most) = (each.iter().min().unwrap(), each.iter().max().unwrap());
            assert!(most - least <= 1, "{count} backends: {least} to {most}");
        }
    }

    #[test]
    fn when_a_backend_goes_little_else_moves() {
        for count in [3, 10, 50, 200] {
            let all = backends(count);
            let entries = maglev::SIZES[size_for(all.len()).unwrap() as usize];
            let before = fill(&all, entries);
            let mut fewer = all.clone();
            let gone = fewer.remove(all.len() / 2);
            let after = fill(&fewer, entries);
            let moved = before.iter().zip(&after).filter(|(before, after)| {
                let was = all[usize::from(**before)];
                was != gone && was != fewer[usize::from(**after)]
            });
            let share = moved.count() as f64 / f64::from(entries);
            assert!(share < 0.04, "of {count} backends one goes: {share:.3} of the others' entries move");
        }
    }

    #[test]
    fn nodes_with_the_same_backends_have_the_same_table() {
        let backends = backends(7);
        assert_eq!(filled(&backends), filled(&backends));
    }

    #[test]
    fn words_hold_four_entries_each_where_programs_look() {
        let backends = backends(3);
        let table = Table { start: 40, size: size_for(3).unwrap() };
        let (words, entries) = (words(&backends, table), filled(&backends));
        assert_eq!(words.len() as u32, table.words());
        for hash in [0, 1 << 31, u32::MAX, 0x1234_5678] {
            let (word, shift) = table.place(hash);
            let entry = (u64::from(hash) * entries.len() as u64) >> 32;
            let found = words[(word - 40) as usize] >> shift & 0xffff;
            assert_eq!(found, u64::from(entries[entry as usize]));
        }
    }

    #[test]
    fn one_backend_and_more_than_the_largest_table_have_none() {
        assert_eq!([0, 1, 16_382, 70_000].map(size_for), [None; 4]);
        assert_eq!((size_for(2), size_for(16_381)), (Some(1), Some(7)));
    }
}

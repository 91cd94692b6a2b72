//! Ranges of ports as prefixes, which is what the kernel's trie takes.

use super::types::PortPrefix;

/// The fewest prefixes that hold exactly the ports from `first` to `last`; 30 at most.
pub(super) fn prefixes(protocol: u8, first: u16, last: u16) -> Vec<PortPrefix> {
    let (mut next, end) = (u32::from(first), u32::from(last) + 1);
    let mut prefixes = Vec::new();
    while next < end {
        // As many as the alignment allows and are left.
        let aligned = next.trailing_zeros().min(16);
        let left = (end - next).ilog2();
        let size_log2 = aligned.min(left);
        prefixes.push(PortPrefix { protocol, port: next as u16, bits: (16 - size_log2) as u8 });
        next += 1 << size_log2;
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(first: u16, last: u16) -> Vec<(u16, u8)> {
        prefixes(6, first, last).iter().map(|prefix| (prefix.port, prefix.bits)).collect()
    }

    #[test]
    fn ranges_become_few_prefixes() {
        assert_eq!(rows(80, 80), [(80, 16)]);
        assert_eq!(rows(0, 65_535), [(0, 0)]);
        assert_eq!(rows(32_768, 65_535), [(32_768, 1)]);
        assert_eq!(rows(8000, 8003), [(8000, 14)]);
        assert_eq!(rows(65_535, 65_535), [(65_535, 16)]);
        assert_eq!(rows(1, 65_534).len(), 30);
        assert_eq!(rows(2, 1), []);
    }

    proptest! {
        #[test]
        fn they_hold_exactly_the_range(first: u16, last: u16, port: u16) {
            let holds = prefixes(17, first, last).iter().any(|prefix| {
                let bits = 16 - u32::from(prefix.bits);
                u32::from(port) >> bits == u32::from(prefix.port) >> bits
            });
            prop_assert_eq!(holds, first <= port && port <= last);
        }
    }
}

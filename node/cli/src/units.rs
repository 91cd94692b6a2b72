//! Numbers as people read them.

/// Nanoseconds: `870ns`, `14.2us`, `1.31ms`, `2.05s`.
pub(crate) fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => format!("{}us", short(ns as f64 / 1e3)),
        1_000_000..1_000_000_000 => format!("{}ms", short(ns as f64 / 1e6)),
        _ => format!("{}s", short(ns as f64 / 1e9)),
    }
}

/// The same; `-` for what is not there.
pub(crate) fn time_or_none(ns: Option<u64>) -> String {
    ns.map_or_else(|| "-".to_owned(), time)
}

/// Bytes, in powers of 1024: `512B`, `3.4Ki`, `12Mi`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "Ki", "Mi", "Gi", "Ti", "Pi"];
    let step = if count == 0 { 0 } else { (count.ilog2() / 10).min(UNITS.len() as u32 - 1) };
    if step == 0 {
        return format!("{count}B");
    }
    format!("{}{}", short(count as f64 / (1_u64 << (10 * step)) as f64), UNITS[step as usize])
}

/// Three digits, or all before the point.
fn short(number: f64) -> String {
    match number {
        n if n < 9.995 => format!("{n:.2}"),
        n if n < 99.95 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_shown() {
        let times = [
            (999, "999ns"),
            (1_000, "1.00us"),
            (14_230, "14.2us"),
            (1_310_000, "1.31ms"),
            (2_050_000_000, "2.05s"),
        ];
        times.iter().for_each(|&(ns, text)| assert_eq!(time(ns), text));
        let sizes = [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00Ki"),
            (3_500, "3.42Ki"),
            (12 << 20, "12.0Mi"),
            (u64::MAX, "16384Pi"),
        ];
        sizes.iter().for_each(|&(count, text)| assert_eq!(bytes(count), text));
    }
}

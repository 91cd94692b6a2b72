//! Upper bounds of histograms.

/// Seconds, where upstream names none.
pub const DEFAULT: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Milliseconds as seconds.
pub fn seconds(bounds_ms: &[u32]) -> Vec<f64> {
    bounds_ms.iter().map(|ms| f64::from(*ms) / 1_000.0).collect()
}

/// `count` bounds from `first` on, each `factor` times the one before.
pub fn exponential(first: f64, factor: f64, count: usize) -> Vec<f64> {
    std::iter::successors(Some(first), |bound| Some(bound * factor)).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_that_were_meant() {
        assert_eq!(seconds(&[5, 1_250]), [0.005, 1.25]);
        assert_eq!(exponential(1_000.0, 10.0, 3), [1_000.0, 10_000.0, 100_000.0]);
    }
}

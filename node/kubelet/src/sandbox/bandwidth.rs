//! The annotations that bound a pod's bandwidth: refused here when they are no rate, because a runtime that refuses them itself
//! does so when the pod is to go, too, and never lets it go. What they do is the network's.

use keelson_semantics::Quantity;
use std::collections::BTreeMap;

/// By the pod's point of view, bits a second.
/// <https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/network-plugins/#support-traffic-shaping>
const ANNOTATIONS: [&str; 2] = ["kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth"];
/// Upstream's bounds: 1k and 1P.
const RATES: std::ops::RangeInclusive<i64> = 1_000..=1_000_000_000_000_000;

/// Says what is wrong with a pod's.
pub(crate) fn check(annotations: &BTreeMap<String, String>) -> Result<(), String> {
    for name in ANNOTATIONS {
        let Some(text) = annotations.get(name) else { continue };
        let rate = text
            .parse::<Quantity>()
            .map_err(|e| format!("the bandwidth {name}: {text:?} is no quantity: {e}"))?;
        if !RATES.contains(&rate.value()) {
            return Err(format!("the bandwidth {name}: {text} is not between 1k and 1P bits a second"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_quantity_from_1k_to_1p() {
        for (text, fine) in [
            ("1k", true),
            ("10M", true),
            ("1Gi", true),
            ("1P", true),
            ("999", false),
            ("0", false),
            ("-1M", false),
            ("1001T", false),
            ("fast", false),
            ("", false),
        ] {
            for name in ANNOTATIONS {
                let annotations = BTreeMap::from([(name.to_owned(), text.to_owned())]);
                assert_eq!(check(&annotations).is_ok(), fine, "{name}: {text}");
            }
        }
        assert!(check(&BTreeMap::new()).is_ok());
    }
}

//! Resource quantities ("500m", "1.5Gi", "1e3"): parsing, arithmetic and the canonical text.
//!
//! The rules are those of the API reference for `resource.Quantity`: the value is exact, nothing finer
//! than a nano-unit is kept (it is rounded away from zero), the kind of suffix is remembered, and the
//! canonical text has no fraction and the largest possible suffix.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod parse;

/// Nano-units in one unit.
const NANO: i128 = 1_000_000_000;
/// Nano-units in one milli-unit.
const NANO_PER_MILLI: i128 = 1_000_000;
/// Decimal suffixes and their powers of ten.
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
/// Binary suffixes and their powers of two.
const BINARY: [(&str, i32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// Which family of suffixes a quantity was written with; it is written back with the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `Ki`, `Mi`, `Gi`, `Ti`, `Pi`, `Ei`.
    BinarySi,
    /// `n`, `u`, `m`, none, `k`, `M`, `G`, `T`, `P`, `E`.
    DecimalSi,
    /// `e3`, `E-3`.
    DecimalExponent,
}

/// Why a text is no quantity. The texts are those of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the form `<signed number><suffix>`.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// A suffix that is in no family.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An exact amount of a resource. Equality and order are by value; the format does not count.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

impl Quantity {
    /// Nothing, in decimal form.
    pub const ZERO: Quantity = Quantity { nano: 0, format: Format::DecimalSi };

    /// A whole number of units.
    #[must_use]
    pub const fn from_units(units: i64, format: Format) -> Quantity {
        Quantity { nano: units as i128 * NANO, format }
    }

    /// A whole number of milli-units (`500` is half a CPU).
    #[must_use]
    pub const fn from_milli(milli: i64) -> Quantity {
        Quantity { nano: milli as i128 * NANO_PER_MILLI, format: Format::DecimalSi }
    }

    /// The amount in units, rounded away from zero.
    #[must_use]
    pub fn value(self) -> i64 {
        clamp(round_away(self.nano, NANO))
    }

    /// The amount in milli-units, rounded away from zero.
    #[must_use]
    pub fn milli_value(self) -> i64 {
        clamp(round_away(self.nano, NANO_PER_MILLI))
    }

    /// The amount in units, if it is whole.
    #[must_use]
    pub fn as_i64(self) -> Option<i64> {
        (self.nano % NANO == 0).then(|| i64::try_from(self.nano / NANO).ok()).flatten()
    }

    /// The amount as a float, for ratios and display only.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        self.nano as f64 / NANO as f64
    }

    /// Whether it is exactly nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.nano == 0
    }

    /// Whether it is below nothing.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.nano < 0
    }

    /// The suffix family.
    #[must_use]
    pub const fn format(self) -> Format {
        self.format
    }

    /// Rounded away from zero to whole milli-units: what API defaulting does to every ResourceList.
    #[must_use]
    pub fn round_up_to_milli(self) -> Quantity {
        Quantity { nano: round_away(self.nano, NANO_PER_MILLI) * NANO_PER_MILLI, ..self }
    }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// `value / unit`, away from zero when it does not divide.
fn round_away(value: i128, unit: i128) -> i128 {
    let quotient = value / unit;
    if value % unit == 0 { quotient } else { quotient + value.signum() }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        match self.format {
            Format::BinarySi if self.nano.abs() >= 1024 * NANO && self.nano % NANO == 0 => {
                self.write_binary(f)
            }
            Format::BinarySi | Format::DecimalSi => self.write_decimal(f, false),
            Format::DecimalExponent => self.write_decimal(f, true),
        }
    }
}

impl Quantity {
    fn write_binary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut mantissa = self.nano / NANO;
        let mut suffix = "";
        for (next, _) in BINARY {
            if mantissa % 1024 != 0 {
                break;
            }
            mantissa /= 1024;
            suffix = next;
        }
        write!(f, "{mantissa}{suffix}")
    }

    fn write_decimal(&self, f: &mut fmt::Formatter<'_>, as_exponent: bool) -> fmt::Result {
        let mut mantissa = self.nano;
        let mut step = 0;
        // The largest exponent that is a multiple of three, within the suffixes that exist.
        while mantissa % 1000 == 0 && (as_exponent || step + 1 < DECIMAL.len()) {
            mantissa /= 1000;
            step += 1;
        }
        let exponent = i32::try_from(step).unwrap_or(i32::MAX) * 3 - 9;
        match (as_exponent, exponent) {
            (true, 0) => write!(f, "{mantissa}"),
            (true, exponent) => write!(f, "{mantissa}e{exponent}"),
            (false, _) => write!(f, "{mantissa}{}", DECIMAL[step].0),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl Default for Quantity {
    fn default() -> Quantity {
        Quantity::ZERO
    }
}

impl Quantity {
    /// The result keeps the left format, unless the left is nothing.
    fn combined(self, other: Quantity, nano: i128) -> Quantity {
        Quantity { nano, format: if self.nano == 0 { other.format } else { self.format } }
    }
}

impl Add for Quantity {
    type Output = Quantity;
    fn add(self, other: Quantity) -> Quantity {
        self.combined(other, self.nano.saturating_add(other.nano))
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Quantity) {
        *self = *self + other;
    }
}

impl Sub for Quantity {
    type Output = Quantity;
    fn sub(self, other: Quantity) -> Quantity {
        self.combined(other, self.nano.saturating_sub(other.nano))
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Quantity) {
        *self = *self - other;
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quantity, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Quantity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.trim().parse().map_err(E::custom)
            }
            fn visit_i64<E: serde::de::Error>(self, units: i64) -> Result<Quantity, E> {
                Ok(Quantity::from_units(units, Format::DecimalSi))
            }
            fn visit_u64<E: serde::de::Error>(self, units: u64) -> Result<Quantity, E> {
                units.to_string().parse().map_err(E::custom)
            }
            fn visit_f64<E: serde::de::Error>(self, units: f64) -> Result<Quantity, E> {
                units.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests;

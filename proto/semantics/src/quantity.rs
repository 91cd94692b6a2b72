//! Resource quantities ("500m", "1.5Gi", "1e3"): parsing, arithmetic and the canonical text.
//!
//! The rules are those of the API reference for `resource.Quantity`: the value is exact, nothing finer
//! than a nano-unit is kept (it is rounded away from zero), the kind of suffix is remembered, and the
//! canonical text has no fraction and the largest possible suffix.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Nano-units in one unit.
const NANO: i128 = 1_000_000_000;
/// Nano-units in one milli-unit.
const NANO_PER_MILLI: i128 = 1_000_000;
/// The API's cap for binary suffixes: 2^63-1 units.
const BINARY_MAX_NANO: i128 = i64::MAX as i128 * NANO;
/// Our cap for decimal ones, 10^28 units: what is exact in 128 bits. The API server has none there.
const DECIMAL_MAX_NANO: i128 = 10i128.pow(DECIMAL_PLACES_MAX as u32);
/// Decimal places of [`DECIMAL_MAX_NANO`].
const DECIMAL_PLACES_MAX: i32 = 37;

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

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Quantity, QuantityError> {
        if text.is_empty() {
            return Err(QuantityError::Format);
        }
        let (negative, rest) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, rest) = split_digits(rest);
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => split_digits(rest),
            None => ("", rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(QuantityError::Format);
        }
        let suffix = Suffix::parse(suffix)?;
        let amount = suffix.scale(whole.trim_start_matches('0'), fraction);
        let format = match suffix.format {
            Format::BinarySi if amount > 0 && amount < NANO => Format::DecimalSi,
            format => format,
        };
        Ok(Quantity { nano: if negative { -amount } else { amount }, format })
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// What a suffix multiplies with: `10^exponent`, or `2^exponent` for the binary family.
struct Suffix {
    format: Format,
    exponent: i32,
}

const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, i32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

impl Suffix {
    fn parse(text: &str) -> Result<Suffix, QuantityError> {
        if let Some(&(_, exponent)) = DECIMAL.iter().find(|(suffix, _)| *suffix == text) {
            return Ok(Suffix { format: Format::DecimalSi, exponent });
        }
        if let Some(&(_, exponent)) = BINARY.iter().find(|(suffix, _)| *suffix == text) {
            return Ok(Suffix { format: Format::BinarySi, exponent });
        }
        // `[eEinumkKMGTP]*[-+]?[0-9]*` is well-formed; anything else is not a quantity at all.
        let letters = text.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
        let digits = letters.strip_prefix(['-', '+']).unwrap_or(letters);
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(QuantityError::Format);
        }
        text.strip_prefix(['e', 'E'])
            .and_then(|exponent| exponent.parse::<i32>().ok())
            .map(|exponent| Suffix { format: Format::DecimalExponent, exponent })
            .ok_or(QuantityError::Suffix)
    }

    /// Nano-units of `whole.fraction` times this suffix, capped, and rounded up from below a nano-unit.
    fn scale(&self, whole: &str, fraction: &str) -> i128 {
        let (power, factor, max) = match self.format {
            Format::BinarySi => (0, 1i128 << self.exponent, BINARY_MAX_NANO),
            Format::DecimalSi | Format::DecimalExponent => (self.exponent, 1, DECIMAL_MAX_NANO),
        };
        // The digits as one integer times 10^shift nano-units.
        let shift = power.saturating_add(9).saturating_sub(i32::try_from(fraction.len()).unwrap_or(i32::MAX));
        let mut digits = whole.bytes().chain(fraction.bytes()).skip_while(|b| *b == b'0').peekable();
        if digits.peek().is_none() {
            return 0;
        }
        let digits: Vec<u8> = digits.collect();
        let places = i32::try_from(digits.len()).unwrap_or(i32::MAX).saturating_add(shift);
        if places > DECIMAL_PLACES_MAX {
            return max;
        }
        if factor == 1 { shifted(&digits, shift) } else { shifted_product(&digits, shift, factor) }.min(max)
    }
}

/// `digits * 10^shift`, rounded up.
fn shifted(digits: &[u8], shift: i32) -> i128 {
    if shift >= 0 {
        return digits_to_int(digits) * 10i128.pow(shift.unsigned_abs());
    }
    let kept = digits.len().saturating_sub(usize::try_from(shift.unsigned_abs()).unwrap_or(usize::MAX));
    let (kept, cut) = digits.split_at(kept);
    digits_to_int(kept) + i128::from(cut.iter().any(|b| *b != b'0'))
}

/// `digits * 10^shift * factor`, rounded up; the binary suffixes, whose shift is 9 less the fraction's digits.
fn shifted_product(digits: &[u8], shift: i32, factor: i128) -> i128 {
    if shift >= 0 {
        return shifted(digits, shift).saturating_mul(factor);
    }
    // Fractions longer than 27 digits cannot change a nano-unit of 2^60 but by rounding up.
    let cut = digits.len().saturating_sub(27);
    let sticky = digits[digits.len() - cut..].iter().any(|b| *b != b'0');
    let digits_kept = digits_to_int(&digits[..digits.len() - cut]);
    let divisor_power = shift.unsigned_abs().saturating_sub(u32::try_from(cut).unwrap_or(u32::MAX));
    let Some(divisor) = 10i128.checked_pow(divisor_power) else { return 1 };
    // digits_kept < 10^27 and factor <= 2^60: split so that no product passes 2^127.
    let (high, low) = (digits_kept / divisor, digits_kept % divisor);
    let low_product = mul_div_up(low, factor, divisor, sticky);
    high.saturating_mul(factor).saturating_add(low_product)
}

/// `ceil(low * factor / divisor)` for `low < divisor <= 10^27` and `factor` a power of two up to 2^60.
fn mul_div_up(low: i128, factor: i128, divisor: i128, sticky: bool) -> i128 {
    let (mut quotient, mut remainder) = (0i128, low);
    let mut bits = factor;
    while bits > 1 {
        quotient <<= 1;
        remainder <<= 1;
        if remainder >= divisor {
            remainder -= divisor;
            quotient += 1;
        }
        bits >>= 1;
    }
    quotient + i128::from(remainder > 0 || sticky)
}

fn digits_to_int(digits: &[u8]) -> i128 {
    digits.iter().fold(0i128, |sum, b| sum.saturating_mul(10).saturating_add(i128::from(b - b'0')))
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

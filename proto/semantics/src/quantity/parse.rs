//! Reads the text of a quantity into nano-units, exactly, rounding up what is finer and capping what is too large.

use std::str::FromStr;

use super::{BINARY, DECIMAL, Format, NANO, Quantity, QuantityError};

/// The API's cap for binary suffixes: 2^63-1 units.
const BINARY_MAX_NANO: i128 = i64::MAX as i128 * NANO;
/// Our cap for decimal ones, 10^28 units: what is exact in 128 bits. The API server has none there.
const DECIMAL_MAX_NANO: i128 = 10i128.pow(DECIMAL_PLACES_MAX as u32);
/// Digits of a binary quantity's mantissa that are kept.
const MANTISSA_DIGITS_MAX: usize = 27;
/// Largest power of ten that is doubled without overflow.
const DIVISOR_POWER_MAX: usize = 37;
/// Decimal places of [`DECIMAL_MAX_NANO`].
const DECIMAL_PLACES_MAX: i32 = 37;

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
    // Only as many digits as keep every product below 2^127; what is cut is less than a nano-unit and rounds up.
    let power = usize::try_from(shift.unsigned_abs()).unwrap_or(usize::MAX);
    let surplus = digits.len().saturating_sub(MANTISSA_DIGITS_MAX);
    let cut = surplus.max(power.saturating_sub(DIVISOR_POWER_MAX)).min(digits.len());
    let Some(divisor_power) = power.checked_sub(cut) else { return BINARY_MAX_NANO };
    let (kept, lost) = digits.split_at(digits.len() - cut);
    let sticky = lost.iter().any(|b| *b != b'0');
    let divisor = 10i128.pow(u32::try_from(divisor_power.min(DIVISOR_POWER_MAX)).unwrap_or(u32::MAX));
    let kept = digits_to_int(kept);
    let (high, low) = (kept / divisor, kept % divisor);
    high.saturating_mul(factor).saturating_add(mul_div_up(low, factor, divisor, sticky))
}

/// `ceil(low * factor / divisor)` for `low < divisor <= 10^37` and `factor` a power of two up to 2^60.
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

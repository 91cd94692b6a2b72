//! Tags, numbers and lengths. <https://protobuf.dev/programming-guides/encoding/>

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

/// The longest varint.
pub(super) const VARINT_BYTES_MAX: usize = 10;

pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that a varint takes.
pub(crate) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_tag(number: u32, wire_type: u32, out: &mut Vec<u8>) {
    put_varint(u64::from(number << 3 | wire_type), out);
}

pub(crate) fn put_tag_varint(number: u32, value: u64, out: &mut Vec<u8>) {
    put_tag(number, VARINT, out);
    put_varint(value, out);
}

pub(crate) fn put_tag_double(number: u32, value: f64, out: &mut Vec<u8>) {
    put_tag(number, FIXED64, out);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

/// The head of a field of so many bytes.
pub(crate) fn put_tag_len(number: u32, len: usize, out: &mut Vec<u8>) {
    put_tag(number, BYTES, out);
    put_varint(len as u64, out);
}

pub(crate) fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_tag_len(number, bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// A field whose content is written in place, its length put before it when it is known.
pub(crate) fn nested<E>(
    number: u32,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    put_tag(number, BYTES, out);
    let at = out.len();
    // Most messages are shorter than 128 bytes, whose length takes one.
    out.push(0);
    write(out)?;
    let len = out.len() - at - 1;
    if len < 0x80 {
        out[at] = len as u8;
    } else {
        let mut head = Vec::with_capacity(VARINT_BYTES_MAX);
        put_varint(len as u64, &mut head);
        out.splice(at..=at, head);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_the_bytes_that_are_said() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(value, &mut out);
            assert_eq!(out.len(), varint_len(value), "{value}");
        }
        let mut out = Vec::new();
        put_varint(300, &mut out);
        assert_eq!(out, [0xac, 0x02]);
    }

    #[test]
    fn a_length_stands_before_its_content() {
        for len in [0, 1, 127, 128, 20_000] {
            let mut out = vec![9];
            let content = vec![7; len];
            let written: Result<(), ()> = nested(1, &mut out, |out| {
                out.extend_from_slice(&content);
                Ok(())
            });
            let mut expected = vec![9];
            put_bytes(1, &content, &mut expected);
            assert_eq!((written, out), (Ok(()), expected), "{len}");
        }
    }
}

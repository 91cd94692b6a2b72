//! The protobuf wire format: fields with their numbers. <https://protobuf.dev/programming-guides/encoding/>

use super::ProtobufError;

/// One field as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field<'a> {
    /// Integers and booleans.
    Varint(u64),
    /// Doubles.
    Fixed64(u64),
    /// Texts, bytes, messages.
    Bytes(&'a [u8]),
}

/// Reads the fields of a message one after the other.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next field's number and value; None at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, ProtobufError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => {
                let bytes = self.take(8)?;
                Field::Fixed64(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
            }
            2 => {
                let length = self.varint()?;
                let length =
                    usize::try_from(length).map_err(|_| ProtobufError::Malformed("a length is too large"))?;
                Field::Bytes(self.take(length)?)
            }
            _ => return Err(ProtobufError::Malformed("a wire type that Kubernetes does not use")),
        };
        Ok(Some((tag >> 3, field)))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], ProtobufError> {
        let (taken, rest) =
            self.rest.split_at_checked(count).ok_or(ProtobufError::Malformed("it ends within a field"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ProtobufError::Malformed("a number of more than ten bytes"))
    }
}

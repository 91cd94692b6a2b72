//! JSON for people: what was written in one line, on many.

use bytes::BufMut;

/// Indents JSON as it comes, in pieces of any size, two blanks a level; spaces that stand outside of texts are replaced.
#[derive(Debug, Default)]
pub(crate) struct Indent {
    depth: usize,
    in_text: bool,
    /// The character before was a backslash in a text.
    escaped: bool,
    /// A bracket was opened and nothing has followed.
    opened: bool,
}

impl Indent {
    /// All of a document.
    pub(crate) fn whole(json: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(json.len() * 3 / 2);
        Self::default().push(json, &mut out);
        out
    }

    /// The next piece.
    pub(crate) fn push(&mut self, json: &[u8], out: &mut impl BufMut) {
        for byte in json {
            if self.in_text {
                self.in_text = self.escaped || *byte != b'"';
                self.escaped = !self.escaped && *byte == b'\\';
                out.put_u8(*byte);
            } else {
                self.token(*byte, out);
            }
        }
    }

    fn token(&mut self, byte: u8, out: &mut impl BufMut) {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => {}
            b',' => {
                out.put_u8(byte);
                self.line(out);
            }
            b':' => out.put_slice(b": "),
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if !std::mem::take(&mut self.opened) {
                    self.line(out);
                }
                out.put_u8(byte);
            }
            _ => {
                if std::mem::take(&mut self.opened) {
                    self.line(out);
                }
                out.put_u8(byte);
                self.in_text = byte == b'"';
                if matches!(byte, b'{' | b'[') {
                    self.depth += 1;
                    self.opened = true;
                }
            }
        }
    }

    fn line(&self, out: &mut impl BufMut) {
        out.put_u8(b'\n');
        out.put_bytes(b' ', 2 * self.depth);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn documents() -> [Value; 5] {
        [
            json!({"a": [1, {"b": "x"}, [], {}], "c": {"d": null}, "e": "\"{[,:]} \\"}),
            json!([]),
            json!([[[1, 2], "é\n"], true]),
            json!("a: b"),
            json!({"a": {}, "b": [{}], "c": -1.5e3}),
        ]
    }

    #[test]
    fn it_reads_as_serde_would_write_it() {
        for document in documents() {
            let wanted = serde_json::to_string_pretty(&document).unwrap();
            let told = [document.to_string(), format!(" {wanted}\n")];
            for text in told {
                assert_eq!(String::from_utf8(Indent::whole(text.as_bytes())).unwrap(), wanted);
            }
        }
    }

    #[test]
    fn pieces_may_end_anywhere() {
        for document in documents() {
            let text = document.to_string();
            for at in 0..text.len() {
                let (mut indent, mut out) = (Indent::default(), Vec::new());
                indent.push(&text.as_bytes()[..at], &mut out);
                indent.push(&text.as_bytes()[at..], &mut out);
                assert_eq!(out, Indent::whole(text.as_bytes()), "{text} at {at}");
            }
        }
    }
}

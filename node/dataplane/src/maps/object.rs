//! Where the compiled programs come from.

use std::{borrow::Cow, fs, path::PathBuf};

use keelson_ebpf_common::layout::MARK;

use crate::Error;

/// The compiled programs.
#[derive(Clone, Debug, Default)]
pub enum Object {
    /// Those compiled into this binary (`KEELSON_EBPF_OBJ` at build time); else the file `../ebpf/sock.o` (and `tc.o`, `xdp.o`) beside the
    /// folder of the running executable, which is where `cargo xtask ebpf` and an installation put it.
    #[default]
    Installed,
    /// A certain file of the socket programs; `tc.o` and `xdp.o` lie beside it.
    File(PathBuf),
}

/// Which of the object files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// `sock.o`.
    Sockets,
    /// `tc.o`.
    Packets,
    /// `xdp.o`.
    Wire,
}

impl Part {
    const fn file_name(self) -> &'static str {
        match self {
            Self::Sockets => "sock.o",
            Self::Packets => "tc.o",
            Self::Wire => "xdp.o",
        }
    }

    const fn embedded(self) -> Option<&'static [u8]> {
        match self {
            Self::Sockets => EMBEDDED,
            Self::Packets => EMBEDDED_PACKETS,
            Self::Wire => EMBEDDED_WIRE,
        }
    }
}

#[cfg(embedded_ebpf)]
const EMBEDDED: Option<&[u8]> = Some(aya::include_bytes_aligned!(env!("KEELSON_EBPF_OBJ")));
#[cfg(not(embedded_ebpf))]
const EMBEDDED: Option<&[u8]> = None;
#[cfg(embedded_ebpf)]
const EMBEDDED_PACKETS: Option<&[u8]> = Some(aya::include_bytes_aligned!(env!("KEELSON_EBPF_PACKETS_OBJ")));
#[cfg(not(embedded_ebpf))]
const EMBEDDED_PACKETS: Option<&[u8]> = None;
#[cfg(embedded_ebpf)]
const EMBEDDED_WIRE: Option<&[u8]> = Some(aya::include_bytes_aligned!(env!("KEELSON_EBPF_WIRE_OBJ")));
#[cfg(not(embedded_ebpf))]
const EMBEDDED_WIRE: Option<&[u8]> = None;

impl Object {
    /// The bytes of one of the object files, of this binary's own layout.
    pub(crate) fn read(&self, part: Part) -> Result<Cow<'static, [u8]>, Error> {
        let (bytes, origin) = match (self, part.embedded()) {
            (Self::Installed, Some(bytes)) => (Cow::Borrowed(bytes), "this binary".to_owned()),
            (Self::Installed, None) => read_file(installed_path()?.with_file_name(part.file_name()))?,
            (Self::File(path), _) => match part {
                Part::Sockets => read_file(path.clone())?,
                Part::Packets | Part::Wire => read_file(path.with_file_name(part.file_name()))?,
            },
        };
        if bytes.windows(MARK.len()).any(|window| window == MARK) {
            Ok(bytes)
        } else {
            Err(Error::ForeignObject { origin })
        }
    }
}

fn installed_path() -> Result<PathBuf, Error> {
    let exe = std::env::current_exe().map_err(|source| Error::File {
        doing: "finding the running executable",
        path: "/proc/self/exe".into(),
        source,
    })?;
    Ok(exe.parent().and_then(|folder| folder.parent()).unwrap_or(&exe).join("ebpf/sock.o"))
}

fn read_file(path: PathBuf) -> Result<(Cow<'static, [u8]>, String), Error> {
    match fs::read(&path) {
        Ok(bytes) => Ok((Cow::Owned(bytes), path.display().to_string())),
        Err(source) => Err(Error::NoObject { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_another_layout_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock.o");
        fs::write(&path, b"keelson layout: 12345678").unwrap();
        assert!(matches!(Object::File(path.clone()).read(Part::Sockets), Err(Error::ForeignObject { .. })));
        fs::write(&path, [&b"ELF"[..], &MARK, &b"..."[..]].concat()).unwrap();
        assert!(Object::File(path).read(Part::Sockets).is_ok());
    }

    #[test]
    fn a_missing_object_says_how_to_get_it() {
        let error = Object::File("/nowhere/sock.o".into()).read(Part::Sockets).unwrap_err();
        assert!(
            error.to_string().contains("/nowhere/sock.o") && error.to_string().contains("cargo xtask ebpf")
        );
    }
}

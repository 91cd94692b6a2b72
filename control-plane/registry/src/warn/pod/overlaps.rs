//! Files that a volume would have twice, or within each other.
//!
//! The last of them would win, or the volume could not be made at all.

use super::{COMPARED_MAX, Notes, quote};
use crate::meta;
use serde_json::Value;
use std::fmt;

/// Where a file of a volume comes from; shown behind its path where the volume has several sources.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// The volume's only one.
    Own,
    /// A kind.
    Kind(&'static str),
    /// A kind and a name.
    Named(&'static str, &'a str),
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Own => Ok(()),
            Source::Kind(kind) => f.write_str(kind),
            Source::Named(kind, name) => write!(f, "{kind} {}", quote(name)),
        }
    }
}

struct File<'a> {
    path: &'a str,
    source: Source<'a>,
}

impl fmt::Display for File<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote(self.path))?;
        match self.source {
            Source::Own => Ok(()),
            source => write!(f, " ({source})"),
        }
    }
}

/// A volume of whatever sort.
pub(super) fn check(volume: &Value, notes: &mut Notes) {
    let rows = [
        ("configMap", "ConfigMap", "name"),
        ("secret", "Secret", "secretName"),
        ("downwardAPI", "DownwardAPI", ""),
    ];
    for (key, kind, name) in rows {
        let Some(source) = meta::at(volume, &[key]) else { continue };
        let files: Vec<_> = items(source, Source::Own).take(COMPARED_MAX).collect();
        let described = if name.is_empty() {
            Source::Kind(kind)
        } else {
            Source::Named(kind, meta::text(source, &[name]))
        };
        compare(volume, described, &files, notes);
    }
    if let Some(source) = meta::at(volume, &["projected"]) {
        projected(volume, source, notes);
    }
}

fn projected(volume: &Value, projected: &Value, notes: &mut Notes) {
    let mut files = Vec::new();
    for source in meta::items(projected, &["sources"]) {
        if meta::entries(source, &[]).all(|(_, one)| one.is_null()) {
            let name = quote(meta::text(volume, &["name"]));
            notes.say(format_args!("volume {name} (Projected) has no sources provided"));
        }
        files_of(source, &mut files);
    }
    files.truncate(COMPARED_MAX);
    compare(volume, Source::Kind("Projected"), &files, notes);
}

/// The files of one source of a projected volume.
fn files_of<'a>(source: &'a Value, files: &mut Vec<File<'a>>) {
    for (key, kind) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
        if let Some(own) = meta::at(source, &[key]) {
            files.extend(items(own, Source::Named(kind, meta::text(own, &["name"]))));
        }
    }
    if let Some(own) = meta::at(source, &["downwardAPI"]) {
        files.extend(items(own, Source::Kind("DownwardAPI")));
    }
    if let Some(own) = meta::at(source, &["serviceAccountToken"]) {
        files.extend(file(own, "path", Source::Kind("ServiceAccountToken")));
    }
    if let Some(own) = meta::at(source, &["clusterTrustBundle"]) {
        let key = if meta::at(own, &["name"]).is_some() { "name" } else { "signerName" };
        files.extend(file(own, "path", Source::Named("ClusterTrustBundle", meta::text(own, &[key]))));
    }
    if let Some(own) = meta::at(source, &["podCertificate"]) {
        let rows = [
            ("certificateChainPath", "PodCertificate chain"),
            ("keyPath", "PodCertificate key"),
            ("credentialBundlePath", "PodCertificate credential bundle"),
        ];
        files.extend(rows.into_iter().filter_map(|(key, kind)| file(own, key, Source::Kind(kind))));
    }
}

fn items<'a>(parent: &'a Value, source: Source<'a>) -> impl Iterator<Item = File<'a>> {
    meta::items(parent, &["items"]).iter().filter_map(move |item| file(item, "path", source))
}

/// Without a path there is no file; slashes at its end say nothing.
fn file<'a>(parent: &'a Value, key: &str, source: Source<'a>) -> Option<File<'a>> {
    let path = meta::text(parent, &[key]).trim_end_matches('/');
    (!path.is_empty()).then_some(File { path, source })
}

/// Each file with those before it.
fn compare(volume: &Value, described: Source<'_>, files: &[File<'_>], notes: &mut Notes) {
    for (index, file) in files.iter().enumerate() {
        for other in files[..index].iter().filter(|other| overlap(file.path, other.path)) {
            let name = quote(meta::text(volume, &["name"]));
            notes.say(format_args!("volume {name} ({described}): overlapping paths: {file} with {other}"));
        }
        if notes.is_full() {
            return;
        }
    }
}

/// Whether two paths are the same, or one is a directory above the other.
fn overlap(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

//! Container logs on disk: the line format that every CRI runtime writes, and rotation.
//! Format: Kubernetes documentation, "Kubelet logs/CRI logging": `<time> <stream> <P|F> <text>`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keelson_runtime::{Runtime, keys};

use crate::config::Config;

/// A log is rotated when it is longer (upstream's containerLogMaxSize).
const BYTES_MAX: u64 = 10 << 20;
/// Rotated files kept beside the present one (upstream's containerLogMaxFiles is 5 with it).
const ROTATED_MAX: usize = 4;
/// How often sizes are looked at.
const INTERVAL: Duration = Duration::from_secs(10);

/// One line of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// RFC 3339 with nanoseconds.
    pub time: &'a str,
    /// Standard error rather than standard output.
    pub stderr: bool,
    /// The program's line goes on in the next one.
    pub partial: bool,
    /// What the program wrote, without the line's end.
    pub content: &'a [u8],
}

/// Reads a line, with or without its end. `None`: not in the format.
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(fields.next()?).ok()?;
    let stderr = match fields.next()? {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    let tag = fields.next()?;
    let partial = tag.split(|byte| *byte == b':').next() == Some(b"P");
    Some(Line { time, stderr, partial, content: fields.next().unwrap_or_default() })
}

/// Rotates long logs until the process ends.
pub(crate) async fn rotate(config: Config, runtime: std::sync::Arc<dyn Runtime>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        let long = long_logs(&config.root.join("logs").join("pods"));
        if long.is_empty() {
            continue;
        }
        match runtime.containers().await {
            Ok(containers) => {
                for container in containers {
                    let path = log_of(&config, &container);
                    if path.is_some_and(|path| long.contains(&path))
                        && let Some(path) = log_of(&config, &container)
                        && let Err(error) = rotate_one(runtime.as_ref(), &path, &container.id).await
                    {
                        tracing::warn!(log = %path.display(), %error, "a log could not be rotated");
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "cannot list containers for log rotation"),
        }
    }
}

/// The present log of a container that this kubelet made.
pub fn log_of(config: &Config, container: &keelson_runtime::v1::Container) -> Option<PathBuf> {
    let label = |key: &str| container.labels.get(key).map(String::as_str);
    let dir = config.log_dir(label(keys::POD_NAMESPACE)?, label(keys::POD_NAME)?, label(keys::POD_UID)?);
    let metadata = container.metadata.as_ref()?;
    Some(dir.join(Config::log_path(&metadata.name, metadata.attempt)))
}

fn children(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn long_logs(root: &Path) -> Vec<PathBuf> {
    let containers = children(root).into_iter().flat_map(|pod| children(&pod));
    let files = containers.flat_map(|container| children(&container));
    let present = files.filter(|file| file.extension().is_some_and(|extension| extension == "log"));
    present.filter(|file| fs::metadata(file).is_ok_and(|data| data.len() > BYTES_MAX)).collect()
}

async fn rotate_one(runtime: &dyn Runtime, path: &Path, id: &str) -> io::Result<()> {
    let stamp = k8s_openapi::jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    let rotated = PathBuf::from(format!("{}.{stamp}", path.display()));
    fs::rename(path, &rotated)?;
    if let Err(error) = runtime.reopen_log(id).await {
        // The runtime still writes into the old file: it gets its name back.
        fs::rename(&rotated, path)?;
        return Err(io::Error::other(error));
    }
    let Some(dir) = path.parent() else { return Ok(()) };
    let prefix = format!("{}.", path.display());
    let mut old: Vec<PathBuf> =
        children(dir).into_iter().filter(|file| file.display().to_string().starts_with(&prefix)).collect();
    old.sort();
    for file in old.iter().take(old.len().saturating_sub(ROTATED_MAX)) {
        fs::remove_file(file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_runtimes_write_them() {
        let line = parse(b"2016-10-06T00:17:09.669794202Z stdout F a message\n").unwrap();
        assert_eq!((line.time, line.stderr, line.partial), ("2016-10-06T00:17:09.669794202Z", false, false));
        assert_eq!(line.content, b"a message");
        assert!(parse(b"2016-10-06T00:17:09Z stderr P part").unwrap().partial);
        assert_eq!(parse(b"2016-10-06T00:17:09Z stdout F ").unwrap().content, b"");
        assert_eq!(parse(b"not a log line"), None);
    }
}

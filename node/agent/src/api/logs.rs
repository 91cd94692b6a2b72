//! `/containerLogs`: a container's log from its file, and what is added to it for those who follow.
//! Parameters and messages: API reference, PodLogOptions.

use std::io::SeekFrom;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::{StatusCode, Uri};
use keelson_kubelet::{Kubelet, logs};
use keelson_runtime::v1;
use keelson_sys::inotify::FileWatch;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};
use tokio::sync::mpsc;

use super::streams::form;
use super::{Refusal, find_container};

/// Chunks that wait for a slow reader at most, and about how long each is.
const CHUNKS_MAX: usize = 8;
const CHUNK_BYTES: usize = 16 << 10;
/// Longest line that is held at once; runtimes split at 16 kB.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// A follower asks at least so often whether the container still runs; normally the closing of the file tells.
const ALIVE_CHECK: Duration = Duration::from_secs(5);

/// The query, as the API server passes it on.
#[derive(Clone, Debug, Default)]
struct Options {
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail_lines: Option<i64>,
    since_seconds: Option<i64>,
    since_time: Option<String>,
    limit_bytes: Option<u64>,
    stream: Option<String>,
}

impl Options {
    fn of(uri: &Uri) -> Result<Self, Refusal> {
        let mut options = Self::default();
        for (key, value) in form(uri) {
            let wrong = || Refusal(StatusCode::BAD_REQUEST, format!("{key}={value:?} is not a number"));
            let on = matches!(value.as_str(), "1" | "true");
            match key.as_str() {
                "follow" => options.follow = on,
                "previous" => options.previous = on,
                "timestamps" => options.timestamps = on,
                "tailLines" => options.tail_lines = Some(value.parse().map_err(|_| wrong())?),
                "sinceSeconds" => options.since_seconds = Some(value.parse().map_err(|_| wrong())?),
                "limitBytes" => options.limit_bytes = Some(value.parse().map_err(|_| wrong())?),
                "sinceTime" => options.since_time = Some(value),
                "stream" => options.stream = Some(value),
                _ => {}
            }
        }
        Ok(options)
    }
}

/// What lines are wanted, and how they are written.
struct Filter {
    since: Option<String>,
    timestamps: bool,
    stderr: Option<bool>,
    left: u64,
}

impl Filter {
    fn of(options: &Options) -> Result<Self, Refusal> {
        let since = match (&options.since_time, options.since_seconds) {
            (Some(text), _) => Some(text.parse::<k8s_openapi::jiff::Timestamp>().map_err(|e| {
                Refusal(StatusCode::BAD_REQUEST, format!("sinceTime {text:?} is not a time: {e}"))
            })?),
            (None, Some(seconds)) => {
                let ago = Duration::from_secs(seconds.max(0).unsigned_abs());
                k8s_openapi::jiff::Timestamp::try_from(SystemTime::now() - ago).ok()
            }
            (None, None) => None,
        };
        let stderr = match options.stream.as_deref() {
            None | Some("All") => None,
            Some("Stdout") => Some(false),
            Some("Stderr") => Some(true),
            Some(other) => {
                return Err(Refusal(
                    StatusCode::BAD_REQUEST,
                    format!("stream {other:?} must be All, Stdout or Stderr"),
                ));
            }
        };
        Ok(Self {
            // Runtimes write UTC with nanoseconds: texts compare like times.
            since: since.map(|time| format!("{time:.9}")),
            timestamps: options.timestamps,
            stderr,
            left: options.limit_bytes.unwrap_or(u64::MAX),
        })
    }

    /// Adds one line of the file to `out`. `false`: the limit is reached.
    fn write(&mut self, raw: &[u8], continues: &mut bool, out: &mut BytesMut) -> bool {
        let Some(line) = logs::parse(raw) else { return true };
        let wanted = self.since.as_deref().is_none_or(|since| line.time >= since)
            && self.stderr.is_none_or(|stderr| line.stderr == stderr);
        if !wanted {
            return true;
        }
        let before = out.len();
        if self.timestamps && !*continues {
            out.extend_from_slice(line.time.as_bytes());
            out.extend_from_slice(b" ");
        }
        out.extend_from_slice(line.content);
        if !line.partial {
            out.extend_from_slice(b"\n");
        }
        *continues = line.partial;
        let added = (out.len() - before) as u64;
        if added > self.left {
            out.truncate(before + usize::try_from(self.left).unwrap_or(usize::MAX));
        }
        self.left = self.left.saturating_sub(added);
        self.left > 0
    }
}

pub(super) async fn logs(
    State(kubelet): State<Arc<Kubelet>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let options = Options::of(&uri)?;
    let filter = Filter::of(&options)?;
    let found = find_container(&kubelet, &namespace, &pod, &container, options.previous).await?;
    let path = logs::log_of(&kubelet.config, &found)
        .ok_or_else(|| Refusal(StatusCode::NOT_FOUND, "the container has no log".to_owned()))?;
    let mut file = File::open(&path).await.map_err(|e| {
        Refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot open {}: {e}", path.display()))
    })?;
    if let Some(lines) = options.tail_lines {
        let start = tail_start(&mut file, lines.max(0).unsigned_abs()).await;
        let seek = async { file.seek(SeekFrom::Start(start?)).await };
        seek.await.map_err(|e| Refusal(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    }
    let (chunks, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(CHUNKS_MAX);
    let follow = options.follow && found.state() == v1::ContainerState::ContainerRunning;
    let job = Job { kubelet, id: found.id, path, filter, follow, chunks };
    tokio::spawn(async move {
        let chunks = job.chunks.clone();
        if let Err(error) = job.run(file).await {
            let _ = chunks.send(Err(error)).await;
        }
    });
    let stream = futures::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    });
    Ok(([(http::header::CONTENT_TYPE, "text/plain")], Body::from_stream(stream)).into_response())
}

/// Where the last `lines` lines begin.
async fn tail_start(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let length = file.seek(SeekFrom::End(0)).await?;
    if lines == 0 {
        return Ok(length);
    }
    let (mut end, mut seen) = (length, 0);
    let mut buffer = vec![0; CHUNK_BYTES];
    while end > 0 {
        let start = end.saturating_sub(CHUNK_BYTES as u64);
        let chunk = &mut buffer[..usize::try_from(end - start).unwrap_or(CHUNK_BYTES)];
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(chunk).await?;
        for (at, byte) in chunk.iter().enumerate().rev() {
            let position = start + at as u64;
            // The newline at the very end ends the last line, it does not begin one.
            if *byte == b'\n' && position + 1 != length {
                seen += 1;
                if seen == lines {
                    return Ok(position + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

struct Job {
    kubelet: Arc<Kubelet>,
    id: String,
    path: PathBuf,
    filter: Filter,
    follow: bool,
    chunks: mpsc::Sender<Result<Bytes, std::io::Error>>,
}

impl Job {
    async fn run(mut self, file: File) -> std::io::Result<()> {
        let watch = if self.follow { Some(FileWatch::new(&self.path)?) } else { None };
        let mut reader = BufReader::with_capacity(CHUNK_BYTES, file);
        let mut line = Vec::new();
        let mut continues = false;
        loop {
            if !self.copy(&mut reader, &mut line, &mut continues).await? {
                return Ok(());
            }
            let Some(watch) = &watch else { return Ok(()) };
            // What was written between the copy and this question is read by one more copy.
            let running = self.is_running().await;
            if !running {
                self.copy(&mut reader, &mut line, &mut continues).await?;
                return Ok(());
            }
            if self.was_rotated(&reader).await {
                let old = &mut reader;
                self.copy(old, &mut line, &mut continues).await?;
                reader = BufReader::with_capacity(CHUNK_BYTES, File::open(&self.path).await?);
                watch.add(&self.path)?;
                continue;
            }
            tokio::select! {
                () = self.chunks.closed() => return Ok(()),
                changed = watch.changed() => changed?,
                () = tokio::time::sleep(ALIVE_CHECK) => {}
            }
        }
    }

    /// Sends everything up to the end of the file. `false`: nobody listens, or the limit is reached.
    async fn copy(
        &mut self,
        reader: &mut BufReader<File>,
        line: &mut Vec<u8>,
        continues: &mut bool,
    ) -> std::io::Result<bool> {
        let mut out = BytesMut::new();
        loop {
            let read = (&mut *reader).take(LINE_BYTES_MAX).read_until(b'\n', line).await?;
            let whole = line.ends_with(b"\n");
            let mut more = true;
            if whole {
                more = self.filter.write(line, continues, &mut out);
                line.clear();
            }
            let at_end = read == 0 || !whole;
            if (at_end || !more || out.len() >= CHUNK_BYTES)
                && !out.is_empty()
                && self.chunks.send(Ok(out.split().freeze())).await.is_err()
            {
                return Ok(false);
            }
            if !more {
                return Ok(false);
            }
            if at_end {
                return Ok(true);
            }
        }
    }

    async fn is_running(&self) -> bool {
        let status = self.kubelet.runtime.container_status(&self.id).await;
        status.is_ok_and(|status| status.state() == v1::ContainerState::ContainerRunning)
    }

    async fn was_rotated(&self, reader: &BufReader<File>) -> bool {
        use std::os::unix::fs::MetadataExt;
        let (Ok(open), Ok(present)) =
            (reader.get_ref().metadata().await, tokio::fs::metadata(&self.path).await)
        else {
            return false;
        };
        open.ino() != present.ino()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:00.000000001Z stdout F one\n\
        2026-01-01T00:00:01.000000001Z stderr F two\n\
        2026-01-01T00:00:02.000000001Z stdout P thr\n\
        2026-01-01T00:00:02.000000002Z stdout F ee\n";

    fn filtered(options: Options) -> String {
        let mut filter = Filter::of(&options).ok().unwrap();
        let (mut out, mut continues) = (BytesMut::new(), false);
        for line in LOG.split_inclusive('\n') {
            if !filter.write(line.as_bytes(), &mut continues, &mut out) {
                break;
            }
        }
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn lines_are_filtered_joined_and_cut_as_asked() {
        assert_eq!(filtered(Options::default()), "one\ntwo\nthree\n");
        assert_eq!(filtered(Options { stream: Some("Stderr".into()), ..Default::default() }), "two\n");
        let since = Options { since_time: Some("2026-01-01T00:00:01Z".into()), ..Default::default() };
        assert_eq!(filtered(since), "two\nthree\n");
        assert_eq!(filtered(Options { limit_bytes: Some(6), ..Default::default() }), "one\ntw");
        let stamped = filtered(Options { timestamps: true, ..Default::default() });
        assert!(stamped.ends_with("2026-01-01T00:00:02.000000001Z three\n"), "{stamped}");
    }

    #[tokio::test]
    async fn the_tail_begins_at_a_line() {
        let path = std::env::temp_dir().join(format!("keelson-tail-{}", std::process::id()));
        std::fs::write(&path, LOG).unwrap();
        let mut file = File::open(&path).await.unwrap();
        for (lines, expected) in [(0, LOG.len()), (1, LOG.rfind("2026").unwrap()), (4, 0), (100, 0)] {
            assert_eq!(tail_start(&mut file, lines).await.unwrap(), expected as u64, "{lines}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}

//! How a container ended: from the runtime's event where there is one, else from its status; with the
//! termination message that the container left. Rules: API reference, terminationMessagePolicy.

use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::jiff::Timestamp;
use keelson_runtime::v1;

use super::{Message, Worker};
use crate::config::Config;
use crate::logs;
use crate::machine::{Event, Exit};

/// Longest message read from the container's file.
const MESSAGE_BYTES_MAX: u64 = 4096;
/// Longest message made from the log, in bytes and lines.
const LOG_BYTES_MAX: u64 = 2048;
const LOG_LINES_MAX: usize = 80;
/// How long the runtime is asked, and between two questions, whether it has written a log to its end.
const LOG_PATIENCE: Duration = Duration::from_secs(2);
const LOG_PAUSE: Duration = Duration::from_millis(10);

impl Worker {
    /// The runtime says that a container, or the sandbox, has ended.
    pub(super) fn runtime_exit(&mut self, id: String, code: i32, at: SystemTime) {
        if self.machine.sandbox_info().is_some_and(|info| info.id == id) {
            self.ctx.routes.remove(&id);
            return self.step(Event::SandboxDied { id });
        }
        let reason = if self.out_of_memory.remove(&id) {
            "OOMKilled"
        } else if code == 0 {
            "Completed"
        } else {
            "Error"
        };
        let left = self.left_message(&id, code);
        let exit = Exit {
            image_id: String::new(),
            code,
            reason: reason.to_owned(),
            message: String::new(),
            started_at: None,
            finished_at: Timestamp::try_from(at).unwrap_or_else(|_| Timestamp::now()),
            id,
        };
        match left {
            Left::Text(message) => self.step(Event::Exited { exit: Exit { message, ..exit } }),
            left @ Left::Log(_) => self.read_log_and_step(exit, left),
        }
    }

    /// The runtime may still be writing the log's last line: it says that the container has ended once it has all.
    fn read_log_and_step(&mut self, exit: Exit, left: Left) {
        let (ctx, outbox) = (Arc::clone(&self.ctx), self.outbox.clone());
        self.tasks.spawn(async move {
            let written = async {
                while let Ok(status) = ctx.runtime.container_status(&exit.id).await
                    && status.state() != v1::ContainerState::ContainerExited
                {
                    tokio::time::sleep(LOG_PAUSE).await;
                }
            };
            // What is there by then is the message.
            let _ = tokio::time::timeout(LOG_PATIENCE, written).await;
            let exit = Exit { message: left.read(), ..exit };
            let _ = outbox.send(Message::Event(Event::Exited { exit })).await;
        });
    }

    /// Asks the runtime how a container ended of which no event came.
    pub(super) fn find_out_exit(&mut self, id: String) {
        let (ctx, outbox) = (Arc::clone(&self.ctx), self.outbox.clone());
        let left = self.left_message(&id, 1);
        self.tasks.spawn(async move {
            let exit = match ctx.runtime.container_status(&id).await {
                Ok(status) if status.state() == v1::ContainerState::ContainerExited => {
                    exit_of(&status, left.read())
                }
                Ok(_) => return,
                Err(error) if error.is_not_found() => gone(id),
                // The runtime does not answer; the next resync asks again.
                Err(_) => return,
            };
            let _ = outbox.send(Message::Event(Event::Exited { exit })).await;
        });
    }

    fn left_message(&self, id: &str, code: i32) -> Left {
        let Some(slot) = self.machine.slots.iter().position(|slot| slot.id() == Some(id)) else {
            return Left::Text(String::new());
        };
        let restarts = self.machine.slots[slot].restarts;
        let spec = self.stored.spec();
        let name = &self.machine.shape.containers[slot].name;
        let Some(container) = crate::pod::container(&spec, name) else {
            return Left::Text(String::new());
        };
        let config = &self.ctx.config;
        let file = config.termination_file(&self.stored.uid, &container.name, restarts);
        let text = match head(&file, MESSAGE_BYTES_MAX) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => format!("Error on reading termination log {}: {error}", file.display()),
            Ok(text) => text,
        };
        let from_log = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        if !text.is_empty() || !from_log || code == 0 {
            return Left::Text(text);
        }
        let dir = config.log_dir(&self.stored.namespace, &self.stored.name, &self.stored.uid);
        Left::Log(dir.join(Config::log_path(&container.name, restarts)))
    }
}

/// The message that a container left: it, or the log that it is the end of.
enum Left {
    Text(String),
    Log(PathBuf),
}

impl Left {
    fn read(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Log(path) => tail(&path)
                .unwrap_or_else(|error| format!("Error reading termination message from logs: {error}")),
        }
    }
}

fn head(file: &Path, bytes_max: u64) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn tail(log: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(log)?;
    let length = file.metadata()?.len();
    // Each line carries about 45 bytes of its own beside the text.
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_MAX * 4)))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX * 4).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<String> = text
        .lines()
        .filter_map(|line| logs::parse(line.as_bytes()))
        // What goes on in the next line, or was the last and had no end, has none here.
        .filter_map(|line| {
            let content = std::str::from_utf8(line.content).ok()?;
            Some(format!("{content}{}", if line.partial { "" } else { "\n" }))
        })
        .collect();
    let mut out = lines[lines.len().saturating_sub(LOG_LINES_MAX)..].concat();
    let cut = out.len().saturating_sub(usize::try_from(LOG_BYTES_MAX).unwrap_or(usize::MAX));
    let start = (cut..out.len()).find(|at| out.is_char_boundary(*at)).unwrap_or(0);
    Ok(out.split_off(start))
}

/// From the runtime's status of an ended container.
pub(crate) fn exit_of(status: &v1::ContainerStatus, message: String) -> Exit {
    let time = |nanos: i64| Timestamp::from_nanosecond(i128::from(nanos)).ok();
    Exit {
        id: status.id.clone(),
        image_id: status.image_ref.clone(),
        code: status.exit_code,
        reason: match (status.reason.as_str(), status.exit_code) {
            ("", 0) => "Completed".to_owned(),
            ("", _) => "Error".to_owned(),
            (reason, _) => reason.to_owned(),
        },
        message: if message.is_empty() { status.message.clone() } else { message },
        started_at: (status.started_at > 0).then(|| time(status.started_at)).flatten(),
        finished_at: time(status.finished_at).unwrap_or_else(Timestamp::now),
    }
}

/// For a container that vanished from the runtime: upstream's words and code.
pub(crate) fn gone(id: String) -> Exit {
    Exit {
        id,
        image_id: String::new(),
        code: 137,
        reason: "ContainerStatusUnknown".to_owned(),
        message: "The container could not be located when the pod was terminated".to_owned(),
        started_at: None,
        finished_at: Timestamp::now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_what_the_program_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        let line = |tag: &str, text: &str| format!("2026-01-02T03:04:05.000000006Z stdout {tag} {text}\n");
        let many: String = (0..100).map(|n| line("F", &n.to_string())).collect();
        let rows = [
            (line("P", "DONE"), "DONE".to_owned()),
            (line("F", "one") + &line("P", "tw") + &line("F", "o"), "one\ntwo\n".to_owned()),
            (many, (20..100).map(|n| format!("{n}\n")).collect()),
            (line("F", &"x".repeat(5_000)), "x".repeat(2_047) + "\n"),
        ];
        for (log, expected) in rows {
            std::fs::write(&path, log).unwrap();
            assert_eq!(tail(&path).unwrap(), expected);
        }
    }
}

//! A program that keeps printing: `get -w`, `logs -f`, `port-forward`, `attach`.

use anyhow::{Context, Result};
use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

/// A running program, read line by line; killed when this value goes.
pub struct Stream {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Stream {
    /// Starts the command with pipes for its input, output and errors.
    pub fn start(mut command: Command) -> Result<Stream> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let (sender, lines) = channel();
        let pipes: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
            child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        ];
        for pipe in pipes.into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let stdin = child.stdin.take();
        Ok(Stream { child, stdin, lines, seen: Vec::new() })
    }

    /// Waits for the first further line that `wanted` accepts, and answers it.
    pub fn line(&mut self, timeout: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if wanted(&line) {
                        return Ok(line);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    anyhow::bail!("the line did not come within {timeout:?}; seen: {:#?}", self.seen)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    anyhow::bail!("the program ended without the line; seen: {:#?}", self.seen)
                }
            }
        }
    }

    /// Writes to its input.
    pub fn write(&mut self, text: &str) -> Result<()> {
        let pipe = self.stdin.as_mut().context("its input is closed")?;
        pipe.write_all(text.as_bytes())?;
        Ok(pipe.flush()?)
    }

    /// Closes its input, waits for its end, and answers its last lines.
    pub fn end(&mut self, timeout: Duration) -> Result<Vec<String>> {
        drop(self.stdin.take());
        let deadline = Instant::now() + timeout;
        let mut rest = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => rest.push(line),
                Err(RecvTimeoutError::Disconnected) => return Ok(rest),
                Err(RecvTimeoutError::Timeout) => {
                    anyhow::bail!("the program did not end within {timeout:?}; it said: {rest:#?}")
                }
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
